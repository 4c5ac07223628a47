"""One PNG: the spectrogram with the flagged regions, and a lane per artifact below it."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from stemprover.report.analysis import analyse
from stemprover.report.axes import MelAxis, Tick, frequency_ticks, time_ticks
from stemprover.report.inputs import ReportInput
from stemprover.report.pictures import spectrogram_image, top_db
from stemprover.report.regions import Region, collect_regions
from stemprover.report.styles import artifact_styles, glow
from stemprover.report.wording import file_name, finding
from stemprover.report.writing import replaced

__all__ = ["plot_png"]

_WIDTH, _HEIGHT, _LANE = 1400, 460, 46
_LEFT, _RIGHT, _TOP, _GAP = 76, 28, 92, 44
_PAGE, _TEXT, _SOFT, _SUNKEN = (22, 25, 34), (236, 239, 245), (160, 168, 184), (13, 15, 20)
_Font = ImageFont.FreeTypeFont | ImageFont.ImageFont


def _draw_ticks(draw: ImageDraw.ImageDraw, font: _Font, times: Sequence[Tick], hertz: Sequence[Tick]) -> None:
    """Labels of both axes around the spectrogram."""
    for tick in hertz:
        y = _TOP + (1 - tick.at) * _HEIGHT
        draw.line((_LEFT - 6, y, _LEFT - 1, y), fill=_SOFT)
        draw.text((_LEFT - 11, y), tick.label, _SOFT, font, anchor="rm")
    for tick in times:
        x = _LEFT + tick.at * _WIDTH
        draw.line((x, _TOP + _HEIGHT, x, _TOP + _HEIGHT + 5), fill=_SOFT)
        draw.text((x, _TOP + _HEIGHT + 10), tick.label, _SOFT, font, anchor="mt")


def _draw_region(draw: ImageDraw.ImageDraw, region: Region, axis: MelAxis, duration_s: float, style: int) -> None:
    left = _LEFT + _WIDTH * region.start_s / duration_s
    right = max(_LEFT + _WIDTH * min(region.end_s / duration_s, 1.0), left + 2)
    top = _TOP + _HEIGHT * (1 - axis.fraction(region.high_hz))
    bottom = max(_TOP + _HEIGHT * (1 - axis.fraction(region.low_hz)), top + 2)
    draw.rectangle((left - 1, top - 1, right + 1, bottom + 1), outline=(0, 0, 0), width=4)
    draw.rectangle((left, top, right, bottom), outline=glow(style), width=2)


def _draw_lane(
    draw: ImageDraw.ImageDraw, font: _Font, name: str, values: np.ndarray, place: tuple[float, float], style: int
) -> None:
    """One lane at ``place = (top, pixels per cell)``."""
    top, step = place
    draw.text((_LEFT, top), f"{name}   highest {values.max(initial=0.0):.0%}", glow(style), font)
    base = top + 22 + _LANE
    draw.rectangle((_LEFT, top + 22, _LEFT + _WIDTH, base), fill=_SUNKEN)
    for index, value in enumerate(values):
        left, right = _LEFT + index * step, min(_LEFT + (index + 1) * step, _LEFT + _WIDTH)
        if right > left and value > 0:
            draw.rectangle((left, base - value * _LANE, right, base), fill=glow(style))


def plot_png(path: Path, report: ReportInput) -> None:
    """Draw the stem before repair and what was found in it.

    Parameters
    ----------
    path : Path
        Where the picture goes; an existing file is replaced when the picture is complete.
    report : ReportInput
        What to draw; ``after`` and ``metrics`` are not used.
    """
    regions = collect_regions(report.summary)
    styles = artifact_styles([*report.lanes, *(region.artifact for region in regions)])
    analysis = analyse(report.before, None)
    duration = max(report.duration_s, 1e-9)
    lane_top = _TOP + _HEIGHT + _GAP
    height = lane_top + len(report.lanes) * (_LANE + 36) + 16
    image = Image.new("RGB", (_LEFT + _WIDTH + _RIGHT, height), _PAGE)
    draw = ImageDraw.Draw(image)
    heading, font = ImageFont.load_default(27), ImageFont.load_default(17)
    draw.text((_LEFT, 20), file_name(report.summary.get("input") or "stem"), _TEXT, heading)
    found = {"detections": report.summary.get("detections")}  # what would be repaired is not what this shows
    draw.text((_LEFT, 58), finding(found, report.duration_s, repaired=False), _SOFT, font)
    picture = spectrogram_image(analysis.before_db, top_db(analysis)).convert("RGB")
    image.paste(picture.resize((_WIDTH, _HEIGHT), Image.Resampling.BILINEAR), (_LEFT, _TOP))
    _draw_ticks(draw, font, time_ticks(report.duration_s), frequency_ticks(analysis.axis))
    for region in regions:
        _draw_region(draw, region, analysis.axis, duration, styles[region.artifact])
    for row, name in enumerate(sorted(report.lanes, key=lambda name: (styles[name], name))):
        values = np.clip(np.nan_to_num(np.asarray(report.lanes[name], dtype=np.float64).ravel()), 0.0, 1.0)
        place = (lane_top + row * (_LANE + 36), _WIDTH * report.cell_s / duration)
        _draw_lane(draw, font, name, values, place, styles[name])
    with replaced(path) as temporary:
        image.save(temporary, "PNG")
