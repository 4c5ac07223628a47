"""Scores of repaired stems, segment by segment, and what to say about many of them."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence

import numpy as np

from stemprover.evaluation import evaluate_segments
from stemprover.evaluation.arrays import SILENCE_DBFS, rms_dbfs
from stemprover.spectral.spec import SPEC

__all__ = ["SEGMENT_S", "TOLERANCE_DB", "Gains", "Row", "gains", "harm_of", "score"]

SEGMENT_S = 3.0
TOLERANCE_DB = 0.1
_METRICS = ("si_sdr", "log_spectral_distance")
_PAUSE_DBFS = -90.0


@dataclasses.dataclass(frozen=True)
class Row:
    """One stem of one item after one method; lists hold one number per segment.

    Attributes
    ----------
    si_sdr, lsd : list of (before, after)
        In dB, of segments in which the reference is not silent.
    pauses : list of float
        Change of level in dB where the reference is silent and the separator left something.
    changed : list of float
        Energy of the change relative to the input in dB, of the segments in which anything changed.
    segments : int
        Number of segments.
    repaired : float
        Share of the time inside repaired segments.
    """

    group: str
    song: str
    separator: str
    seen: str
    stem: str
    method: str
    context: str
    si_sdr: list[tuple[float, float]]
    lsd: list[tuple[float, float]]
    pauses: list[float]
    changed: list[float]
    segments: int
    repaired: float


@dataclasses.dataclass(frozen=True)
class Gains:
    """SI-SDR gains in dB over segments, and the change of log-spectral distance as a share of what it was."""

    n: int
    before: float
    mean: float
    median: float
    worst: float
    improved: float
    harmed: float
    lsd_change: float


def score(reference: np.ndarray, before: np.ndarray, after: np.ndarray) -> dict[str, list[tuple[float, float]]]:
    """Return ``si_sdr`` and ``lsd`` before and after, per segment in which the reference is not silent."""
    scored = [
        [one.scores for one in evaluate_segments(reference, signal, SPEC.sample_rate, SEGMENT_S, _METRICS)]
        for signal in (before, after)
    ]
    pairs = list(zip(*scored, strict=True))
    return {
        name: [(round(a[metric], 4), round(b[metric], 4)) for a, b in pairs]
        for name, metric in (("si_sdr", "si_sdr"), ("lsd", "log_spectral_distance"))
    }


def harm_of(reference: np.ndarray, before: np.ndarray, after: np.ndarray) -> tuple[list[float], list[float], int]:
    """Return level changes in pauses, energies of changes, and the number of segments; see :class:`Row`."""
    size = round(SEGMENT_S * SPEC.sample_rate)
    pauses, changed, count = [], [], 0
    for start in range(0, before.shape[1] - size // 2, size):
        wanted, first, second = (signal[:, start : start + size] for signal in (reference, before, after))
        count += 1
        if rms_dbfs(wanted) < SILENCE_DBFS and rms_dbfs(first) > _PAUSE_DBFS:
            pauses.append(round(max(rms_dbfs(second), _PAUSE_DBFS - 30) - rms_dbfs(first), 2))
        if (first != second).any():
            changed.append(round(rms_dbfs(second - first) - rms_dbfs(first), 2))
    return pauses, changed, count


def gains(rows: Sequence[Row]) -> Gains:
    """Summarise all segments of some rows; NaN when there is none."""
    pairs = np.array([pair for row in rows for pair in row.si_sdr]).reshape(-1, 2)
    if not len(pairs):
        return Gains(0, *[math.nan] * 7)
    gain = pairs[:, 1] - pairs[:, 0]
    distance = np.array([pair for row in rows for pair in row.lsd]).reshape(-1, 2).mean(0)
    return Gains(
        n=len(gain),
        before=float(np.median(pairs[:, 0])),
        mean=float(gain.mean()),
        median=float(np.median(gain)),
        worst=float(gain.min()),
        improved=float((gain > TOLERANCE_DB).mean()),
        harmed=float((gain < -TOLERANCE_DB).mean()),
        lsd_change=float(distance[1] / distance[0] - 1.0) if distance[0] > 0 else 0.0,
    )
