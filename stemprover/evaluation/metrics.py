"""The registry of metrics, and evaluation of one estimate or of a repair."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from typing import TypedDict

import numpy as np

from stemprover.evaluation.arrays import pair
from stemprover.evaluation.bleed import bleedless, fullness
from stemprover.evaluation.spectral import (
    frequency_response_deviation,
    interchannel_error,
    log_spectral_distance,
    multi_resolution_stft_distance,
    phase_coherence,
)
from stemprover.evaluation.waveform import sdr, si_sdr

__all__ = [
    "METRICS",
    "Comparison",
    "Metric",
    "compare",
    "evaluate",
]


@dataclasses.dataclass(frozen=True, slots=True)
class Metric:
    """A metric and what is true of it whatever the signals.

    Attributes
    ----------
    name : str
        Key in results, for example ``si_sdr``.
    label : str
        Name for readers, for example ``SI-SDR``.
    unit : str
        ``dB`` or empty.
    higher_is_better : bool
        Direction.
    best : float
        Value for an exact copy.
    function : callable
        ``(reference, estimate, sample_rate) -> float`` on ``[channels, samples]``.
    """

    name: str
    label: str
    unit: str
    higher_is_better: bool
    best: float
    function: Callable[[np.ndarray, np.ndarray, int], float]


def _without_rate(
    function: Callable[[np.ndarray, np.ndarray], float],
) -> Callable[[np.ndarray, np.ndarray, int], float]:
    def call(reference: np.ndarray, estimate: np.ndarray, sample_rate: int) -> float:
        del sample_rate
        return function(reference, estimate)

    return call


METRICS: Mapping[str, Metric] = {
    metric.name: metric
    for metric in (
        Metric("si_sdr", "SI-SDR", "dB", True, 100.0, _without_rate(si_sdr)),
        Metric("sdr", "SDR", "dB", True, 100.0, _without_rate(sdr)),
        Metric("log_spectral_distance", "Log-spectral distance", "dB", False, 0.0, log_spectral_distance),
        Metric("mr_stft", "Multi-resolution STFT distance", "", False, 0.0, multi_resolution_stft_distance),
        Metric("phase_coherence", "Phase coherence", "", True, 1.0, phase_coherence),
        Metric("frequency_response", "Frequency response deviation", "dB", False, 0.0, frequency_response_deviation),
        Metric("interchannel_error", "Inter-channel error", "", False, 0.0, interchannel_error),
        Metric("bleedless", "Bleedless", "", True, 100.0, bleedless),
        Metric("fullness", "Fullness", "", True, 100.0, fullness),
    )
}
"""All metrics by name, in the order of tables."""


def _chosen(names: Sequence[str] | None) -> list[Metric]:
    return [METRICS[name] for name in (METRICS if names is None else names)]


def evaluate(
    reference: np.ndarray,
    estimate: np.ndarray,
    sample_rate: int,
    mixture: np.ndarray | None = None,
    names: Sequence[str] | None = None,
) -> dict[str, float]:
    """Score an estimate by all metrics.

    Parameters
    ----------
    reference, estimate : ndarray
        Shape ``[channels, samples]``.
    sample_rate : int
        In Hz.
    mixture : ndarray or None
        When given, ``si_sdr_over_mixture`` and ``sdr_over_mixture`` say by how many dB the estimate is closer to the
        reference than the mixture is.
    names : sequence of str or None
        Which metrics; all by default.

    Returns
    -------
    dict
        Finite values by name.

    Raises
    ------
    AudioError
        When shapes differ or samples are not finite.
    """
    reference, estimate = pair(reference, estimate)
    scores = {metric.name: metric.function(reference, estimate, sample_rate) for metric in _chosen(names)}
    if mixture is not None:
        for name in ("si_sdr", "sdr"):
            if name in scores:
                scores[f"{name}_over_mixture"] = scores[name] - METRICS[name].function(reference, mixture, sample_rate)
    return scores


class Comparison(TypedDict):
    """One metric before and after a repair."""

    before: float
    after: float
    unit: str
    higher_is_better: bool


def compare(
    reference: np.ndarray,
    before: np.ndarray,
    after: np.ndarray,
    sample_rate: int,
    names: Sequence[str] | None = None,
) -> dict[str, Comparison]:
    """Score a repair against a reference; by readable name, as the report shows it.

    Parameters
    ----------
    reference, before, after : ndarray
        Shape ``[channels, samples]``.
    sample_rate : int
        In Hz.
    names : sequence of str or None
        Which metrics; all by default.
    """
    rows: dict[str, Comparison] = {}
    for metric in _chosen(names):
        first, second = (metric.function(reference, signal, sample_rate) for signal in (before, after))
        rows[metric.label] = Comparison(
            before=first, after=second, unit=metric.unit, higher_is_better=metric.higher_is_better
        )
    return rows
