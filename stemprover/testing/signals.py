"""Signals for the contracts: reproducible, made of tones, hits and noise."""

from __future__ import annotations

import numpy as np

__all__ = ["in_format", "music"]

_STEP_S, _NOTE_S = 0.4, 1.2


def music(seconds: float, sample_rate: int = 44_100, channels: int = 2, seed: int = 0) -> np.ndarray:
    """Return chords with decaying partials, hits of noise and a pause, float64 ``[channels, samples]``, peak 0.5."""
    rng = np.random.default_rng(seed)
    audio = np.zeros((channels, round(seconds * sample_rate)))
    since = np.arange(round(_NOTE_S * sample_rate)) / sample_rate
    for start in range(0, audio.shape[1], round(_STEP_S * sample_rate)):
        pitch = 110.0 * 2.0 ** (rng.integers(0, 24) / 12.0)
        note = 0.3 * rng.standard_normal((channels, since.size)) * np.exp(-60.0 * since)
        for partial in range(1, 12):
            place = rng.uniform(0.5, 1.0, channels)[:, None]
            if partial * pitch < 0.4 * sample_rate:
                note += place * np.exp(-6.0 * since) * np.sin(2 * np.pi * partial * pitch * since) / partial
        end = min(start + since.size, audio.shape[1])
        audio[:, start:end] += note[:, : end - start]
    audio[:, round(0.8 * audio.shape[1]) :] *= 0.01
    audio *= 0.5 / np.abs(audio).max()
    return audio


def in_format(audio: np.ndarray, dtype: str) -> np.ndarray:
    """Return full-scale audio as ``int16``, ``int32`` or ``float32`` samples."""
    if dtype == "float32":
        return audio.astype(np.float32)
    scale = 2.0 ** (8 * np.dtype(dtype).itemsize - 1)
    return np.clip(np.round(audio * scale), -scale, scale - 1).astype(dtype)
