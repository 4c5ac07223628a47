"""Adding a difference signal to samples in the file's own format, and sample-rate conversion."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import soxr
from numpy.typing import NDArray

from stemprover.errors import ModelError
from stemprover.stems.formats import pcm_bits

__all__ = ["from_difference", "limit_difference", "resample", "to_float"]

Native = NDArray[Any]  # int32 (left-justified), float32 or float64
_FULL_SCALE = 2.0**31


def to_float(native: Native) -> NDArray[np.float64]:
    """Native samples as float64 in full-scale units (1.0 is full scale)."""
    if native.dtype == np.int32:
        return native / _FULL_SCALE
    return native.astype(np.float64)


def _require_finite(difference: NDArray[np.float64]) -> None:
    if not np.isfinite(difference).all():
        raise ModelError(
            "finite samples from the repair", "NaN or infinity", "use --dtype float32, or another adapter or vocoder"
        )


def from_difference(native: Native, difference: NDArray[np.float64], subtype: str) -> Native:
    """Add a difference to native samples.

    Where the difference is exactly zero the sample is bit-identical. Elsewhere it is rounded to the subtype's step
    (no dither: the difference itself decorrelates the rounding) and limited so that it does not leave full scale,
    unless that input sample had left it already (float files), in which case it may not go further.

    Parameters
    ----------
    native : ndarray
        ``[channels, samples]`` from :meth:`Stem.read_native`.
    difference : ndarray
        Float64, same shape, in full-scale units.
    subtype : str
        Subtype of the input, ``AudioFormat.subtype``; it sets the step.

    Returns
    -------
    ndarray
        Same shape and dtype as ``native``; the same object where nothing changes.

    Raises
    ------
    ModelError
        If the difference holds NaN or infinity.
    """
    if not difference.any():  # most of most files; NaN counts as something
        return native
    _require_finite(difference)
    if native.dtype != np.int32:
        exact = native.astype(np.float64)
        bound = np.maximum(1.0, np.abs(exact))
        out = np.clip(exact + difference, -bound, bound).astype(native.dtype)
        return np.where(difference == 0.0, native, out)
    bits = pcm_bits(subtype)
    shift = 32 - bits
    # In units of the step. A difference beyond twice full scale is limited anyway; clipping it keeps int64 safe.
    steps = np.rint(np.clip(difference, -2.0, 2.0) * 2.0 ** (bits - 1)).astype(np.int64)
    total = np.clip((native.astype(np.int64) >> shift) + steps, -(2 ** (bits - 1)), 2 ** (bits - 1) - 1)
    return np.where(steps == 0, native, (total << shift).astype(np.int32))


def limit_difference(
    audio: NDArray[np.float64], difference: NDArray[np.float64], window: int = 441, ceiling: float = 1.0
) -> NDArray[np.float64]:
    """Turn a difference down smoothly around samples where the sum would leave full scale.

    :func:`from_difference` alone would cut such peaks flat. Here the difference's gain dips instead, by no more than
    needed: the needed gain per sample, its running minimum over ``2 * window + 1`` samples, then a mean over
    ``window + 1`` samples, which cannot exceed what is needed. All channels share the gain, which keeps the stereo
    image. Returned unchanged (the same object) when nothing would leave full scale.

    Parameters
    ----------
    audio, difference : ndarray
        Float64, ``[channels, samples]``, in full-scale units.
    window : int
        Reach of the dip in samples on each side; 10 ms at 44.1 kHz by default.
    ceiling : float
        Highest allowed level; input samples beyond it stay where they are.
    """
    total = np.abs(audio + difference)
    bound = np.maximum(ceiling, np.abs(audio))
    if not (total > bound).any():
        return difference
    room = np.where(difference > 0.0, bound - audio, bound + audio)
    size = np.maximum(np.abs(difference), np.finfo(np.float64).tiny)
    needed = np.where(total > bound, room / size, 1.0).min(axis=0)
    half = window // 2
    padded = np.pad(needed, 2 * half, constant_values=1.0)
    lowest = np.lib.stride_tricks.sliding_window_view(padded, 2 * half + 1).min(axis=1)
    gain = np.convolve(lowest, np.full(2 * half + 1, 1.0 / (2 * half + 1)), mode="valid")
    limited: NDArray[np.float64] = difference * np.clip(gain, 0.0, 1.0)
    return limited


def resample(audio: NDArray[Any], from_rate: int, to_rate: int) -> NDArray[Any]:
    """Convert the sample rate with soxr (very high quality, linear phase, no delay).

    Parameters
    ----------
    audio : ndarray
        ``[channels, samples]``, float32 or float64.

    Returns
    -------
    ndarray
        ``[channels, ceil(samples * to_rate / from_rate)]``, same dtype; the same object when the rates agree.
    """
    if from_rate == to_rate:
        return audio
    length = math.ceil(audio.shape[-1] * to_rate / from_rate)
    out = soxr.resample(np.ascontiguousarray(audio.T), from_rate, to_rate, quality="VHQ").T
    out = np.pad(out[:, :length], ((0, 0), (0, max(0, length - out.shape[1]))))
    return np.ascontiguousarray(out, dtype=audio.dtype)
