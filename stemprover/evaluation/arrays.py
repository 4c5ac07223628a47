"""What all metrics share: validated pairs of signals, spectra and octave bands."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence

import numpy as np

from stemprover.errors import AudioError

__all__ = [
    "BAND_EDGES_HZ",
    "CAP_DB",
    "EMPTY_DBFS",
    "SILENCE_DBFS",
    "band_slices",
    "decibels",
    "pair",
    "rms_dbfs",
    "spectrum_blocks",
]

CAP_DB = 100.0
"""Ratios in dB are kept within plus or minus this: an exact copy is finite and averages stay usable."""

SILENCE_DBFS = -60.0
"""A segment whose reference is below this RMS level is a pause.

What sounds there is the tail or the noise of a recording: ratios to it are low whatever was done, and one of them would
be the stem's worst segment.
"""

EMPTY_DBFS = -90.0
"""A whole stem whose reference is below this RMS level holds nothing: it is less than one step of 16 bits.

Lower than that of a segment, because a stem that has its say now and then is quiet in the mean: one second at -40 dBFS
in four minutes is -64 dBFS. PESQ and STOI are no exception, since both scale what they compare.
"""

_BLOCK_VALUES = 1 << 21

BAND_EDGES_HZ = (0.0, 125.0, 250.0, 500.0, 1000.0, 2000.0, 4000.0, 8000.0, 16_000.0, 24_000.0)
"""Edges of the octave bands that per-band metrics use; bands above Nyquist are left out."""


def pair(reference: np.ndarray, estimate: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return both signals as finite float64 ``[channels, samples]``.

    Raises
    ------
    AudioError
        When shapes differ, nothing is in them or a sample is not finite.
    """
    signals = [np.atleast_2d(np.asarray(signal, dtype=np.float64)) for signal in (reference, estimate)]
    shapes = [signal.shape for signal in signals]
    if shapes[0] != shapes[1] or signals[0].ndim != 2 or not signals[0].size:
        raise AudioError(
            "a reference and an estimate of the same shape [channels, samples]",
            f"shapes {list(shapes[0])} and {list(shapes[1])}",
            "align the signals before comparing them",
        )
    if not all(np.isfinite(signal).all() for signal in signals):
        raise AudioError("finite samples", "NaN or infinite samples", "check where the signal comes from")
    return signals[0], signals[1]


def decibels(numerator: float, denominator: float) -> float:
    """Power ratio in dB within plus or minus 100; nothing over nothing counts as the best value."""
    if denominator <= 0.0:
        return CAP_DB
    if numerator <= 0.0:
        return -CAP_DB
    return float(np.clip(10.0 * (np.log10(numerator) - np.log10(denominator)), -CAP_DB, CAP_DB))


def rms_dbfs(audio: np.ndarray) -> float:
    """RMS level over all channels in dB relative to full scale; -inf becomes -200."""
    return float(10.0 * np.log10(max(float(np.mean(np.square(audio))) if audio.size else 0.0, 1e-20)))


def spectrum_blocks(signals: Sequence[np.ndarray], n_fft: int, hop: int) -> Iterator[tuple[np.ndarray, ...]]:
    """Centred Hann STFT of several signals of one shape, a stretch of frames at a time.

    Scaled so that a full-scale sine has magnitude 1. Memory does not depend on the length of the signals.

    Parameters
    ----------
    signals : sequence of ndarray
        Each ``[channels, samples]``.
    n_fft, hop : int
        Frame length and hop in samples.

    Yields
    ------
    tuple of ndarray
        One per signal, complex, ``[channels, n_fft // 2 + 1, frames]``.
    """
    channels, samples = signals[0].shape
    window = np.hanning(n_fft + 1)[:-1]
    window *= 2.0 / window.sum()
    total, size = samples // hop + 1, max(1, _BLOCK_VALUES // (channels * n_fft))
    for first in range(0, total, size):
        start = first * hop - n_fft // 2
        stop = (min(first + size, total) - 1) * hop + n_fft // 2
        margins = ((0, 0), (max(-start, 0), max(stop - samples, 0)))
        stretches = (np.pad(signal[:, max(start, 0) : min(stop, samples)], margins) for signal in signals)
        frames = (np.lib.stride_tricks.sliding_window_view(audio, n_fft, axis=-1)[:, ::hop] for audio in stretches)
        yield tuple(np.asarray(np.fft.rfft(piece * window, axis=-1)).swapaxes(-1, -2) for piece in frames)


def band_slices(sample_rate: int, n_fft: int) -> tuple[slice, ...]:
    """Bins of each octave band, up to Nyquist; bands without a bin are left out."""
    edges = [round(min(edge, sample_rate / 2) * n_fft / sample_rate) for edge in BAND_EDGES_HZ]
    edges[-1] += 1
    return tuple(slice(low, high) for low, high in itertools.pairwise(edges) if high > low)
