"""What was found and what was done about it, joined into one list of rectangles."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

__all__ = ["Region", "collect_regions", "most_repaired_start"]


@dataclasses.dataclass(frozen=True, slots=True)
class Region:
    """One flagged rectangle in time and frequency.

    Attributes
    ----------
    artifact : str
        Name in the artifact tree.
    start_s, end_s, low_hz, high_hz : float
        Where.
    confidence, severity : float or None
        As detected; None when the repair was asked for by hand.
    adapter : str or None
        What repairs it; None when it was left alone.
    strength : float or None
        Strength of that adapter.
    """

    artifact: str
    start_s: float
    end_s: float
    low_hz: float
    high_hz: float
    confidence: float | None = None
    severity: float | None = None
    adapter: str | None = None
    strength: float | None = None


def _overlap(a: Mapping[str, Any], b: Mapping[str, Any]) -> float:
    """Area that two rectangles share, in seconds times Hz."""
    seconds = min(a["end_s"], b["end_s"]) - max(a["start_s"], b["start_s"])
    hertz = min(a["high_hz"], b["high_hz"]) - max(a["low_hz"], b["low_hz"])
    return float(max(seconds, 0.0) * max(hertz, 0.0))


def _geometry(item: Mapping[str, Any]) -> dict[str, Any]:
    return {key: item[key] for key in ("artifact", "start_s", "end_s", "low_hz", "high_hz")}


def _best_plan(detection: Mapping[str, Any], plan: Sequence[Mapping[str, Any]]) -> int | None:
    """Index of the plan item of the same artifact that covers most of a detection."""
    areas = [_overlap(detection, item) if item["artifact"] == detection["artifact"] else 0.0 for item in plan]
    best = max(range(len(areas)), key=areas.__getitem__, default=None)
    return best if best is not None and areas[best] > 0 else None


def collect_regions(summary: Mapping[str, Any]) -> tuple[Region, ...]:
    """Join detections with the plan.

    A detection without a plan item is kept as found and left alone; a plan item without a detection (an adapter that
    was asked for by name) is kept as a repair without a confidence.

    Parameters
    ----------
    summary : Mapping
        The summary of a run; ``detections`` and ``plan`` are read.

    Returns
    -------
    tuple of Region
        In order of time.
    """
    plan: Sequence[Mapping[str, Any]] = summary.get("plan") or ()
    regions: list[Region] = []
    used: set[int] = set()
    for detection in summary.get("detections") or ():
        seen = {"confidence": detection.get("confidence"), "severity": detection.get("severity")}
        index = _best_plan(detection, plan)
        if index is not None:
            used.add(index)
            seen |= {"adapter": plan[index].get("adapter"), "strength": plan[index].get("strength")}
        regions.append(Region(**_geometry(detection), **seen))
    for index, item in enumerate(plan):
        if index not in used:
            regions.append(Region(**_geometry(item), adapter=item.get("adapter"), strength=item.get("strength")))
    return tuple(sorted(regions, key=lambda region: (region.start_s, region.low_hz, region.artifact)))


def most_repaired_start(regions: Iterable[Region], duration_s: float, window_s: float) -> float:
    """Start of the window that holds the most repaired (else the most flagged) time.

    Parameters
    ----------
    regions : iterable of Region
        What was found.
    duration_s : float
        Length of the audio in seconds.
    window_s : float
        Length of the window in seconds.

    Returns
    -------
    float
        Between 0 and ``duration_s - window_s``; 0 when the window holds everything.
    """
    last = max(duration_s - window_s, 0.0)
    flagged = list(regions)
    chosen = [region for region in flagged if region.adapter] or flagged
    candidates = sorted({min(max(region.start_s - 0.5, 0.0), last) for region in chosen} | {0.0})

    def weight(start: float) -> float:
        stop = start + window_s
        return sum(
            max(min(region.end_s, stop) - max(region.start_s, start), 0.0) * (region.severity or 0.5)
            for region in chosen
        )

    return max(candidates, key=weight) if last else 0.0
