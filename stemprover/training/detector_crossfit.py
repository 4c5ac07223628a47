"""Scores by models that never heard the recording: calibration and thresholds are chosen by these.

Trees know the songs that they grew on. On passages of these that were left out, clean stems stay clean at thresholds at
which stems of other songs do not, and what users have is other songs. So recordings are dealt into folds, and each fold
is scored by models that grew without it. The models that are stored grow on all of them.
"""

from __future__ import annotations

import collections
import dataclasses
import hashlib
from collections.abc import Mapping, Sequence

import numpy as np

from stemprover.data.pairs import Pair
from stemprover.detection.calibrated import Curves, calibrate
from stemprover.detection.thresholds import ThresholdRule, audible_cells
from stemprover.detection.types import CellScores
from stemprover.training.detector_data import severities
from stemprover.training.detector_evaluation import Scored
from stemprover.training.detector_models import PRESENT, calibration_curve

__all__ = ["FOLDS", "Folds", "calibrated", "calibration", "part_of"]

FOLDS = 6  # with more, the models that score a recording are more like those that are stored


def part_of(pair: Pair, parts: int) -> int:
    """Return a stable part number for a pair, whatever else the folder holds."""
    return hashlib.sha256(pair.id.encode()).digest()[0] % parts


@dataclasses.dataclass(frozen=True)
class Folds:
    """Which recordings are left out together.

    Attributes
    ----------
    numbers : Mapping
        The fold of each recording, below ``FOLDS``.
    """

    numbers: Mapping[str, int]

    @classmethod
    def of(cls, pairs: Sequence[Pair]) -> Folds:
        """Deal out the recordings of pairs, those in most pairs first, each to the fold with the fewest pairs yet."""
        counted = collections.Counter(name for pair in pairs for name in pair.music)
        sizes = [0] * FOLDS
        numbers = {}
        for name, count in sorted(counted.items(), key=lambda item: (-item[1], item[0])):
            numbers[name] = int(np.argmin(sizes))
            sizes[numbers[name]] += count
        return cls(numbers)

    def scoring(self, pair: Pair) -> int:
        """The fold that a pair is scored in: that of its stem's recording; pairs without music are dealt out."""
        named = [self.numbers[name] for name in (pair.song, *sorted(pair.sources)) if name in self.numbers]
        return named[0] if named else part_of(pair, FOLDS)

    def growing(self, fold: int, pair: Pair) -> bool:
        """Whether the models of a fold may grow on a pair: it is not scored there and holds no such recording."""
        return self.scoring(pair) != fold and all(self.numbers.get(name) != fold for name in pair.music)


def calibration(artifact: str, scored: Scored, rule: ThresholdRule) -> Curves:
    """What scores are worth, by what there was to see: a stem alone shows less, so the same score means less there."""
    curves = {}
    for situation, group in scored.situations().items():
        used = group if group.excerpts else scored
        masks = [audible_cells(item.levels_db, rule) for item in used.excerpts]
        raw = np.concatenate([by[artifact].probability[mask] for by, mask in zip(used.scores, masks, strict=True)])
        curves[situation] = calibration_curve(raw, severities(used.excerpts, artifact, rule) >= PRESENT)
    return curves


def calibrated(scored: Scored, curves: Mapping[str, Curves]) -> Scored:
    """Put all scores through the calibration of their artifacts."""

    def of(by: Mapping[str, CellScores], alone: bool) -> dict[str, CellScores]:
        return {
            name: dataclasses.replace(score, probability=calibrate(score.probability, curves[name], alone))
            for name, score in by.items()
        }

    return dataclasses.replace(
        scored, scores=[of(by, item.blind) for item, by in zip(scored.excerpts, scored.scores, strict=True)]
    )
