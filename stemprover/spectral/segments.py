"""Segments: where to cut a flagged stretch of audio.

A stretch becomes segments of limited length that overlap their neighbours only. Cuts fall where the level is low or
where a transient masks them; :mod:`stemprover.spectral.overlap` joins what was repaired.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterable, Sequence

import numpy as np
from numpy.typing import NDArray

from stemprover.spectral.overlap import SampleRange

__all__ = ["Segment", "plan_segments"]

Array = NDArray[np.float64]

_LEVEL_RANGE_DB = 60.0  # a hop this far below the loudest counts as silent
_MASKING_WEIGHT = 0.7  # a transient hides a join well, a pause better
_DISTANCE_WEIGHT = 0.1  # breaks ties between equally good places in favour of the nearer


@dataclasses.dataclass(frozen=True, slots=True)
class Segment:
    """A stretch of audio that is repaired in one go.

    The four times are kept as such, and not as lengths, because those of neighbours must be the same numbers: then
    they round to the same sample at every rate and the crossfade's weights add up to one.

    Attributes
    ----------
    start_s, full_s, release_s, stop_s : float
        Weight rises from 0 to 1 between ``start_s`` and ``full_s`` and falls between ``release_s`` and ``stop_s``.
        Where two segments overlap, ``release_s`` of the first is ``start_s`` of the second, ``stop_s`` its ``full_s``.
    """

    start_s: float
    full_s: float
    release_s: float
    stop_s: float

    @property
    def duration_s(self) -> float:
        """Length in seconds, fades included."""
        return self.stop_s - self.start_s

    def at(self, sample_rate: int, n_samples: int) -> SampleRange:
        """Return the segment in samples, cut at the end of a file of ``n_samples`` samples."""
        start, full, release, stop = (
            min(round(time * sample_rate), n_samples)
            for time in (self.start_s, self.full_s, self.release_s, self.stop_s)
        )
        return SampleRange(start, stop, full - start, stop - release)


@dataclasses.dataclass(frozen=True, slots=True)
class _Grid:
    """Lengths in hops and the cost of cutting at each hop and at the file's end."""

    cost: Array
    shortest: int
    longest: int
    longer_at_ends: int
    overlap: int
    search: int

    @property
    def end(self) -> int:
        return int(self.cost.size) - 1

    def best(self, low: int, high: int, wanted: float) -> int:
        """Cheapest hop in ``[low, high]``; the nearer to ``wanted`` the better."""
        places = np.arange(low, high + 1)
        distance = np.abs(places - wanted) / max(1, self.search)
        return int(places[np.argmin(self.cost[places] + _DISTANCE_WEIGHT * distance)])


def _cut_cost(envelope: Array, onsets: Array) -> Array:
    """Cost of a cut at the start of each hop, and at the end: low where it is quiet or where a transient masks it."""
    if envelope.size == 0:
        return np.zeros(1)
    level = np.clip((envelope - envelope.max()) / _LEVEL_RANGE_DB + 1.0, 0.0, 1.0)
    before = np.concatenate([level[:1], level[:-1]])
    strongest = np.percentile(onsets, 99) if onsets.any() else 1.0
    masking = np.clip(onsets / max(float(strongest), 1e-9), 0.0, 1.0)
    return np.append(np.maximum(level, before) - _MASKING_WEIGHT * masking, 0.0)


