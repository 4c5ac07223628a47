"""The registry of metrics, and evaluation of one estimate, of a repair, and of segments."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import TypedDict

import numpy as np

from stemprover.evaluation.arrays import SILENCE_DBFS, pair, rms_dbfs
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
    "SegmentScores",
    "Summary",
    "compare",
    "evaluate",
    "evaluate_segments",
    "summarise",
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

    Whole spectra are held in memory; use :func:`evaluate_segments` for signals longer than a few minutes.

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


@dataclasses.dataclass(frozen=True, slots=True)
class SegmentScores:
    """Scores of one stretch, ``start_s`` to ``end_s`` in seconds."""

    start_s: float
    end_s: float
    scores: Mapping[str, float]


def evaluate_segments(
    reference: np.ndarray,
    estimate: np.ndarray,
    sample_rate: int,
    segment_s: float = 3.0,
    names: Sequence[str] | None = None,
) -> Iterator[SegmentScores]:
    """Score consecutive segments; those with a silent reference (below -60 dBFS RMS) are left out.

    A last piece shorter than half a segment is left out too. Parameters as in :func:`evaluate`.
    """
    reference, estimate = pair(reference, estimate)
    size = max(round(segment_s * sample_rate), 1)
    for start in range(0, reference.shape[1], size):
        stop = min(start + size, reference.shape[1])
        wanted, got = reference[:, start:stop], estimate[:, start:stop]
        if 2 * (stop - start) >= size and rms_dbfs(wanted) >= SILENCE_DBFS:
            yield SegmentScores(
                start / sample_rate, stop / sample_rate, evaluate(wanted, got, sample_rate, names=names)
            )


@dataclasses.dataclass(frozen=True, slots=True)
class Summary:
    """Gains over many segments.

    Attributes
    ----------
    n : int
        Number of gains.
    mean, median, worst : float
        Of the gains, in the metric's unit; positive is better whatever the metric's direction.
    improved, harmed : float
        Share of gains above 0, and below minus the tolerance.
    """

    n: int
    mean: float
    median: float
    worst: float
    improved: float
    harmed: float


def summarise(
    before: Sequence[float], after: Sequence[float], higher_is_better: bool, tolerance: float = 0.1
) -> Summary:
    """Summarise scores of the same segments before and after a repair.

    Parameters
    ----------
    before, after : sequence of float
        Scores in the same order.
    higher_is_better : bool
        Direction of the metric.
    tolerance : float
        A loss up to this much does not count as harm (0.1 dB for ratios).
    """
    gains = (np.asarray(after, dtype=np.float64) - np.asarray(before, dtype=np.float64)) * (
        1.0 if higher_is_better else -1.0
    )
    if not gains.size:
        return Summary(0, 0.0, 0.0, 0.0, 0.0, 0.0)
    return Summary(
        n=gains.size,
        mean=float(gains.mean()),
        median=float(np.median(gains)),
        worst=float(gains.min()),
        improved=float((gains > 0).mean()),
        harmed=float((gains < -tolerance).mean()),
    )
