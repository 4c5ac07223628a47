"""The HTML page: one file, everything inside, nothing loaded from elsewhere."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from stemprover.report.analysis import Analysis, analyse
from stemprover.report.axes import clock, frequency_ticks, time_ticks
from stemprover.report.boxes import draw_boxes
from stemprover.report.charts import area_path, downsample_max, level_range, line_path, step_path
from stemprover.report.inputs import ReportInput
from stemprover.report.pictures import RANGE_DB, change_image, data_uri, spectrogram_image, top_db
from stemprover.report.players import EXCERPT_S, Excerpt, cut_excerpt
from stemprover.report.regions import Region, collect_regions, most_repaired_start
from stemprover.report.styles import artifact_styles
from stemprover.report.wording import file_name, finding, seconds, setting_rows
from stemprover.report.writing import write_page

__all__ = ["write_html"]

_TOTAL = "total"
_MOST_BOXES = 800
_DENSE = 60
_MOST_ROWS = 400


def _pictures(analysis: Analysis) -> list[dict[str, Any]]:
    top = top_db(analysis)
    pictures = [
        {
            "key": "before",
            "hear": "before",
            "title": "Stem" if analysis.after_db is None else "Before",
            "uri": data_uri(spectrogram_image(analysis.before_db, top)),
        }
    ]
    if analysis.after_db is not None:
        after, change = spectrogram_image(analysis.after_db, top), change_image(analysis, top)
        pictures.append({"key": "after", "hear": "after", "title": "After", "uri": data_uri(after)})
        pictures.append({"key": "change", "hear": "difference", "title": "What changed", "uri": data_uri(change)})
    return pictures


def _lanes(report: ReportInput, styles: Mapping[str, int]) -> list[dict[str, Any]]:
    """One lane per artifact; its width is the share of the file that its cells cover."""
    lanes = []
    for name in sorted(report.lanes, key=lambda name: (styles[name], name)):
        values = np.nan_to_num(np.asarray(report.lanes[name], dtype=np.float64).ravel())
        length = values.size * report.cell_s
        lanes.append(
            {
                "name": name,
                "style": styles[name],
                "highest": float(values.max(initial=0.0)),
                "area": step_path(downsample_max(values), 0.0, 1.0),
                "width": 100 * length / max(report.duration_s, 1e-9),
            }
        )
    return lanes


def _curves(analysis: Analysis) -> dict[str, Any]:
    """Paths of the level over time and of the average spectrum."""
    level = level_range(analysis.level_before_db, analysis.level_after_db)
    spectrum = level_range(analysis.spectrum_before_db, analysis.spectrum_after_db, span_db=72.0)
    curves: dict[str, Any] = {
        "level": level,
        "spectrum": spectrum,
        "level_before": area_path(analysis.level_before_db, level.low, level.high),
        "spectrum_before": area_path(analysis.spectrum_before_db, spectrum.low, spectrum.high),
        "level_after": "",
        "level_difference": "",
        "spectrum_after": "",
    }
    if analysis.level_after_db is not None and analysis.spectrum_after_db is not None:
        curves["level_after"] = line_path(analysis.level_after_db, level.low, level.high)
        curves["spectrum_after"] = line_path(analysis.spectrum_after_db, spectrum.low, spectrum.high)
    if analysis.level_difference_db is not None:
        curves["level_difference"] = line_path(analysis.level_difference_db, level.low, level.high)
    return curves


def _facts(report: ReportInput, regions: Sequence[Region]) -> list[dict[str, str]]:
    """The four numbers under the heading."""
    summary, duration = report.summary, report.duration_s
    repairs = len(summary.get("plan") or ())
    repaired_s = float(summary.get("repaired_s") or 0.0)
    worst = max(regions, key=lambda region: region.severity or 0.0, default=None)
    severity = None if worst is None else worst.severity
    timings = summary.get("timings_s") or {}
    spent = float(timings.get(_TOTAL) or sum(timings.values()))
    share = f"{repaired_s / duration:.0%} of the file" if duration else ""
    pace = f"{duration / spent:.1f} \u00d7 real time" if spent and duration else ""
    facts = [
        {
            "name": "Planned",
            "value": f"{repairs:,}",
            "note": _kinds(regions),
        },
        {
            "name": "Planned time" if report.after is None else "Repaired time",
            "value": seconds(repaired_s),
            "note": share,
        },
        {
            "name": "Highest severity",
            "value": "none" if severity is None else f"{severity:.0%}",
            "note": worst.artifact if worst else "",
        },
    ]
    return [*facts, {"name": "Processing", "value": seconds(spent), "note": pace}] if spent else facts


def _kinds(regions: Sequence[Region]) -> str:
    kinds = len({region.artifact for region in regions})
    return f"{kinds} kind{'' if kinds == 1 else 's'} of artifact" if kinds else "no artifact found"


def _format_chips(report: ReportInput) -> list[str]:
    form = report.before.format
    channels = {1: "mono", 2: "stereo"}.get(form.channels, f"{form.channels} channels")
    return [f"{form.sample_rate / 1000:g} kHz", channels, clock(report.duration_s, 1)]


def _metric_rows(metrics: Mapping[str, Mapping[str, Any]] | None) -> list[dict[str, Any]]:
    rows = []
    for name, row in (metrics or {}).items():
        gain = float(row["after"]) - float(row["before"])
        better = (gain > 0) == bool(row["higher_is_better"]) if abs(gain) > 1e-9 else None
        rows.append({"name": name, **row, "gain": gain, "better": better})
    return rows


def _context(report: ReportInput) -> dict[str, Any]:
    summary = report.summary
    regions = collect_regions(summary)
    styles = artifact_styles([*report.lanes, *(region.artifact for region in regions)])
    analysis = analyse(report.before, report.after)
    start = most_repaired_start(regions, report.duration_s, EXCERPT_S)
    excerpt: Excerpt = cut_excerpt(report.before, report.after, start)
    timings = {str(k): float(v) for k, v in (summary.get("timings_s") or {}).items() if k != _TOTAL}
    return {
        "name": file_name(summary.get("input") or "stem"),
        "output": file_name(summary.get("output") or ""),
        "version": summary.get("version") or "",
        "finding": finding(summary, report.duration_s, report.after is not None),
        "chips": _format_chips(report),
        "facts": _facts(report, regions),
        "duration_s": report.duration_s,
        "styles": sorted(styles.items(), key=lambda item: (item[1], item[0])),
        "pictures": _pictures(analysis),
        "boxes": draw_boxes(regions, analysis.axis, report.duration_s, styles, _MOST_BOXES),
        "dense": len(regions) > _DENSE,
        "range_db": RANGE_DB,
        "frequency_ticks": frequency_ticks(analysis.axis),
        "spectrum_ticks": frequency_ticks(analysis.axis, 0.07),
        "time_ticks": time_ticks(report.duration_s),
        "lanes": _lanes(report, styles),
        "curves": _curves(analysis),
        "excerpt": excerpt,
        "regions": [region for region in regions if region.adapter][:_MOST_ROWS],
        "hidden_rows": max(sum(region.adapter is not None for region in regions) - _MOST_ROWS, 0),
        "faults": list(summary.get("faults") or ()),
        "unrepaired": list(summary.get("unrepaired") or ())[:_MOST_ROWS],
        "hidden_left": max(len(summary.get("unrepaired") or ()) - _MOST_ROWS, 0),
        "metrics": _metric_rows(report.metrics),
        "settings": setting_rows(summary.get("settings") or {}),
        "timings": [(name, value, value / max(*timings.values(), 1e-9)) for name, value in timings.items()],
        "style_of": styles,
    }


def write_html(path: Path, report: ReportInput) -> None:
    """Write the page.

    The page is written beside its place and moved there when complete.

    Parameters
    ----------
    path : Path
        Where the page goes; an existing file is replaced.
    report : ReportInput
        What to show.
    """
    write_page(path, "template.html", _context(report))
