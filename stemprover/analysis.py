"""The first pass over a stem: what is wrong, where it is loud, where it can be cut."""

from __future__ import annotations

import contextlib
import dataclasses
from collections.abc import Generator, Iterator, Mapping, Sequence

import numpy as np
import torch
from torch import Tensor

from stemprover.detection import (
    DEFAULT_RULES,
    AnalysisBlock,
    CellScores,
    Detection,
    Detector,
    ThresholdRule,
    block_levels,
    concatenate_scores,
    detect_cells,
)
from stemprover.detection.thresholds import own_rules
from stemprover.overlapped import ahead
from stemprover.plugins import PluginRunner
from stemprover.plugins.fields import ARTIFACT, printable
from stemprover.progress import Progress
from stemprover.spectral.envelope import envelope_db
from stemprover.spectral.spec import SPEC
from stemprover.stems import Stem, StemSet
from stemprover.timebase import Timebase, match_channels

__all__ = ["Analysis", "analyse", "read_siblings", "read_sum_of_siblings"]

CELL = SPEC.cell_frames * SPEC.hop
_Scores = Mapping[str, CellScores]
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


def analyse(
    stems: StemSet, stem: Stem, detectors: Sequence[Detector], progress: Progress, runner: PluginRunner
) -> Analysis:
    """Read a stem once, in blocks, and let every detector score it; ``runner`` leaves out one that fails.

    Every sample is decoded here, before anything is written, so a damaged file is found in time.
    """
    timebase = Timebase(stem.format.sample_rate)
    total = timebase.length(stem.format.samples)
    witnesses = [_Witness(detector, runner) for detector in detectors]
    levels, envelopes = [], []
    progress.start("detect", total)
    with contextlib.closing(ahead(_decoded(stems, stem, timebase, with_siblings=bool(detectors)))) as blocks:
        for start, stop, first, block in blocks:
            kept = slice((start - first) // CELL, (start - first) // CELL + (stop - start) // CELL)
            inside = block.audio[:, start - first : min(stop, total) - first]
            envelopes.append(envelope_db(inside.numpy(), SPEC.hop))
            if detectors:
                level = block_levels(block)
                levels.append(level[kept])
                for witness in witnesses:
                    witness.hear(block, level.shape, kept)
            progress.advance("detect", min(stop, total) - start)
    progress.finish("detect")
    duration = stem.format.samples / stem.format.sample_rate
    envelope = np.concatenate(envelopes)
    if not detectors:
        return Analysis((), {}, envelope)
    by_name, rules = _answers(witnesses, alone=not stems.siblings(stem) and stems.mixture is None)
    detections = detect_cells(by_name, np.concatenate(levels), rules, duration_s=duration)
    nyquist = stem.format.sample_rate / 2
    inside_band = tuple(found for found in detections if found.low_hz < nyquist)
    return Analysis(inside_band, {name: s.probability.max(1) for name, s in by_name.items()}, envelope)


def _decoded(
    stems: StemSet, stem: Stem, timebase: Timebase, with_siblings: bool
) -> Generator[tuple[int, int, int, AnalysisBlock]]:
    """Stretches of whole cells, the first sample that was read for each, and what was read: some context around it."""
    for start, stop in _blocks(timebase.length(stem.format.samples)):
        first, last = max(0, start - _CONTEXT_CELLS * CELL), stop + _CONTEXT_CELLS * CELL
        audio = timebase.read(stem, first, last)
        siblings = read_siblings(stems, stem, timebase, first, last) if with_siblings else {}
        yield start, stop, first, AnalysisBlock(audio, siblings, stem.stem_class)


def _blocks(total: int) -> Iterator[tuple[int, int]]:
    """Stretches of whole cells that cover ``total`` internal samples."""
    size = _BLOCK_CELLS * CELL
    for start in range(0, total, size):
        cells = -(-min(size, total - start) // CELL)
        yield start, start + cells * CELL


class _Witness:
    """A detector and what it said so far; once it failed, nothing that it said counts."""

    def __init__(self, detector: Detector, runner: PluginRunner) -> None:
        self.detector, self.runner = detector, runner
        self.scores: list[_Scores] = []

    def hear(self, block: AnalysisBlock, shape: tuple[int, ...], kept: slice) -> None:
        """Score a block of cells of this shape and keep some of them."""
        wanted = set(self.scores[0]) if self.scores else None
        found = self.runner.guard(self.detector, lambda: _checked(self.detector.score(block), shape, wanted))
        if found is not None:
            cut = {name: CellScores(s.probability[kept], s.severity[kept]) for name, s in found.items()}
            self.scores.append(cut)

    def rules(self, alone: bool) -> dict[str, ThresholdRule] | None:
        """Ask for thresholds; ``None`` if the detector failed, now or before."""
        return self.runner.guard(self.detector, lambda: own_rules(self.detector, alone))


def _checked(scores: _Scores, shape: tuple[int, ...], wanted: set[str] | None) -> _Scores:
    """Return scores as they should be; what is odd about them is the detector's fault and must be found in its turn."""
    if wanted is not None and set(scores) != wanted:
        raise ValueError(f"scores for {sorted(scores)} after scores for {sorted(wanted)}")
    for name, one in scores.items():
        if not isinstance(name, str) or not ARTIFACT.fullmatch(name):
            raise ValueError(f"scores for {printable(name)}, which is no artifact's name")
        for values in (one.probability, one.severity):
            if np.shape(values) != shape:
                raise ValueError(f"scores of shape {np.shape(values)} for {name}, cells are {shape}")
            if not np.isfinite(values).all():
                raise ValueError(f"NaN or infinity in the scores for {name}")
    return scores


def _answers(witnesses: Sequence[_Witness], alone: bool) -> tuple[dict[str, CellScores], dict[str, ThresholdRule]]:
    """Scores of the whole stem, and rules, by artifact, of all detectors that did not fail.

    Where several know one artifact, the surer one counts in each cell, and the rule of the first.
    """
    scores: dict[str, CellScores] = {}
    rules: dict[str, ThresholdRule] = {}
    for witness in witnesses:
        brought = witness.rules(alone)
        if brought is not None:
            for name, found in concatenate_scores(witness.scores).items():
                scores[name] = _surer(scores[name], found) if name in scores else found
            rules = {**brought, **rules}
    return scores, {**DEFAULT_RULES, **rules}


def _surer(first: CellScores, second: CellScores) -> CellScores:
    """Take each cell from the detector that is surer of it."""
    better = second.probability > first.probability
    return CellScores(
        np.where(better, second.probability, first.probability), np.where(better, second.severity, first.severity)
    )