def plan_segments(
    envelope: Array,
    onsets: Array,
    regions: Iterable[tuple[float, float]],
    *,
    hop_s: float,
    min_s: float = 1.5,
    max_s: float = 2.97,
    longer_at_ends_s: float = 0.0,
    overlap_s: float = 0.05,
    search_s: float = 0.3,
) -> tuple[Segment, ...]:
    """Cut flagged regions into segments at quiet or transient points.

    Parameters
    ----------
    envelope, onsets : ndarray
        Level in dB and onset strength per hop, shape ``[hops]``; see :mod:`stemprover.spectral.envelope`.
    regions : iterable of (start_s, end_s)
        What to cover, in any order; parts outside the file are ignored.
    hop_s : float
        Length of a hop in seconds.
    min_s, max_s : float
        Shortest and longest segment. The longest is a hard limit, but at the file's ends. The shortest is rounded to
        whole hops and lowered to ``(max_s + overlap_s) / 2`` if it is more; a shorter file is one segment.
    longer_at_ends_s : float
        How much longer a segment may be because it begins with the file, and again because it ends with it: it needs
        no context there.
    overlap_s : float
        Length of crossfades between segments and of fades at the edges of a stretch.
    search_s : float
        How far a boundary may move from where it would be by arithmetic.

    Returns
    -------
    tuple of Segment
        Sorted; every region lies within the union; only neighbours overlap; at most ``len(envelope) * hop_s`` long.

    Raises
    ------
    ValueError
        If segments are so short that three of them could overlap, or the shapes differ.
    """
    if envelope.shape != onsets.shape or envelope.ndim != 1:
        raise ValueError(f"need one level and one onset strength per hop, got {envelope.shape} and {onsets.shape}")
    longest, overlap = math.floor(max_s / hop_s + 1e-9), max(1, round(overlap_s / hop_s))
    # Something just longer than the longest must split into two that share an overlap.
    shortest = min(round(min_s / hop_s), (longest + overlap) // 2)
    if shortest < 2 * overlap:
        raise ValueError(f"need min_s and (max_s + overlap_s) / 2 of two overlaps at least, got {shortest} hops")
    longer, search = max(0, math.floor(longer_at_ends_s / hop_s + 1e-9)), max(0, round(search_s / hop_s))
    grid = _Grid(_cut_cost(envelope, onsets), shortest, longest, longer, overlap, search)
    spans = _spans([(start / hop_s, stop / hop_s) for start, stop in regions], grid)
    segments: list[Segment] = []
    for start, stop in spans:
        segments += _with_fades(_split(start, stop, grid), grid, hop_s)
    return tuple(segments)


def _spans(regions: Sequence[tuple[float, float]], grid: _Grid) -> list[tuple[int, int]]:
    """Separate stretches in hops that hold all regions, their edges at good places and room for the edges' fades."""
    spans: list[tuple[int, int]] = []
    for first, last in sorted(regions):
        if first >= last or last <= 0 or first >= grid.end:
            continue
        span = _outer_edges(math.floor(first + 1e-9), math.ceil(last - 1e-9), grid)
        while spans and span[0] < spans[-1][1]:
            before = spans.pop()
            span = (min(before[0], span[0]), max(before[1], span[1]))
        spans.append(span)
    return spans


def _outer_edges(first: int, last: int, grid: _Grid) -> tuple[int, int]:
    """Move the edges of one region outwards, by a fade's length at least, and stretch it to the shortest segment."""
    reach = max(grid.search, grid.overlap)
    start, stop = max(0, first - grid.overlap), min(grid.end, last + grid.overlap)
    if start > 0:
        start = grid.best(max(0, first - reach), start, start)
    if stop < grid.end:
        stop = grid.best(stop, min(grid.end, last + reach), stop)
    missing = grid.shortest - (stop - start)
    if missing > 0:
        start = max(0, start - missing // 2)
        stop = min(grid.end, start + grid.shortest)
        start = max(0, stop - grid.shortest)
    return start, stop


def _split(start: int, stop: int, grid: _Grid) -> list[tuple[int, int]]:
    """Cut one stretch into overlapping pieces of allowed length, the fewest possible and about equal."""
    first, last = start, stop
    # What the outer pieces may be longer at the file's ends is left out of the arithmetic and given back to them.
    start += grid.longer_at_ends if start == 0 else 0
    stop -= grid.longer_at_ends if stop == grid.end else 0
    pieces: list[tuple[int, int]] = []
    while stop - start > grid.longest:
        length = stop - start
        step = grid.longest - grid.overlap
        count = math.ceil((length - grid.overlap) / step)
        wanted = (length + (count - 1) * grid.overlap) / count
        # The rest must fit into count - 1 pieces and be no shorter than one.
        low = max(grid.shortest, length - (count - 1) * step, math.ceil(wanted - grid.search))
        high = min(grid.longest, length + grid.overlap - grid.shortest, math.floor(wanted + grid.search))
        middle = grid.overlap // 2  # the crossfade's middle is what should be quiet or masked
        cut = grid.best(start + low - middle, start + max(low, high) - middle, start + wanted - middle) + middle
        pieces.append((start, cut))
        start = cut - grid.overlap
    pieces.append((start, stop))
    pieces[0] = (first, pieces[0][1])
    pieces[-1] = (pieces[-1][0], last)
    return pieces


def _with_fades(pieces: Sequence[tuple[int, int]], grid: _Grid, hop_s: float) -> list[Segment]:
    """Add fades: crossfades at joins, plain fades at outer edges, none where the file begins or ends."""
    segments = []
    for start, stop in pieces:
        full = start if start == 0 else start + grid.overlap
        release = stop if stop == grid.end else stop - grid.overlap
        segments.append(Segment(start * hop_s, full * hop_s, release * hop_s, stop * hop_s))
    return segments
