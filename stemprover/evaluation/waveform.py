"""Metrics on samples: signal-to-distortion ratios."""

from __future__ import annotations

import numpy as np

from stemprover.evaluation.arrays import decibels, pair

__all__ = ["sdr", "si_sdr"]


def sdr(reference: np.ndarray, estimate: np.ndarray) -> float:
    """Signal-to-distortion ratio, ``10 log10(|s|^2 / |s - e|^2)``.

    Range -100 to 100 dB, higher is better, 100 for an exact copy (also of silence). It misleads when the estimate has
    the wrong level or polarity (both count fully) and when the reference is nearly silent: then any noise gives a very
    low value. A silent estimate scores 0 dB, which can beat a real attempt.

    Parameters
    ----------
    reference, estimate : ndarray
        Shape ``[channels, samples]``; all channels count as one signal.

    References
    ----------
    Mitsufuji et al., "Music Demixing Challenge 2021", 2022 (the global SDR used there).
    """
    reference, estimate = pair(reference, estimate)
    return decibels(float(np.sum(reference**2)), float(np.sum((reference - estimate) ** 2)))


def si_sdr(reference: np.ndarray, estimate: np.ndarray) -> float:
    """Scale-invariant SDR: the reference is scaled to fit the estimate best before the error is taken.

    Range -100 to 100 dB, higher is better. One scale serves all channels, so a change of balance counts as an error.
    It misleads when the level is what matters (any gain, even polarity, is forgiven), and for a reference near silence.

    Parameters
    ----------
    reference, estimate : ndarray
        Shape ``[channels, samples]``.

    References
    ----------
    Le Roux et al., "SDR - half-baked or well done?", ICASSP 2019.
    """
    reference, estimate = pair(reference, estimate)
    energy = float(np.sum(reference**2))
    if energy == 0.0:
        return decibels(0.0, float(np.sum(estimate**2)))
    target = float(np.sum(reference * estimate)) / energy * reference
    signal, error = float(np.sum(target**2)), float(np.sum((estimate - target) ** 2))
    return decibels(signal, error) if signal > 0.0 else decibels(0.0, 1.0)
