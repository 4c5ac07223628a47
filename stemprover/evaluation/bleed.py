"""Bleedless and fullness: how much is too much, and how much is missing."""

from __future__ import annotations

import functools

import numpy as np

from stemprover.evaluation.arrays import pair, spectrum_blocks

__all__ = ["best_gain", "bleedless", "fullness", "match_gain", "mel_filters"]

_N_FFT, _HOP, _BANDS = 4096, 1024, 512
_TOP_DB = 80.0


def _hz_to_mel(hertz: np.ndarray) -> np.ndarray:
    """Slaney's scale: linear to 1 kHz, logarithmic above."""
    return np.where(hertz < 1000.0, hertz * 3 / 200, 15.0 + np.log(np.maximum(hertz, 1e-9) / 1000.0) * 27 / np.log(6.4))


def _mel_to_hz(mel: np.ndarray) -> np.ndarray:
    return np.where(mel < 15.0, mel * 200 / 3, 1000.0 * np.exp((mel - 15.0) * np.log(6.4) / 27))


@functools.lru_cache(maxsize=8)
def mel_filters(sample_rate: int, n_fft: int, bands: int) -> np.ndarray:
    """Triangular filters of equal area on Slaney's mel scale, shape ``[bands, n_fft // 2 + 1]``."""
    bins = np.fft.rfftfreq(n_fft, 1 / sample_rate)
    points = _mel_to_hz(np.linspace(0.0, _hz_to_mel(np.array(sample_rate / 2)), bands + 2))
    gaps = np.diff(points)
    slopes = points[:, None] - bins
    triangles = np.minimum(-slopes[:-2] / gaps[:-1, None], slopes[2:] / gaps[1:, None])
    return np.asarray(np.maximum(triangles, 0.0) * (2.0 / (points[2:] - points[:-2]))[:, None])


def match_gain(reference: np.ndarray, estimate: np.ndarray) -> np.ndarray:
    """Scale the estimate by :func:`best_gain`; where that is 0 it stays as it is, polarity is never turned."""
    gain = best_gain(reference, estimate)
    return estimate * gain if gain > 0.0 else estimate


def best_gain(reference: np.ndarray, estimate: np.ndarray) -> float:
    """Gain, a factor from 0 on, that brings the estimate closest to the reference.

    It is 0 for a silent estimate, and for one that is inverted or has nothing in common with the reference.
    """
    return max(float(np.sum(reference * estimate)) / max(float(np.sum(estimate**2)), 1e-30), 0.0)


def _differences(reference: np.ndarray, estimate: np.ndarray, sample_rate: int) -> np.ndarray:
    """Level of the gain-matched estimate minus that of the reference in dB, for every mel band and frame."""
    reference, estimate = pair(reference, estimate)
    filters = mel_filters(sample_rate, _N_FFT, _BANDS)
    levels = []
    for audio in (reference, match_gain(reference, estimate)):
        # Undo the scaling of the spectrum: the published definition floors at an absolute 1e-10 of plain STFT values.
        blocks = (np.abs(block) * (_N_FFT / 4) for (block,) in spectrum_blocks([audio], _N_FFT, _HOP))
        mel = np.concatenate([filters @ block.mean(0) for block in blocks], axis=-1)
        level = 20.0 * np.log10(np.maximum(mel, 1e-10))
        levels.append(np.maximum(level, level.max() - _TOP_DB))
    return np.asarray(levels[1] - levels[0])


def bleedless(reference: np.ndarray, estimate: np.ndarray, sample_rate: int) -> float:
    """``100 / (1 + mean excess in dB)`` over mel bands and frames where the estimate is louder than the reference.

    Range 0 to 100, higher is better, 100 when nowhere louder. Gains are matched first, because otherwise turning an
    estimate down looks like less bleed. The mean is over louder places only: many small excesses can hide one that is
    loud. Removing everything scores well; read it together with :func:`fullness`.

    Parameters
    ----------
    reference, estimate : ndarray
        Shape ``[channels, samples]``; channel magnitudes are averaged.
    sample_rate : int
        In Hz.

    References
    ----------
    Jarredou et al., bleedless/fullness in "Music-Source-Separation-Training" (ZFTurbo), 2024; here with matched gain.
    """
    difference = _differences(reference, estimate, sample_rate)
    excess = difference[difference > 0]
    return float(100.0 / (1.0 + (excess.mean() if excess.size else 0.0)))


def fullness(reference: np.ndarray, estimate: np.ndarray, sample_rate: int) -> float:
    """``100 / (1 + mean loss in dB)`` over mel bands and frames where the estimate is quieter than the reference.

    Range 0 to 100, higher is better, 100 when nothing is missing. Bleed fills holes and so raises it; read it together
    with :func:`bleedless`, whose parameters and source are the same.
    """
    difference = _differences(reference, estimate, sample_rate)
    loss = -difference[difference < 0]
    return float(100.0 / (1.0 + (loss.mean() if loss.size else 0.0)))
