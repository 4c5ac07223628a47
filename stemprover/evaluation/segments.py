"""Scores of many segments, and what to say about them together."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Mapping, Sequence

import numpy as np

from stemprover.evaluation.arrays import SILENCE_DBFS, pair, rms_dbfs
from stemprover.evaluation.metrics import evaluate

__all__ = ["SegmentScores", "Summary", "evaluate_segments", "summarise"]


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
