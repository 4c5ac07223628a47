"""Tables of the quality page, made from measured rows."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Hashable, Sequence

import numpy as np
from quality_scores import Row, gains, of_artifact
from tables import Cell, markdown_table, number, percent

from stemprover.evaluation import METRICS
from stemprover.evaluation.arrays import BAND_EDGES_HZ

__all__ = [
    "GAIN_HEAD",
    "Lost",
    "artifact_table",
    "band_table",
    "by",
    "gain_cells",
    "gain_table",
    "measure_table",
    "most_lost",
    "touched",
    "worst_table",
]

GAIN_HEAD = ("n", "before, dB", "gain, dB", "median", "worst", "improved", "harmed", "LSD", "pauses, dB", "repaired")
_ARTIFACTS = ("bleed", "phasiness", "hf-distortion", "nothing")
_SOURCES = {"bss_sdr": "SDR", "bss_isr": "ISR", "bss_sir": "SIR", "bss_sar": "SAR", "pesq": "PESQ", "stoi": "STOI"}


def by(rows: Sequence[Row], *fields: str) -> dict[tuple[str, ...], list[Row]]:
    """Group rows by fields, in order of first appearance."""
    groups: dict[tuple[str, ...], list[Row]] = {}
    for row in rows:
        groups.setdefault(tuple(getattr(row, field) for field in fields), []).append(row)
    return groups


def gain_cells(rows: Sequence[Row]) -> list[Cell]:
    """Return the cells under ``GAIN_HEAD``."""
    found = gains(rows)
    pauses = [value for row in rows for value in row.pauses]
    repaired = float(np.mean([row.repaired for row in rows]))
    signed = [number(value, sign=True) for value in (found.mean, found.median, found.worst)]
    shares = [percent(value) for value in (found.improved, found.harmed, found.lsd_change)]
    quieter = number(float(np.mean(pauses)), 1, sign=True) if pauses else "-"
    return [str(found.n), number(found.before, 1), *signed, *shares, quieter, percent(repaired)]


def gain_table(rows: Sequence[Row], *fields: str, order: Callable[[tuple[str, ...]], Hashable] | None = None) -> str:
    """Return gains by some fields of the rows; groups without a segment are left out."""
    groups = by(rows, *fields)
    keys = list(groups) if order is None else sorted(groups, key=order)  # type: ignore[arg-type, type-var]
    table = [[*key, *gain_cells(groups[key])] for key in keys if any(row.scores["si_sdr"] for row in groups[key])]
    return markdown_table((*fields, *GAIN_HEAD), table)


def artifact_table(rows: Sequence[Row]) -> str:
    """Return gains by the leading artifact of a segment and context."""
    table: list[list[Cell]] = []
    for artifact in _ARTIFACTS:
        for (context,), chosen in by(of_artifact(rows, artifact), "context").items():
            table.append([artifact, context, *gain_cells(chosen)])
    return markdown_table(("leading artifact", "context", *GAIN_HEAD), table)


def measure_table(rows: Sequence[Row]) -> str:
    """Return the mean of every measure before and after, by context: over segments, or stems for whole-file ones."""
    table: list[list[Cell]] = []
    for (context,), chosen in by(rows, "context").items():
        for name, metric in METRICS.items():
            pairs = [pair for row in chosen for pair in row.scores.get(name, [])]
            better = "higher" if metric.higher_is_better else "lower"
            _measure(table, context, metric.label + (f", {metric.unit}" if metric.unit else ""), better, pairs)
        for name, label in _SOURCES.items():
            pairs = [row.whole[name] for row in chosen if name in row.whole]
            _measure(table, context, label + (" (BSS Eval v4), dB" if name.startswith("bss") else ""), "higher", pairs)
    return markdown_table(("context", "measure", "better", "n", "before", "after", "median change"), table, digits=3)


def _measure(table: list[list[Cell]], context: str, label: str, better: str, pairs: Sequence[Sequence[float]]) -> None:
    if pairs:
        before, after = np.array(pairs, float).T
        table.append(
            [context, label, better, len(pairs), float(before.mean()), float(after.mean()), _median(after - before)]
        )


def _median(values: np.ndarray) -> str:
    return number(float(np.median(values)), 3, sign=True)


def band_table(rows: Sequence[Row]) -> str:
    """Return phase coherence and deviation of the frequency response per octave band, before and after."""
    table: list[list[Cell]] = []
    for place, low in enumerate(BAND_EDGES_HZ[:-1]):
        coherence, response = (_band(rows, name, place) for name in ("phase_coherence", "frequency_response"))
        if coherence.size or response.size:
            high = BAND_EDGES_HZ[place + 1]
            cells: list[Cell] = [f"{low:g} to {high:g} Hz", len(coherence)]
            cells += [float(value) for value in coherence.mean(0)]
            table.append([*cells, *(float(value) for value in np.abs(response).mean(0))])
    head = ("band", "stems", "coherence before", "after", "response before, dB", "after, dB")
    return markdown_table(head, table, digits=3)


def _band(rows: Sequence[Row], name: str, place: int) -> np.ndarray:
    found = [row.bands[name][place] for row in rows if len(row.bands.get(name, [])) > place]
    return np.array([pair for pair in found if pair is not None], float).reshape(-1, 2)


@dataclasses.dataclass(frozen=True)
class Lost:
    """A segment of a row, and what its repair changed in SI-SDR."""

    gain_db: float
    before_db: float
    row: Row
    start: float
    artifact: str


def most_lost(rows: Sequence[Row], count: int = 3) -> list[Lost]:
    """Return the segments that lost most, the worst first."""
    lost = [
        Lost(after - before, before, row, row.starts[place], row.artifacts[place])
        for row in rows
        for place, (before, after) in enumerate(row.scores["si_sdr"])
    ]
    return sorted(lost, key=lambda one: one.gain_db)[:count]


def worst_table(rows: Sequence[Row], count: int = 3) -> str:
    """Return the segments that lost most."""
    table: list[list[Cell]] = []
    for one in most_lost(rows, count):
        row, gain = one.row, number(one.gain_db, sign=True)
        place = (row.song, row.separator, row.stem, row.context, f"{one.start:g} s")
        table.append([*place, one.artifact, one.before_db, gain])
    head = ("piece", "separator", "stem", "context", "from", "leading artifact", "before, dB", "gain, dB")
    return markdown_table(head, table)


def touched(rows: Sequence[Row]) -> tuple[float, float]:
    """Return the share of segments touched, and the mean change in dB there (minus infinity where nothing was)."""
    segments = sum(row.segments for row in rows)
    changed = [value for row in rows for value in row.changed]
    if not segments:
        return math.nan, math.nan
    return len(changed) / segments, float(np.mean(changed)) if changed else -math.inf
