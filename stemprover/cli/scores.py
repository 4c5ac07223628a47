"""What ``stemprover evaluate`` prints for people: a table of stems, of bands, and of the spread over segments."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from statistics import median

import click
from rich.console import Console
from rich.table import Table

from stemprover.evaluation.files import SetScores

__all__ = ["print_scores"]

_SPREAD = ("si_sdr", "sdr", "log_spectral_distance")
_BANDS = {
    "sdr": "SDR, dB",
    "phase_coherence": "Phase coherence",
    "frequency_response": "Level against the reference, dB",
}


def print_scores(scores: SetScores) -> None:
    """Print the tables, and one line on scores that need another package."""
    names = [stem.stem for stem in scores.stems]
    several = len(names) > 1
    _print("Scores", ["", "better", *names, *(["mean"] if several else [])], _stem_rows(scores, several))
    _print("Segments: median (worst)", ["", "", *names], _segment_rows(scores))
    for name, label in _BANDS.items():
        _print(f"{label}, per band", ["band (Hz)", *names], _band_rows(scores, name))
    for note in scores.notes:
        click.echo(note)
    for package, missing in scores.missing.items():
        what = "s" if len(missing) == 1 else ""
        fix = "pip install 'stemprover[evaluate]'"
        click.echo(f"{', '.join(missing)} need{what} the package {package}: {fix}")


def _stem_rows(scores: SetScores, several: bool) -> list[list[str]]:
    rows = []
    for name, column in scores.columns.items():
        better = {True: "higher", False: "lower", None: "near 0"}[column.higher_is_better]
        values = [_number(stem.scores.get(name)) for stem in scores.stems]
        if any(values):
            label = f"{column.label}, {column.unit}" if column.unit else column.label
            rows.append([label, better, *values, *([_number(scores.mean.get(name))] if several else [])])
    return rows


def _segment_rows(scores: SetScores) -> list[list[str]]:
    rows = []
    for name in _SPREAD:
        column = scores.columns.get(name)
        if column is None:
            continue
        cells = []
        for stem in scores.stems:
            found = [part.scores[name] for part in stem.segments if name in part.scores]
            worst = (min if column.higher_is_better else max)(found, default=None)
            cells.append(f"{median(found):.2f} ({worst:.2f})" if found else "")
        rows.append([f"{column.label}, {column.unit}", f"of {_count(scores)}", *cells])
    return rows


def _count(scores: SetScores) -> str:
    return str(max((len(stem.segments) for stem in scores.stems), default=0))


def _band_rows(scores: SetScores, name: str) -> list[list[str]]:
    bands = sorted({(band.low_hz, band.high_hz) for stem in scores.stems for band in stem.bands})
    found = [{(band.low_hz, band.high_hz): band.scores[name] for band in stem.bands} for stem in scores.stems]
    return [[f"{low:.0f} - {high:.0f}", *(_number(one.get((low, high))) for one in found)] for low, high in bands]


def _number(value: float | None) -> str:
    return "" if value is None else f"{value:.2f}"


def _print(title: str, columns: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    if not rows:
        return
    click.echo(title)
    table = Table()
    for place, column in enumerate(columns):
        table.add_column(column, justify="left" if place == 0 else "right", no_wrap=True)
    for row in rows:
        table.add_row(*row)
    Console(highlight=False, width=None if sys.stdout.isatty() else 160).print(table)
