"""Curves as SVG paths in a box of 1000 x 100 units that the page stretches to its width."""

from __future__ import annotations

import dataclasses

import numpy as np

from stemprover.report.axes import Tick

__all__ = ["Range", "area_path", "downsample_max", "level_range", "line_path", "step_path"]

_WIDTH, _HEIGHT = 1000.0, 100.0


@dataclasses.dataclass(frozen=True, slots=True)
class Range:
    """Vertical range of a curve, with its ticks."""

    low: float
    high: float
    ticks: tuple[Tick, ...]


def _points(values: np.ndarray, low: float, high: float) -> list[str]:
    """Points of a curve; each value sits in the middle of its share of the width, the outer ones at the edges."""
    across = (np.arange(values.size) + 0.5) / max(values.size, 1) * _WIDTH
    if values.size > 1:
        across[0], across[-1] = 0.0, _WIDTH
    down = (1.0 - np.clip((values - low) / max(high - low, 1e-9), 0.0, 1.0)) * _HEIGHT
    points = [f"{x:.1f} {y:.1f}" for x, y in zip(across, down, strict=True)]
    return points if len(points) != 1 else [f"0.0 {down[0]:.1f}", f"{_WIDTH:.1f} {down[0]:.1f}"]


def line_path(values: np.ndarray, low: float, high: float) -> str:
    """SVG path of a curve, ``M x y L x y ...``, with gaps where it would run along the lower edge."""
    points = _points(values, low, high)
    below = np.resize(values <= low, len(points)) if values.size else np.zeros(0, dtype=bool)
    hidden = below & np.append(True, below[:-1]) & np.append(below[1:], True) if values.size else below
    pen_up, path = True, []
    for point, skip in zip(points, hidden, strict=True):
        if not skip:
            path.append(("M" if pen_up else "L") + point)
        pen_up = bool(skip)
    return "".join(path)


def area_path(values: np.ndarray, low: float, high: float) -> str:
    """SVG path of the area under a curve."""
    points = _points(values, low, high)
    return f"M{'L'.join(points)}L{_WIDTH:.1f} {_HEIGHT:.1f}L0.0 {_HEIGHT:.1f}Z" if points else ""


def step_path(values: np.ndarray, low: float, high: float) -> str:
    """SVG path of the area under steps of equal width, one per value."""
    if not values.size:
        return ""
    step = _WIDTH / values.size
    down = (1.0 - np.clip((values - low) / max(high - low, 1e-9), 0.0, 1.0)) * _HEIGHT
    steps = "".join(f"V{y:.1f}H{(index + 1) * step:.1f}" for index, y in enumerate(down))
    return f"M0 {_HEIGHT:.0f}{steps}V{_HEIGHT:.0f}Z"


def downsample_max(values: np.ndarray, most: int = 800) -> np.ndarray:
    """Keep the highest of neighbouring values, so that a short peak stays visible."""
    if values.size <= most:
        return values
    starts = np.linspace(0, values.size, most, endpoint=False).astype(np.int64)
    return np.asarray(np.maximum.reduceat(values, starts))


def level_range(*curves: np.ndarray | None, span_db: float = 60.0, step_db: float = 12.0) -> Range:
    """Range of ``span_db`` that ends at the first multiple of the step above the highest value."""
    highest = max((float(curve.max()) for curve in curves if curve is not None and curve.size), default=0.0)
    high = float(np.ceil(max(highest, -96.0) / step_db) * step_db)
    low = high - span_db
    count = round(span_db / step_db)
    ticks = tuple(Tick(k / count, f"{low + k * step_db:.0f}") for k in range(count + 1))
    return Range(low, high, ticks)
