"""How good detectors are: cell by cell, region by region, and on clean stems."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping, Sequence

import numpy as np

from stemprover.detection.calibrated import CalibratedModel
from stemprover.detection.regions import detect_cells
from stemprover.detection.thresholds import ThresholdRule, audible_cells
from stemprover.detection.types import CellScores, Detection
from stemprover.spectral.bands import cell_band_edges_hz
from stemprover.spectral.spec import SPEC
from stemprover.training.detector_data import DETECTED, Excerpt
from stemprover.training.detector_models import PRESENT

__all__ = ["Scored", "calibration_error", "cell_metrics", "clean_touched_share", "detected_mask", "score_all"]

_CLEARLY = 0.3  # recall is asked of cells that are clearly damaged
_CLEAN = 0.05


@dataclasses.dataclass(frozen=True)
class Scored:
    """Excerpts with their scores by artifact."""

    excerpts: Sequence[Excerpt]
    scores: Sequence[Mapping[str, CellScores]]

    @classmethod
    def together(cls, parts: Sequence[Scored]) -> Scored:
        """Put parts one after the other."""
        return cls([item for part in parts for item in part.excerpts], [item for part in parts for item in part.scores])

    def where(self, keep: Callable[[Excerpt], bool]) -> Scored:
        """Keep some of the excerpts."""
        kept = [(item, score) for item, score in zip(self.excerpts, self.scores, strict=True) if keep(item)]
        return Scored([item for item, _ in kept], [score for _, score in kept])

    def situations(self) -> dict[str, Scored]:
        """Part the excerpts by what a detector could see: ``siblings`` or the stem ``alone``."""
        return {"siblings": self.where(lambda item: not item.blind), "alone": self.where(lambda item: item.blind)}


def score_all(models: Mapping[str, CalibratedModel], excerpts: Sequence[Excerpt]) -> Scored:
    """Score excerpts with fitted models."""
    return Scored(excerpts, [_score(models, item) for item in excerpts])


def _score(models: Mapping[str, CalibratedModel], excerpt: Excerpt) -> dict[str, CellScores]:
    flat = excerpt.features.reshape(-1, excerpt.features.shape[-1])
    shape = excerpt.levels_db.shape
    return {
        name: CellScores(model.probability(flat, excerpt.blind).reshape(shape), model.severity(flat).reshape(shape))
        for name, model in models.items()
    }


def detected_mask(detections: Sequence[Detection], artifact: str, shape: tuple[int, ...]) -> np.ndarray:
    """Cells that the rectangles of one artifact cover, boolean, shape ``[cells, n_cell_bands]``."""
    mask = np.zeros(shape, bool)
    per_cell = SPEC.cell_frames / SPEC.frame_rate
    edges = cell_band_edges_hz()
    for item in detections:
        if item.artifact == artifact:
            low, high = np.searchsorted(edges, (item.low_hz + 1e-6, item.high_hz - 1e-6))
            mask[round(item.start_s / per_cell) : round(item.end_s / per_cell), low - 1 : high] = True
    return mask


def clean_touched_share(clean: Scored, rules: Mapping[str, ThresholdRule]) -> float:
    """Share of the time of clean excerpts in which anything is detected (any artifact of ``rules``)."""
    touched = total = 0
    for score, excerpt in zip(clean.scores, clean.excerpts, strict=True):
        shape = excerpt.levels_db.shape
        found = detect_cells({name: score[name] for name in rules}, excerpt.levels_db, rules)
        touched += int(np.any([detected_mask(found, name, shape).any(1) for name in rules], 0).sum())
        total += shape[0]
    return touched / max(total, 1)


def calibration_error(probability: np.ndarray, truth: np.ndarray, bins: int = 10) -> float:
    """Expected calibration error: mean distance of probability and frequency over equally wide bins, by weight."""
    number = np.minimum((probability * bins).astype(int), bins - 1)
    error = 0.0
    for index in np.unique(number):
        inside = number == index
        error += inside.mean() * abs(float(probability[inside].mean()) - float(truth[inside].mean()))
    return float(error)


def cell_metrics(scored: Scored, artifact: str, rules: Mapping[str, ThresholdRule]) -> dict[str, float]:
    """Measure one artifact over all audible cells.

    Returns
    -------
    dict[str, float]
        ``roc_auc`` (present against absent cells), ``calibration_error``, ``severity_error`` (mean absolute, damaged
        cells); of the rectangles at the default thresholds ``precision`` (share of flagged cells that are damaged at
        all), ``recall`` (share of clearly damaged cells that are flagged) and ``iou`` with the damaged cells; and the
        number of ``cells``.
    """
    from sklearn.metrics import roc_auc_score

    number = DETECTED.index(artifact)
    columns: list[np.ndarray] = []
    for score, excerpt in zip(scored.scores, scored.excerpts, strict=True):
        found = detect_cells({artifact: score[artifact]}, excerpt.levels_db, rules)
        mask = detected_mask(found, artifact, excerpt.levels_db.shape)
        truth = excerpt.severity[number]
        heard = audible_cells(excerpt.levels_db, rules[artifact])
        columns.append(np.stack([part[heard] for part in (*_pair(score[artifact]), truth, mask)]))
    probability, severity, truth, flagged = np.concatenate(columns, 1)
    flags, present, clear = flagged > 0, truth >= PRESENT, (truth >= PRESENT) | (truth <= _CLEAN)
    hits = flags & present
    return {
        "roc_auc": float(roc_auc_score(present[clear], probability[clear])) if 0 < present[clear].mean() < 1 else 0.5,
        "calibration_error": calibration_error(probability, present),
        "severity_error": float(np.abs(severity - truth)[truth > _CLEAN].sum() / max((truth > _CLEAN).sum(), 1)),
        "precision": float((flags & (truth > _CLEAN)).sum() / max(flags.sum(), 1)),
        "recall": float((flags & (truth > _CLEARLY)).sum() / max((truth > _CLEARLY).sum(), 1)),
        "iou": float(hits.sum() / max((flags | present).sum(), 1)),
        "cells": float(len(truth)),
    }


def _pair(score: CellScores) -> tuple[np.ndarray, np.ndarray]:
    return score.probability, score.severity
