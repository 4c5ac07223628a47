"""From cell scores to detections: a few rectangles in time and frequency.

Flagged cells that touch form a region. A region becomes its bounding box if it fills most of it, else it is cut in
two, in time or frequency, where the two boxes hold the least that was not flagged. Boxes of one artifact that nearly
touch and together stay mostly flagged are joined again.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Mapping, Sequence

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
    index = np.arange(1, count + 1)
    strongest = ndimage.maximum(probability, labels, index)
    area = ndimage.sum_labels(candidates, labels, index)
    kept = np.concatenate([[False], (strongest >= threshold.seed) & (area >= min_cells)])
    return np.where(kept[labels], labels, 0).astype(np.int32)


def _bounds(mask: np.ndarray, offset: _Box) -> _Box | None:
    times, bands = np.flatnonzero(mask.any(1)), np.flatnonzero(mask.any(0))
    if times.size == 0:
        return None
    return _Box(
        offset.start + int(times[0]),
        offset.start + int(times[-1]) + 1,
        offset.low + int(bands[0]),
        offset.low + int(bands[-1]) + 1,
    )


def _halves(box: _Box) -> Iterator[tuple[_Box, _Box]]:
    for time in range(box.start + 1, box.stop):
        yield dataclasses.replace(box, stop=time), dataclasses.replace(box, start=time)
    for band in range(box.low + 1, box.high):
        yield dataclasses.replace(box, high=band), dataclasses.replace(box, low=band)


def _area(box: _Box | None) -> int:
    return 0 if box is None else (box.stop - box.start) * (box.high - box.low)


def _boxes(mask: np.ndarray, box: _Box) -> list[_Box]:
    """Cover a region by boxes that are at least ``_FILL`` full; iterative, as a region may be as long as the file."""
    done, todo = [], [box]
    while todo:
        tight = _bounds(todo[-1].cut(mask), todo.pop())
        if tight is None:
            continue
        if tight.cut(mask).mean() >= _FILL:
            done.append(tight)
            continue
        pairs = [[_bounds(half.cut(mask), half) for half in halves] for halves in _halves(tight)]
        best = min(pairs, key=lambda pair: _area(pair[0]) + _area(pair[1]))
        todo += [half for half in best if half is not None]
    return done


def _joined(boxes: list[_Box], flagged: np.ndarray) -> list[_Box]:
    """Join neighbours in order of time as long as their common box stays mostly flagged."""
    result: list[_Box] = []
    for box in sorted(boxes, key=lambda item: (item.start, item.low)):
        current = box
        for other in [item for item in result if item.near(current)]:
            both = current.join(other)
            if both.cut(flagged).mean() >= _FILL:
                result.remove(other)
                current = both
        result.append(current)
    return result


def _regions(labels: np.ndarray) -> Iterator[tuple[np.ndarray, _Box]]:
    """Yield each region's mask and bounding box, long ones in stretches so that searching for cuts stays cheap."""
    from scipy import ndimage

    for number, place in enumerate(ndimage.find_objects(labels), start=1):
        if place is None:
            continue
        times, bands = place
        for start in range(times.start, times.stop, _STRETCH_CELLS):
            yield labels == number, _Box(start, min(start + _STRETCH_CELLS, times.stop), bands.start, bands.stop)


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
        boxes = [box for mask, area in _regions(np.where(mine, flagged, 0)) for box in _boxes(mask, area)]
        found += [_detection(name, box, scores[name], mine, energy, spec) for box in _joined(boxes, mine)]
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
