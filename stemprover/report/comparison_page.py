"""The page of a comparison: waveforms, spectrograms and differences in rows, players that stay in step."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from stemprover.evaluation import METRICS
from stemprover.report.analysis import FLOOR_DB, Analysis
from stemprover.report.axes import clock, frequency_ticks, time_ticks
from stemprover.report.charts import level_range, line_path
from stemprover.report.comparison import ComparedFile, Comparison
from stemprover.report.pictures import RANGE_DB, change_image, data_uri, spectrogram_image
from stemprover.report.players import cut_tracks
from stemprover.report.waveforms import waveform, waveform_path
from stemprover.report.writing import write_page

__all__ = ["CHANGE_SPAN_DB", "EXCERPT_S", "SAME_DB", "apart_db", "closest", "write_comparison"]

EXCERPT_S = 30.0
CHANGE_SPAN_DB = 65.0
SAME_DB = -150.0
_FAINT = 1e-9  # full scale of the pictures of silent files


def write_comparison(path: Path, comparison: Comparison) -> None:
    """Write the page; an existing file is replaced when the new one is complete."""
    write_page(path, "comparison.html", _context(comparison))


def _context(comparison: Comparison) -> dict[str, Any]:
    analyses = comparison.analyses()
    first = analyses[0]
    form = comparison.format
    start = _loudest_start(first.level_before_db, comparison.duration_s)
    channels = {1: "mono", 2: "stereo"}.get(form.channels, f"{form.channels} channels")
    return {
        "names": [file.name for file in comparison.files],
        "finding": _finding(comparison, analyses),
        "chips": [f"{form.sample_rate / 1000:g} kHz", channels, clock(comparison.duration_s, 1)],
        "rows": _rows(comparison, analyses),
        "table": _table(comparison, analyses),
        "metrics": _metric_rows(comparison),
        "letters": [file.letter for file in comparison.files],
        "has_reference": comparison.has_reference,
        "curves": _curves(comparison, analyses),
        "duration_s": comparison.duration_s,
        "range_db": RANGE_DB,
        "same_db": SAME_DB,
        "frequency_ticks": frequency_ticks(first.axis),
        "spectrum_ticks": frequency_ticks(first.axis, 0.07),
        "time_ticks": time_ticks(comparison.duration_s, 6),
        "excerpt": cut_tracks(
            {file.letter: file.source for file in comparison.files},
            {_difference(comparison, file): (file.letter, comparison.files[0].letter) for file in comparison.files[1:]},
            start,
            EXCERPT_S,
        ),
    }


def _difference(comparison: Comparison, file: ComparedFile) -> str:
    return f"{file.letter} \u2212 {comparison.files[0].letter}"


def _rows(comparison: Comparison, analyses: Sequence[Analysis]) -> list[dict[str, Any]]:
    """One row per file: its own waveform and spectrogram, and those of its difference to the first."""
    first = comparison.files[0]
    after = [analysis.after_db for analysis in analyses if analysis.after_db is not None]
    top = max(float(picture.max()) for picture in (analyses[0].before_db, *after))
    changes = [analysis.difference_db for analysis in analyses if analysis.difference_db is not None]
    loudest = max(float(picture.max()) for picture in changes)
    shapes = [waveform(file.source) for file in comparison.files]
    differences = [waveform(file.source, first.source) for file in comparison.files[1:]]
    peak = max(_FAINT, *(float(np.abs(side).max()) for shape in shapes for side in shape))
    error = max(*(float(np.abs(side).max()) for shape in differences for side in shape), 1e-4 * peak)
    rows: list[dict[str, Any]] = []
    for place, (file, shape) in enumerate(zip(comparison.files, shapes, strict=True)):
        picture = analyses[0].before_db if place == 0 else after[place - 1]
        row = {
            "file": file,
            "style": place,
            "wave": waveform_path(shape, peak),
            "picture": data_uri(spectrogram_image(picture, top)),
            "difference": "",
        }
        if place:
            row |= {
                "difference": _difference(comparison, file),
                "wave_difference": waveform_path(differences[place - 1], error),
                "zoom_db": 20 * float(np.log10(peak / error)),
                "picture_difference": data_uri(change_image(analyses[place - 1], top, loudest, CHANGE_SPAN_DB)),
            }
        rows.append(row)
    return rows


def _curves(comparison: Comparison, analyses: Sequence[Analysis]) -> dict[str, Any]:
    """Level over time and average spectrum of all files."""
    levels = [analyses[0].level_before_db, *(one.level_after_db for one in analyses if one.level_after_db is not None)]
    spectra = [
        analyses[0].spectrum_before_db,
        *(one.spectrum_after_db for one in analyses if one.spectrum_after_db is not None),
    ]
    level, spectrum = level_range(*levels), level_range(*spectra, span_db=72.0)
    return {
        "level": level,
        "spectrum": spectrum,
        "level_paths": [line_path(_smoothed(curve), level.low, level.high) for curve in levels],
        "spectrum_paths": [line_path(curve, spectrum.low, spectrum.high) for curve in spectra],
        "names": [(place, file.letter, file.name) for place, file in enumerate(comparison.files)],
    }


def _smoothed(level_db: np.ndarray, width: int = 9) -> np.ndarray:
    """Mean power over a few columns: lines of several files on top of each other must stay apart."""
    if level_db.size <= width:
        return level_db
    power = np.pad(10 ** (level_db / 10), width // 2, mode="edge")
    mean = np.convolve(power, np.full(width, 1 / width), mode="valid")
    return np.asarray(10 * np.log10(np.maximum(mean, 10 ** (FLOOR_DB / 10))))


def _mean_db(level_db: np.ndarray) -> float:
    return 10 * float(np.log10(max(float(np.mean(10 ** (level_db / 10))), 1e-20)))


def apart_db(analysis: Analysis) -> float:
    """Level of the difference relative to the first file's; -150 dB when there is none, also of silent files."""
    assert analysis.level_difference_db is not None
    if float(analysis.level_difference_db.max()) <= FLOOR_DB:
        return SAME_DB
    apart = _mean_db(analysis.level_difference_db) - _mean_db(analysis.level_before_db)
    return max(round(apart, 1) + 0.0, SAME_DB)  # + 0.0: no minus in front of zero


