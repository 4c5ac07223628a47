"""Signals for the contracts: reproducible, made of tones, hits and noise."""

from __future__ import annotations

import numpy as np

__all__ = ["in_format", "music"]


def music(seconds: float, sample_rate: int = 44_100, channels: int = 2, seed: int = 0) -> np.ndarray:
    """Return chords with decaying partials, hits of noise and a pause, float64 ``[channels, samples]``, peak 0.5."""
    rng = np.random.default_rng(seed)
    samples = round(seconds * sample_rate)
    time = np.arange(samples) / sample_rate
    audio = np.zeros((channels, samples))
    for start in np.arange(0.0, seconds, 0.4):
        since = np.clip(time - start, 0.0, None)
        envelope = np.where(time >= start, np.exp(-6.0 * since), 0.0)
        pitch = 110.0 * 2.0 ** (rng.integers(0, 24) / 12.0)
        for partial in range(1, 12):
            if partial * pitch < 0.4 * sample_rate:
                place = rng.uniform(0.5, 1.0, channels)[:, None]
                audio += place * envelope * np.sin(2 * np.pi * partial * pitch * since) / partial
        audio += 0.3 * rng.standard_normal((channels, samples)) * np.where(time >= start, np.exp(-60.0 * since), 0.0)
    audio[:, round(0.8 * samples) :] *= 0.01
    return 0.5 * audio / np.abs(audio).max()


def in_format(audio: np.ndarray, dtype: str) -> np.ndarray:
    """Return full-scale audio as ``int16``, ``int32`` or ``float32`` samples."""
    if dtype == "float32":
        return audio.astype(np.float32)
    scale = 2.0 ** (8 * np.dtype(dtype).itemsize - 1)
    return np.clip(np.round(audio * scale), -scale, scale - 1).astype(dtype)
