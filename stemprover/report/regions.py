"""What was found and what was done about it, joined into one list of rectangles."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np

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


def _geometry(item: Mapping[str, Any]) -> dict[str, Any]:
    return {key: item[key] for key in ("artifact", "start_s", "end_s", "low_hz", "high_hz")}


class _Plan:
    """Plan items by artifact, with their rectangles as arrays: files of an hour hold thousands."""

    def __init__(self, items: Sequence[Mapping[str, Any]]) -> None:
        self._places: dict[str, tuple[np.ndarray, np.ndarray]] = {}
        for artifact in {item["artifact"] for item in items}:
            places = np.array([place for place, item in enumerate(items) if item["artifact"] == artifact])
            edges = [[items[k][key] for key in ("start_s", "end_s", "low_hz", "high_hz")] for k in places]
            self._places[artifact] = places, np.array(edges, dtype=np.float64).T

    def best(self, detection: Mapping[str, Any]) -> int | None:
        """Place of the item of the same artifact that covers most of a detection, in seconds times Hz."""
        if detection["artifact"] not in self._places:
            return None
        places, (start, end, low, high) = self._places[detection["artifact"]]
        seconds = np.minimum(end, detection["end_s"]) - np.maximum(start, detection["start_s"])
        hertz = np.minimum(high, detection["high_hz"]) - np.maximum(low, detection["low_hz"])
        area = np.maximum(seconds, 0.0) * np.maximum(hertz, 0.0)
        return int(places[area.argmax()]) if area.max() > 0 else None


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
    planned = _Plan(plan)
    regions: list[Region] = []
    used: set[int] = set()
    for detection in summary.get("detections") or ():
        seen = {"confidence": detection.get("confidence"), "severity": detection.get("severity")}
        index = planned.best(detection)
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
    if not last or not chosen:
        return 0.0
    starts, ends = (np.array([getattr(region, name) for region in chosen]) for name in ("start_s", "end_s"))
    weights = np.array([0.5 if region.severity is None else region.severity for region in chosen])
    candidates = np.unique(np.clip(starts - 0.5, 0.0, last))
    held = [
        float(np.sum(np.maximum(np.minimum(ends, first + window_s) - np.maximum(starts, first), 0.0) * weights))
        for first in candidates
    ]
    return float(candidates[int(np.argmax(held))])
