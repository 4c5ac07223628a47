"""The detectors keep what every detector promises; the kit of the host tries them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import soundfile

from stemprover.testing import AudioPair, DetectorContract

EXAMPLES = Path(__file__).parents[2] / "examples"
SECONDS = 6


class TestDetectors(DetectorContract):
    """The pair is a snare drum of the bundled kit: the true one, and what a separator made of it."""

    plugin = "detectors"
    min_agreement = 0.85  # its features are relative to the seconds around a cell, which a cut takes away

    def audio_pairs(self) -> list[AudioPair]:
        """Return the pair with its mixture."""
        kit = EXAMPLES / "east-bay"
        mixture, rate = read(kit / "mix.flac")
        clean, degraded = read(kit / "reference" / "snare.flac")[0], read(kit / "snare.flac")[0]
        return [AudioPair("snare", clean, degraded, mixture, rate, "snare")]


def read(path: Path) -> tuple[np.ndarray, int]:
    """Return the first seconds of a file, ``[channels, samples]``, and its rate."""
    audio, rate = soundfile.read(path, always_2d=True)
    return audio[: SECONDS * rate].T, rate