def _table(comparison: Comparison, analyses: Sequence[Analysis]) -> list[dict[str, Any]]:
    """Levels of every file, and how far it is from the first."""
    rate = comparison.format.sample_rate
    own = _mean_db(analyses[0].level_before_db)
    rows: list[dict[str, Any]] = []
    for place, file in enumerate(comparison.files):
        row: dict[str, Any] = {"file": file, "style": place, "rms": own, "difference": None, "late_ms": 0.0}
        if place:
            analysis = analyses[place - 1]
            assert analysis.level_after_db is not None
            row |= {"rms": _mean_db(analysis.level_after_db), "difference": apart_db(analysis)}
            row["late_ms"] = 1000 * file.offset / rate
        rows.append(row)
    return rows


def _metric_rows(comparison: Comparison) -> list[dict[str, Any]]:
    """Scores by metric; the best of several is marked."""
    rows = []
    for name, metric in METRICS.items():
        values = [comparison.metrics.get(file.letter, {}).get(name) for file in comparison.files[1:]]
        known = [value for value in values if value is not None]
        if known:
            best = (max if metric.higher_is_better else min)(known)
            clear = len(known) > 1 and max(known) - min(known) > 1e-9
            cells = [(value, clear and value == best) for value in values]
            rows.append({"metric": metric, "cells": cells})
    return rows


def closest(comparison: Comparison) -> ComparedFile | None:
    """The file with the highest SI-SDR against the reference, if there are several to choose from."""
    scores = {letter: scores["si_sdr"] for letter, scores in comparison.metrics.items() if "si_sdr" in scores}
    if len(scores) < 2 or max(scores.values()) - min(scores.values()) < 1e-9:
        return None
    best = max(scores, key=lambda letter: scores[letter])
    return next(file for file in comparison.files if file.letter == best)


def _finding(comparison: Comparison, analyses: Sequence[Analysis]) -> str:
    """The result in one sentence."""
    if winner := closest(comparison):
        score = comparison.metrics[winner.letter]["si_sdr"]
        return f"{winner.letter} is closest to the reference: {score:.1f} dB SI-SDR."
    rows = [row for row in _table(comparison, analyses) if row["difference"] is not None]
    least = min(rows, key=lambda row: row["difference"])
    first = "the reference" if comparison.has_reference else comparison.files[0].letter
    if least["difference"] <= SAME_DB:
        return f"{least['file'].letter} is the same as {first}: nothing above {FLOOR_DB:g} dBFS is left."
    if float(analyses[0].level_before_db.max()) <= FLOOR_DB:
        return f"{first[0].upper()}{first[1:]} is silent: how far others are from it says nothing."
    what = "its difference" if len(rows) == 1 else "the smallest difference"
    side = "below" if least["difference"] <= 0.0 else "above"
    return f"{least['file'].letter} against {first}: {what} is {abs(least['difference']):.1f} dB {side} {first}."


def _loudest_start(level_db: np.ndarray, duration_s: float) -> float:
    """Where the loudest stretch of an excerpt's length begins."""
    size = round(level_db.size * EXCERPT_S / max(duration_s, 1e-9))
    if size >= level_db.size:
        return 0.0
    sums = np.convolve(10 ** (level_db / 10), np.ones(size), mode="valid")
    return float(np.argmax(sums)) / level_db.size * duration_s
