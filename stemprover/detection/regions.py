"""From cell scores to detections: a few rectangles in time and frequency.

Flagged cells that touch form a region. A region becomes its bounding box if it fills most of it, else it is cut in
two, in time or frequency, where the two boxes hold the least that was not flagged. Boxes of one artifact that nearly
touch and together stay mostly flagged are joined again.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Iterator, Mapping, Sequence

import numpy as np

from stemprover.detection.thresholds import (
    DEFAULT_RULES,
    Threshold,
    ThresholdRule,
    adaptive_threshold,
    audible_cells,
    rule_for,
)
from stemprover.detection.types import CellScores, Detection
from stemprover.errors import OptionError
from stemprover.spectral.bands import cell_band_edges_hz
from stemprover.spectral.spec import SPEC, SpectralSpec

__all__ = ["concatenate_scores", "detect_cells", "flag_cells"]

_FILL = 0.55
_GAP_CELLS = 1
_STRETCH_CELLS = 64


@dataclasses.dataclass(frozen=True, slots=True)
class _Box:
    """Cells ``start <= time < stop``, bands ``low <= band < high``."""

    start: int
    stop: int
    low: int
    high: int

    def cut(self, grid: np.ndarray) -> np.ndarray:
        return grid[self.start : self.stop, self.low : self.high]

    def area(self) -> int:
        return (self.stop - self.start) * (self.high - self.low)

    def join(self, other: _Box) -> _Box:
        return _Box(
            min(self.start, other.start),
            max(self.stop, other.stop),
            min(self.low, other.low),
            max(self.high, other.high),
        )

    def near(self, other: _Box) -> bool:
        apart_in_time = max(self.start, other.start) - min(self.stop, other.stop)
        apart_in_bands = max(self.low, other.low) - min(self.high, other.high)
        return apart_in_time <= _GAP_CELLS and apart_in_bands <= _GAP_CELLS


def concatenate_scores(parts: Sequence[Mapping[str, CellScores]]) -> dict[str, CellScores]:
    """Join the scores of consecutive blocks in time; all parts hold the same artifacts."""
    names = parts[0] if parts else {}
    return {
        name: CellScores(
            np.concatenate([part[name].probability for part in parts]),
            np.concatenate([part[name].severity for part in parts]),
        )
        for name in names
    }


def flag_cells(probability: np.ndarray, audible: np.ndarray, threshold: Threshold, min_cells: int) -> np.ndarray:
    """Hysteresis: audible cells above ``extend`` that touch one above ``seed``, in regions of at least ``min_cells``.

    Parameters
    ----------
    probability, audible : ndarray
        Shape ``[cells, n_cell_bands]``.

    Returns
    -------
    ndarray
        Integer region numbers, 0 for cells that are not flagged, same shape.
    """
    from scipy import ndimage

    candidates = audible & (probability >= threshold.extend)
    labels, count = ndimage.label(candidates, structure=np.ones((3, 3)))
    if count == 0:
        return np.zeros(probability.shape, np.int32)
    strongest = ndimage.maximum(probability, labels, np.arange(1, count + 1))
    area = np.bincount(labels.ravel(), minlength=count + 1)[1:]
    kept = np.concatenate([[False], (strongest >= threshold.seed) & (area >= min_cells)])
    return np.where(kept[labels], labels, 0).astype(np.int32)


def _bounds(labels: np.ndarray, number: int, box: _Box) -> _Box | None:
    """The smallest box inside ``box`` that holds all of its cells with this label; None if there are none."""
    mask = box.cut(labels) == number
    times, bands = np.flatnonzero(mask.any(1)), np.flatnonzero(mask.any(0))
    if times.size == 0:
        return None
    time, band = box.start, box.low
    return _Box(time + int(times[0]), time + int(times[-1]) + 1, band + int(bands[0]), band + int(bands[-1]) + 1)


def _halves(box: _Box) -> Iterator[tuple[_Box, _Box]]:
    for time in range(box.start + 1, box.stop):
        yield dataclasses.replace(box, stop=time), dataclasses.replace(box, start=time)
    for band in range(box.low + 1, box.high):
        yield dataclasses.replace(box, high=band), dataclasses.replace(box, low=band)


def _boxes(labels: np.ndarray, number: int, box: _Box) -> Iterator[_Box]:
    """Cover a region by boxes that are at least ``_FILL`` full."""
    tight = _bounds(labels, number, box)
    if tight is None:
        return
    if (tight.cut(labels) == number).mean() >= _FILL:
        yield tight
        return
    pairs = [[_bounds(labels, number, half) for half in halves] for halves in _halves(tight)]
    best = min(pairs, key=lambda pair: sum(half.area() for half in pair if half))
    for half in best:
        if half:
            yield from _boxes(labels, number, half)


def _region_boxes(labels: np.ndarray) -> Iterator[_Box]:
    """Cover all regions, long ones in stretches so that searching for cuts stays cheap."""
    from scipy import ndimage

    for number, place in enumerate(ndimage.find_objects(labels), start=1):
        if place is not None:
            times, bands = place
            for start in range(times.start, times.stop, _STRETCH_CELLS):
                stop = min(start + _STRETCH_CELLS, times.stop)
                yield from _boxes(labels, number, _Box(start, stop, bands.start, bands.stop))


def _joined(boxes: Iterable[_Box], flagged: np.ndarray) -> list[_Box]:
    """Join neighbours in order of time as long as their common box stays mostly flagged."""
    done: list[_Box] = []
    recent: list[_Box] = []
    for box in sorted(boxes, key=lambda item: (item.start, item.low)):
        over = [item for item in recent if item.stop + _GAP_CELLS < box.start]
        done += over
        current, recent = box, [item for item in recent if item not in over]
        for other in [item for item in recent if item.near(current)]:
            both = current.join(other)
            if both.cut(flagged).mean() >= _FILL:
                recent.remove(other)
                current = both
        recent.append(current)
    return done + recent


def _detection(
    artifact: str, box: _Box, scores: CellScores, flagged: np.ndarray, energy: np.ndarray, spec: SpectralSpec
) -> Detection:
    inside = box.cut(flagged)
    weight = box.cut(energy)[inside]
    weight = weight if weight.sum() > 0 else np.ones_like(weight)
    seconds = spec.cell_frames / spec.frame_rate
    edges = cell_band_edges_hz(spec)
    return Detection(
        artifact,
        box.start * seconds,
        box.stop * seconds,
        float(edges[box.low]),
        float(edges[box.high]),
        float(np.clip(box.cut(scores.probability)[inside].mean(), 0, 1)),
        float(np.clip(np.average(box.cut(scores.severity)[inside], weights=weight), 0, 1)),
    )


def _families(scores: Mapping[str, CellScores]) -> dict[str, list[str]]:
    """Names by the root of their tree: ``bleed`` holds ``bleed``, ``bleed/drums``, ..."""
    families: dict[str, list[str]] = {}
    for name in scores:
        families.setdefault(name.partition("/")[0], []).append(name)
    return families


def _family_detections(
    scores: Mapping[str, CellScores], levels_db: np.ndarray, rule: ThresholdRule, spec: SpectralSpec
) -> list[Detection]:
    """Detect one family: its members share one threshold, and a flagged cell belongs to the most probable member."""
    names = list(scores)
    stacked = np.stack([scores[name].probability for name in names])
    probability, member = stacked.max(0), stacked.argmax(0)
    audible = audible_cells(levels_db, rule)
    flagged = flag_cells(probability, audible, adaptive_threshold(probability, audible, rule), rule.min_cells)
    energy = 10 ** (levels_db / 10)
    found = []
    for number, name in enumerate(names):
        mine = (flagged > 0) & (member == number)
        boxes = _joined(_region_boxes(np.where(mine, flagged, 0)), mine)
        found += [_detection(name, box, scores[name], mine, energy, spec) for box in boxes]
    return found


def detect_cells(
    scores: Mapping[str, CellScores],
    levels_db: np.ndarray,
    rules: Mapping[str, ThresholdRule] = DEFAULT_RULES,
    *,
    duration_s: float | None = None,
    spec: SpectralSpec = SPEC,
) -> tuple[Detection, ...]:
    """Turn the scores of a whole stem into detections.

    Parameters
    ----------
    scores : Mapping[str, CellScores]
        By artifact, for all cells of the stem (:func:`concatenate_scores` joins blocks).
    levels_db : ndarray
        Shape ``[cells, n_cell_bands]``, dB re full scale, from :func:`stemprover.detection.grid.block_levels`.
    rules : Mapping[str, ThresholdRule]
        By artifact; members of a family use the rule of its root.
    duration_s : float, optional
        Length of the stem in seconds; detections end there, as the last cell may be longer than the audio.

    Returns
    -------
    tuple[Detection, ...]
        In order of time, then frequency, then name.

    Raises
    ------
    OptionError
        Scores and levels differ in shape or are not finite.
    """
    for name, score in scores.items():
        if score.probability.shape != levels_db.shape or score.severity.shape != levels_db.shape:
            shapes = f"{score.probability.shape} and {score.severity.shape}"
            raise OptionError(f"scores of shape {levels_db.shape}", f"{shapes} for {name}", "report it to the detector")
        if not (np.isfinite(score.probability).all() and np.isfinite(score.severity).all()):
            raise OptionError("finite scores", f"NaN or infinity for {name}", "report it to the detector's author")
    found: list[Detection] = []
    for root, names in _families(scores).items():
        found += _family_detections({name: scores[name] for name in names}, levels_db, rule_for(root, rules), spec)
    limit = np.inf if duration_s is None else duration_s
    kept = [dataclasses.replace(item, end_s=min(item.end_s, limit)) for item in found if item.start_s < limit]
    return tuple(sorted(kept, key=lambda item: (item.start_s, item.low_hz, item.artifact)))
