"""Test signals of any length: the bundled example, looped."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import soundfile
from environment import ROOT

from stemprover.stems import Stem, StemSet

__all__ = ["EXAMPLE", "looped_files", "looped_set"]

EXAMPLE = ROOT / "examples" / "detroit-garage"
_STEM = "hihat"


def _read(name: str) -> tuple[np.ndarray, int]:
    audio, rate = soundfile.read(EXAMPLE / f"{name}.flac", dtype="int16", always_2d=True)
    return audio, rate


def _loop(audio: np.ndarray, samples: int) -> np.ndarray:
    return np.tile(audio, (-(-samples // len(audio)), 1))[:samples]


def looped_set(seconds: float) -> StemSet:
    """Return a separated stem with its mixture, in memory, stereo 44.1 kHz 16 bit."""
    opened = []
    for name, stem_class in ((_STEM, _STEM), ("mix", "generic")):
        audio, rate = _read(name)
        looped = np.ascontiguousarray(_loop(audio, round(seconds * rate)).T)
        opened.append(Stem.from_array(looped, rate, stem_class, name))
    return StemSet((opened[0],), opened[1])


def looped_files(folder: Path, seconds: float) -> tuple[Path, Path]:
    """Write stem and mixture as WAV, block by block; returns their paths."""
    paths = []
    for name in (_STEM, "mix"):
        audio, rate = _read(name)
        path, left = folder / f"{name}.wav", round(seconds * rate)
        with soundfile.SoundFile(path, "w", rate, audio.shape[1], "PCM_16") as file:
            while left > 0:
                file.write(audio[:left])
                left -= len(audio)
        paths.append(path)
    return paths[0], paths[1]
