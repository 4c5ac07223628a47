"""Scores of repaired stems, segment by segment, and what to say about many of them."""

from __future__ import annotations

import dataclasses
import functools
import importlib.util
import math
from collections.abc import Iterator, Mapping, Sequence

import numpy as np
from quality_sets import Item
from quality_truth import labels_of, leading_artifact

from stemprover.evaluation import METRICS, evaluate_segments, frequency_response_bands, phase_coherence_bands
from stemprover.evaluation.arrays import SILENCE_DBFS, rms_dbfs
from stemprover.evaluation.bss import bss_eval, pesq, stoi
from stemprover.spectral.spec import SPEC

__all__ = ["BASIC", "SEGMENT_S", "TOLERANCE_DB", "Gains", "Judge", "Repaired", "Row", "gains", "harm_of", "of_artifact"]

SEGMENT_S = 3.0
TOLERANCE_DB = 0.1
BASIC = ("si_sdr", "log_spectral_distance", "mr_stft", "phase_coherence")
_BANDS = {"phase_coherence": phase_coherence_bands, "frequency_response": frequency_response_bands}
_SPEECH = {"pesq": pesq, "stoi": stoi}
_PACKAGES = {"pesq": "pesq", "stoi": "pystoi"}
_PAUSE_DBFS = -90.0

Change = tuple[float, float]
"""Before and after a method."""


@dataclasses.dataclass(frozen=True, eq=False)
class Repaired:
    """One stem after a method, and the share of its time inside repaired segments."""

    audio: np.ndarray
    share: float


