"""Regions as rectangles on a picture, merged where they would only hide what they mark."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence

from stemprover.report.axes import MelAxis, clock
from stemprover.report.regions import Region
from stemprover.report.wording import hertz

__all__ = ["Box", "draw_boxes", "merge_regions"]

_GAP_SHARE = 0.004  # of the duration: about four pixels


@dataclasses.dataclass(frozen=True, slots=True)
class Box:
    """A rectangle in thousandths of the picture's width and height.

    Attributes
    ----------
    x, y, width, height : float
        From the upper left corner.
    style : int
        Number of the artifact's colour.
    repaired : bool
        False for what was left as found.
    tip : str
        Tooltip, one fact per line.
    """

    x: float
    y: float
    width: float
    height: float
    style: int
    repaired: bool
    tip: str


def _highest(first: float | None, second: float | None) -> float | None:
    return max((value for value in (first, second) if value is not None), default=None)


def _join(first: Region, second: Region) -> Region:
    """Smallest region that holds both, as certain and severe as the worse one."""
    return dataclasses.replace(
        first,
        start_s=min(first.start_s, second.start_s),
        end_s=max(first.end_s, second.end_s),
        low_hz=min(first.low_hz, second.low_hz),
        high_hz=max(first.high_hz, second.high_hz),
        confidence=_highest(first.confidence, second.confidence),
        severity=_highest(first.severity, second.severity),
    )


def _belong_together(first: Region, second: Region, axis: MelAxis, gap_s: float) -> bool:
    """True when ``second`` starts before ``first`` has ended and shares half of the smaller height with it."""
    low, high = ([axis.fraction(getattr(region, name)) for region in (first, second)] for name in ("low_hz", "high_hz"))
    shared = min(high) - max(low)
    return second.start_s <= first.end_s + gap_s and shared >= 0.5 * min(high[0] - low[0], high[1] - low[1])


def merge_regions(regions: Sequence[Region], axis: MelAxis, duration_s: float) -> list[tuple[Region, int]]:
    """Join neighbours of one artifact and adapter.

    Parameters
    ----------
    regions : sequence of Region
        In order of time.
    axis : MelAxis
        Frequency axis of the picture.
    duration_s : float
        Length of the audio in seconds.

    Returns
    -------
    list of (Region, int)
        What to draw, and how many regions it stands for.
    """
    merged: list[tuple[Region, int]] = []
    open_at: dict[tuple[str, str | None], list[int]] = {}
    gap = _GAP_SHARE * duration_s
    for region in regions:
        active = open_at.setdefault((region.artifact, region.adapter), [])
        active[:] = [place for place in active if merged[place][0].end_s + gap >= region.start_s]
        for place in active:
            if _belong_together(merged[place][0], region, axis, gap):
                merged[place] = _join(merged[place][0], region), merged[place][1] + 1
                break
        else:
            active.append(len(merged))
            merged.append((region, 1))
    return merged


def _tip(region: Region, parts: int) -> str:
    lines = [
        region.artifact + (f" ({parts} regions)" if parts > 1 else ""),
        f"{clock(region.start_s, 1)} to {clock(region.end_s, 1)}, {hertz(region.low_hz)} to {hertz(region.high_hz)}",
    ]
    if region.confidence is not None:
        lines.append(f"confidence {region.confidence:.0%}, severity {region.severity or 0.0:.0%}")
    if region.adapter is None:
        lines.append("left as found")
    else:
        lines.append(f"adapter {region.adapter}" + ("" if region.strength is None else f" at {region.strength:g}"))
    return "\n".join(lines)


def draw_boxes(
    regions: Sequence[Region], axis: MelAxis, duration_s: float, styles: Mapping[str, int], most: int
) -> list[Box]:
    """Rectangles to draw, merged; of more than ``most``, those with the highest confidence."""
    merged = merge_regions(regions, axis, duration_s)
    shown = sorted(merged, key=lambda item: -(item[0].confidence or 1.0))[:most]
    boxes = []
    for region, parts in shown:
        left = 1000 * region.start_s / max(duration_s, 1e-9)
        top = 1000 * (1 - axis.fraction(region.high_hz))
        width = max(1000 * min(region.end_s, duration_s) / max(duration_s, 1e-9) - left, 1.5)
        height = max(1000 * (1 - axis.fraction(region.low_hz)) - top, 4.0)
        style, repaired = styles[region.artifact], region.adapter is not None
        boxes.append(Box(left, top, width, height, style, repaired, _tip(region, parts)))
    return boxes
