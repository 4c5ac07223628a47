"""The level of audio over time, hop by hop: where it is quiet, and where something begins."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

__all__ = ["envelope_db", "onset_strength"]

Array = NDArray[np.float64]

_FLOOR_DB = -100.0


def envelope_db(audio: NDArray[Any], hop: int) -> Array:
    """Level per hop in dB re full scale (RMS over all channels), not below -100 dB.

    Parameters
    ----------
    audio : ndarray
        ``[channels, samples]``. Blocks of whole hops may be passed one by one and the results concatenated.

    Returns
    -------
    ndarray
        ``[ceil(samples / hop)]``; a last incomplete hop is averaged over the samples it has.
    """
    power = np.mean(np.square(audio, dtype=np.float64), axis=0)
    if power.size == 0:
        return np.zeros(0)
    starts = np.arange(0, power.size, hop)
    sums = np.add.reduceat(power, starts)
    mean = sums / np.minimum(hop, power.size - starts)
    level: Array = 10.0 * np.log10(np.maximum(mean, 10.0 ** (_FLOOR_DB / 10.0)))
    return level


def onset_strength(envelope: Array, memory: int = 3) -> Array:
    """How far the level rises above the lowest of the ``memory`` hops before, in dB, shape as ``envelope``."""
    if envelope.size == 0:
        return np.zeros(0)
    padded = np.concatenate([np.full(memory, envelope[0]), envelope])
    before = np.lib.stride_tricks.sliding_window_view(padded, memory)[: envelope.size].min(axis=1)
    rise: Array = np.maximum(envelope - before, 0.0)
    return rise
