"""Signals with something to repair in the middle, and exact samples of files."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import soundfile
from tiny_base import tiny_base as tiny_base

from stemprover.enhance import Settings
from stemprover.stems import Stem

SETTINGS = Settings(auto_detect=True, generic=True, quality="fast", vocoder="input-phase")
RATE = 44_100


def burst(rate: int = RATE, channels: int = 2, seconds: float = 5.0, peak: float = 0.6) -> np.ndarray:
    """Quiet noise with a loud second in the middle, which the detector flags; ``[channels, samples]``."""
    rng = np.random.default_rng(4)
    audio = 0.002 * rng.standard_normal((channels, round(rate * seconds)))
    middle = slice(round(rate * (seconds / 2 - 0.5)), round(rate * (seconds / 2 + 0.5)))
    time_s = np.arange(middle.stop - middle.start) / rate
    tones = [np.sin(2 * np.pi * 220.0 * (1 + channel) * time_s) for channel in range(channels)]
    audio[:, middle] += peak * np.stack(tones) * np.hanning(time_s.size)
    return audio


def write(path: Path, audio: np.ndarray, rate: int = RATE, subtype: str = "PCM_16") -> Path:
    soundfile.write(path, audio.T, rate, subtype)
    return path


def native(path: Path) -> np.ndarray:
    with Stem.open(path) as stem:
        return stem.read_native(0, stem.format.samples)