@dataclasses.dataclass(frozen=True)
class Row:
    """One stem of one item after one method; lists hold one entry per segment in which the reference is not silent.

    Attributes
    ----------
    starts, artifacts : list
        Where a segment starts in seconds, and its leading artifact.
    scores : dict of list of (before, after)
        By metric.
    bands : dict of list of (before, after) or None
        By metric, one entry per octave band of the whole stem; None where the reference holds nothing.
    whole : dict of (before, after)
        Scores of the whole stem: ``bss_sdr``, ``bss_isr``, ``bss_sir``, ``bss_sar``, ``pesq``, ``stoi``.
    pauses : list of float
        Change of level in dB where the reference is silent and the separator left something.
    changed : list of float
        Energy of the change relative to the input in dB, of all segments in which anything changed.
    segments : int
        Number of all segments.
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
    starts: list[float]
    artifacts: list[str]
    scores: dict[str, list[Change]]
    bands: dict[str, list[Change | None]]
    whole: dict[str, Change]
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


class Judge:
    """Scores methods on one item; what was there before is scored once."""

    def __init__(self, item: Item) -> None:
        self.item = item
        self._before = functools.cache(
            lambda name, metrics: _segments(item.references[name], item.estimates[name], metrics)
        )
        self._labels = functools.cache(lambda name: labels_of(item, name))
        self._bss_before = functools.cache(lambda names: _bss(item.references, item.estimates, names))

    def rows(self, method: str, context: str, repaired: Mapping[str, Repaired], full: bool, sources: bool) -> list[Row]:
        """Return one row per repaired stem.

        Parameters
        ----------
        method, context : str
            How the rows are labelled.
        repaired : Mapping[str, Repaired]
            Stems after the method.
        full : bool
            All metrics, bands and speech measures instead of ``BASIC`` only.
        sources : bool
            BSS Eval too, which takes as long as all others together.
        """
        after = {name: one.audio for name, one in repaired.items()}
        sdr = self._bss(after) if sources else {}
        return [self._row(name, method, context, one, full, sdr.get(name, {})) for name, one in repaired.items()]

    def _row(self, name: str, method: str, context: str, one: Repaired, full: bool, sdr: Mapping[str, Change]) -> Row:
        item, reference, before = self.item, self.item.references[name], self.item.estimates[name]
        metrics = tuple(METRICS) if full else BASIC
        first, second = self._before(name, metrics), _segments(reference, one.audio, metrics)
        pauses, changed, count = harm_of(reference, before, one.audio)
        labels = self._labels(name)
        starts = [start for start, _ in first]
        return Row(
            **{key: getattr(item, key) for key in ("group", "song", "separator", "seen")},
            stem=name,
            method=method,
            context=context,
            starts=starts,
            artifacts=[leading_artifact(labels, start, start + SEGMENT_S) for start in starts],
            scores={
                metric: [(b[metric], a[metric]) for (_, b), (_, a) in zip(first, second, strict=True)]
                for metric in metrics
            },
            bands=_bands(reference, before, one.audio) if full else {},
            whole={**sdr, **(_speech(reference, before, one.audio) if full and name == "vocals" else {})},
            pauses=pauses,
            changed=changed,
            segments=count,
            repaired=round(one.share, 4),
        )

    def _bss(self, after: Mapping[str, np.ndarray]) -> dict[str, dict[str, Change]]:
        """BSS Eval of the stems that play at all; empty for fewer than two or without museval."""
        names = tuple(sorted(name for name in after if self.item.references[name].any()))
        if len(names) < 2 or importlib.util.find_spec("museval") is None:
            return {}
        first = self._bss_before(names)
        second = _bss(self.item.references, after, names)
        return {name: {f"bss_{key}": pair for key, pair in _pairs(first[name], second[name])} for name in names}


def _bss(
    references: Mapping[str, np.ndarray], estimates: Mapping[str, np.ndarray], names: Sequence[str]
) -> dict[str, dict[str, float]]:
    return bss_eval({n: references[n] for n in names}, {n: estimates[n] for n in names}, SPEC.sample_rate)


def _pairs(first: Mapping[str, float], second: Mapping[str, float]) -> Iterator[tuple[str, Change]]:
    """Before and after by measure; what cannot be measured (every window has a silent source) is left out."""
    for key, value in first.items():
        if not (math.isnan(value) or math.isnan(second[key])):
            yield key, (_rounded(value), _rounded(second[key]))


def _segments(
    reference: np.ndarray, signal: np.ndarray, metrics: Sequence[str]
) -> list[tuple[float, dict[str, float]]]:
    found = evaluate_segments(reference, signal, SPEC.sample_rate, SEGMENT_S, metrics)
    return [(one.start_s, {name: _rounded(value) for name, value in one.scores.items()}) for one in found]


def _bands(reference: np.ndarray, before: np.ndarray, after: np.ndarray) -> dict[str, list[Change | None]]:
    if rms_dbfs(reference) < SILENCE_DBFS:
        return {}
    found: dict[str, list[Change | None]] = {}
    for name, function in _BANDS.items():
        pairs = zip(*(function(reference, signal, SPEC.sample_rate) for signal in (before, after)), strict=True)
        found[name] = [None if math.isnan(b) else (_rounded(b), _rounded(a)) for b, a in pairs]
    return found


def _speech(reference: np.ndarray, before: np.ndarray, after: np.ndarray) -> dict[str, Change]:
    found = {}
    for name, function in _SPEECH.items():
        if importlib.util.find_spec(_PACKAGES[name]) is not None:
            pair = [function(reference, signal, SPEC.sample_rate) for signal in (before, after)]
            if not any(math.isnan(value) for value in pair):
                found[name] = (_rounded(pair[0]), _rounded(pair[1]))
    return found


def _rounded(value: float) -> float:
    return round(float(value), 4)


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


def of_artifact(rows: Sequence[Row], root: str) -> list[Row]:
    """Keep the segments whose leading artifact is ``root`` or below it."""
    kept = []
    for row in rows:
        chosen = [place for place, name in enumerate(row.artifacts) if f"{name}/".startswith(f"{root}/")]
        scores = {metric: [pairs[place] for place in chosen] for metric, pairs in row.scores.items()}
        if chosen:
            starts, artifacts = ([values[place] for place in chosen] for values in (row.starts, row.artifacts))
            kept.append(dataclasses.replace(row, starts=starts, artifacts=artifacts, scores=scores, pauses=[]))
    return kept


def gains(rows: Sequence[Row]) -> Gains:
    """Summarise all segments of some rows; NaN when there is none."""
    pairs = np.array([pair for row in rows for pair in row.scores["si_sdr"]]).reshape(-1, 2)
    if not len(pairs):
        return Gains(0, *[math.nan] * 7)
    gain = pairs[:, 1] - pairs[:, 0]
    distance = np.array([p for row in rows for p in row.scores["log_spectral_distance"]]).reshape(-1, 2).mean(0)
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
