"""Blending: the vocoder's output replaces the input only where the plan says so, in time and band.

What is added is a difference. It is formed between spectra of the same frames, so a partial mask or share is an exact
wet/dry mix without delay or comb filtering.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from stemprover.spectral.bands import band_centres_hz, to_bins
from stemprover.spectral.spec import SPEC

__all__ = ["Region", "change_of", "region_map", "silence_gate"]

_FEATHER_S = 0.06
_FEATHER_BANDS = 4.0

Region = tuple[float, float, float, float, float]
"""``start_s, end_s, low_hz, high_hz, value``; times from the start of the window."""


def region_map(regions: Sequence[Region], frames: int) -> Tensor:
    """Draw regions with feathered edges, shape ``[n_bands, frames]``; where they overlap the larger value counts."""
    times = np.arange(frames) / SPEC.frame_rate
    places = np.arange(SPEC.n_bands, dtype=np.float64)
    centres = band_centres_hz()
    drawn = np.zeros((SPEC.n_bands, frames))
    for start, end, low, high, value in regions:
        over_time = _plateau(times, start, end, _FEATHER_S)
        first, last = (float(np.interp(hz, centres, places)) for hz in (low, high))
        # A region that reaches the lowest or highest band has no edge there.
        first, last = (first if first > 0 else -np.inf), (last if last < places[-1] else np.inf)
        drawn = np.maximum(drawn, value * np.outer(_plateau(places, first, last, _FEATHER_BANDS), over_time))
    return torch.from_numpy(drawn.astype(np.float32))


def _plateau(places: np.ndarray, low: float, high: float, feather: float) -> np.ndarray:
    """One inside ``[low, high]``, raised-cosine slopes of length ``feather`` outside."""
    outside = np.maximum(np.maximum(low - places, places - high), 0.0)
    slope: np.ndarray = np.cos(np.pi / 2 * np.clip(outside / feather, 0.0, 1.0)) ** 2
    return slope


def change_of(stem: Tensor, repaired: Tensor, wet: Tensor) -> Tensor:
    """Return what leads from the stem towards the repaired stem where ``wet`` says so.

    Parameters
    ----------
    stem, repaired : Tensor
        Complex spectra, shape ``[batch, n_bins, frames]``.
    wet : Tensor
        From 0 (dry) to 1, shape ``[batch, n_bands, frames]`` or one that broadcasts to it.

    Returns
    -------
    Tensor
        Complex spectrum, same shape as the stem's.
    """
    return (repaired - stem) * to_bins(wet)


def silence_gate(audio: np.ndarray, shortest: int) -> np.ndarray:
    """Gain that keeps digital silence silent, whatever a vocoder has to say there.

    Parameters
    ----------
    audio : ndarray
        Shape ``[channels, samples]``.
    shortest : int
        Samples; shorter runs of zeros are gaps that may be filled.

    Returns
    -------
    ndarray
        Same shape: 0 in each channel's runs of exact zeros of at least that length, linear slopes of a tenth of it
        beside them, 1 elsewhere.
    """
    gate = np.ones(audio.shape)
    length = max(1, shortest // 10)
    slope = np.arange(1, length + 1) / (length + 1)
    for gain, channel in zip(gate, audio, strict=True):
        edges = np.concatenate([[-1], np.flatnonzero(channel), [channel.size]])
        for gap in np.flatnonzero(np.diff(edges) > shortest):
            start, stop = edges[gap] + 1, edges[gap + 1]
            gain[start:stop] = 0.0
            after, before = gain[stop : stop + length], gain[max(0, start - length) : start]
            after *= slope[: after.size]
            before *= slope[::-1][length - before.size :]
    return gate
