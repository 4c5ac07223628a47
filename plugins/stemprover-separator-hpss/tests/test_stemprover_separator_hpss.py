"""hpss keeps what every separator promises, and tells hits from tones."""

from __future__ import annotations

import numpy as np
import torch
from stemprover_separator_hpss import HpssSeparator

from stemprover.testing import AudioPair, SeparatorContract

RATE = 44_100


def hits_and_tones(seconds: float = 2.0) -> tuple[np.ndarray, np.ndarray]:
    """Return bursts of noise and two steady tones, each ``[2, samples]``."""
    rng = np.random.default_rng(0)
    time = np.arange(round(seconds * RATE)) / RATE
    hits = 0.5 * rng.standard_normal((2, time.size)) * np.exp(-120.0 * (time % 0.25))
    tones = np.tile(0.2 * np.sin(2 * np.pi * 440.0 * time) + 0.1 * np.sin(2 * np.pi * 2500.0 * time), (2, 1))
    return hits, tones


class TestHpssSeparator(SeparatorContract):
    """The pairs are hits and tones made here."""

    plugin = "hpss"
    min_gain_db = 6.0

    def audio_pairs(self) -> list[AudioPair]:
        """Return both stems of one mixture."""
        hits, tones = hits_and_tones()
        named = {"drums": hits, "other": tones}
        return [AudioPair(name, audio, audio, hits + tones, RATE, name) for name, audio in named.items()]


def test_stems_sum_to_the_mixture() -> None:
    hits, tones = hits_and_tones(0.5)
    mixture = torch.from_numpy(hits + tones).float()
    stems = HpssSeparator().separate(mixture)
    torch.testing.assert_close(stems["drums"] + stems["other"], mixture, rtol=0.0, atol=1e-6)
