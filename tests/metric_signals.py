"""Noise and tones whose distances are known, for the tests of metrics."""

from __future__ import annotations

import numpy as np

RATE = 44_100


def noise(seed: int = 0, channels: int = 2, samples: int = RATE) -> np.ndarray:
    return 0.1 * np.random.default_rng(seed).standard_normal((channels, samples))


def orthogonal_noise(reference: np.ndarray, snr_db: float, seed: int = 1) -> np.ndarray:
    """Noise exactly orthogonal to the reference and exactly ``snr_db`` below it."""
    other = noise(seed, *reference.shape)
    other -= np.sum(other * reference) / np.sum(reference**2) * reference
    return other * np.sqrt(np.sum(reference**2) / np.sum(other**2) / 10 ** (snr_db / 10))


def tone(hertz: float, samples: int = RATE, phase: float = 0.0) -> np.ndarray:
    return 0.5 * np.sin(2 * np.pi * hertz * np.arange(samples) / RATE + phase)[None]
