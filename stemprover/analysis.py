"""The first pass over a stem: what is wrong, where it is loud, where it can be cut."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Mapping, Sequence

import numpy as np
import torch
from torch import Tensor

from stemprover.detection import (
    AnalysisBlock,
    CellScores,
    Detection,
    Detector,
    block_levels,
    concatenate_scores,
    detect_cells,
    rules_of,
)
from stemprover.progress import Progress
from stemprover.spectral.segments import envelope_db
from stemprover.spectral.spec import SPEC
from stemprover.stems import Stem, StemSet
from stemprover.timebase import Timebase, match_channels

__all__ = ["Analysis", "analyse", "read_siblings", "read_sum_of_siblings"]

CELL = SPEC.cell_frames * SPEC.hop
_BLOCK_CELLS = 48
_CONTEXT_CELLS = 1


@dataclasses.dataclass(frozen=True)
class Analysis:
    """What one pass found.

    Attributes
    ----------
    detections : tuple of Detection
        Sorted by time.
    lanes : Mapping[str, ndarray]
        Highest probability over bands per cell, by artifact.
    envelope : ndarray
        Level per STFT hop in dB re full scale.
    """

    detections: tuple[Detection, ...]
    lanes: Mapping[str, np.ndarray]
    envelope: np.ndarray


def read_siblings(stems: StemSet, stem: Stem, timebase: Timebase, start: int, stop: int) -> dict[str, Tensor]:
    """Siblings of a stem by class, or ``residual`` (mixture minus stem) when only the mixture is known."""
    channels = stem.format.channels
    siblings = {
        name: match_channels(timebase.read(other, start, stop), channels)
        for name, other in stems.siblings(stem).items()
    }
    if not siblings and stems.mixture is not None:
        mixture = match_channels(timebase.read(stems.mixture, start, stop), channels)
        siblings = {"residual": mixture - timebase.read(stem, start, stop)}
    return siblings


def read_sum_of_siblings(stems: StemSet, stem: Stem, timebase: Timebase, start: int, stop: int) -> Tensor | None:
    """Mixture minus stem if the mixture is known, else the sum of the other stems; ``None`` for a stem alone."""
    if stems.mixture is not None:
        mixture = match_channels(timebase.read(stems.mixture, start, stop), stem.format.channels)
        return mixture - timebase.read(stem, start, stop)
    siblings = read_siblings(stems, stem, timebase, start, stop)
    return torch.stack(list(siblings.values())).sum(0) if siblings else None


def analyse(stems: StemSet, stem: Stem, detectors: Sequence[Detector], progress: Progress) -> Analysis:
    """Read a stem once, in blocks, and let every detector score it.

    Every sample is decoded here, before anything is written, so a damaged file is found in time.
    """
    timebase = Timebase(stem.format.sample_rate)
    total = timebase.length(stem.format.samples)
    scores: list[list[Mapping[str, CellScores]]] = [[] for _ in detectors]
    levels, envelopes = [], []
    progress.start("detect", total)
    for start, stop in _blocks(total):
        first = max(0, start - _CONTEXT_CELLS * CELL)
        last = stop + _CONTEXT_CELLS * CELL
        audio = timebase.read(stem, first, last)
        kept = slice((start - first) // CELL, (start - first) // CELL + (stop - start) // CELL)
        inside = audio[:, start - first : min(stop, total) - first]
        envelopes.append(envelope_db(inside.numpy(), SPEC.hop))
        if detectors:
            block = AnalysisBlock(audio, read_siblings(stems, stem, timebase, first, last), stem.stem_class)
            levels.append(block_levels(block)[kept])
            for place, detector in enumerate(detectors):
                scores[place].append(_cut(detector.score(block), kept))
        progress.advance("detect", min(stop, total) - start)
    progress.finish("detect")
    duration = stem.format.samples / stem.format.sample_rate
    envelope = np.concatenate(envelopes)
    if not detectors:
        return Analysis((), {}, envelope)
    by_name = {name: found for part in scores for name, found in concatenate_scores(part).items()}
    rules = rules_of(detectors, alone=not stems.siblings(stem) and stems.mixture is None)
    detections = detect_cells(by_name, np.concatenate(levels), rules, duration_s=duration)
    nyquist = stem.format.sample_rate / 2
    inside_band = tuple(found for found in detections if found.low_hz < nyquist)
    return Analysis(inside_band, {name: s.probability.max(1) for name, s in by_name.items()}, envelope)


def _blocks(total: int) -> Iterator[tuple[int, int]]:
    """Stretches of whole cells that cover ``total`` internal samples."""
    size = _BLOCK_CELLS * CELL
    for start in range(0, total, size):
        cells = -(-min(size, total - start) // CELL)
        yield start, start + cells * CELL


def _cut(scores: Mapping[str, CellScores], kept: slice) -> dict[str, CellScores]:
    return {name: CellScores(s.probability[kept], s.severity[kept]) for name, s in scores.items()}
