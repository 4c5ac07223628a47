"""The detector: host features in, calibrated probabilities and severities per cell out."""

from __future__ import annotations

import dataclasses
import functools
import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from stemprover.detection import (
    SOURCES,
    AnalysisBlock,
    CalibratedModel,
    CellFeatures,
    CellScores,
    ThresholdRule,
    cell_features,
    n_cells,
    source_of,
)
from stemprover.spectral.spec import SPEC

if TYPE_CHECKING:
    from stemprover_detectors.models import SourceModel

__all__ = ["ARTIFACTS", "ArtifactDetector", "detector"]

ARTIFACTS = ("bleed", "bleed/drums", "bleed/vocals", "bleed/bass", "bleed/other", "phasiness", "hf-distortion")
_MODELS = Path(__file__).parent / "models"
_SURE_SOURCE = 0.4  # below it no source is named: chance is 0.25 to 0.33
_WINDOW = 16  # cells: features are relative to a few seconds, as in training, however long the block is
_CONTEXT = 1  # cells on both sides of a window that are looked at but not scored
_CONTRAST = 12.0  # how fast a likeness to one sibling outweighs likeness to another
_HALF = 4  # cells to each side over which the source is averaged, 1.5 s


class ArtifactDetector:
    """Finds bleed (and names its source), phasiness and high-frequency distortion.

    Models are read at the first :meth:`score`; the object keeps nothing else.

    Parameters
    ----------
    folder : Path
        Holds ``bleed.skops``, ``phasiness.skops``, ``hf-distortion.skops``, ``source.skops`` and ``rules.json``.
    """

    artifacts: tuple[str, ...] = ARTIFACTS

    def __init__(self, folder: Path = _MODELS) -> None:
        self._folder = folder

    def rules(self, alone: bool) -> dict[str, ThresholdRule]:
        """Thresholds by artifact, chosen when the models were trained, for a stem alone or with its siblings."""
        stored = json.loads((self._folder / "rules.json").read_text(encoding="utf-8"))
        return {name: ThresholdRule(**values) for name, values in stored["alone" if alone else "siblings"].items()}

    @functools.cached_property
    def _models(self) -> Mapping[str, CalibratedModel]:
        from stemprover_detectors.models import load_artifact_model

        names = ("bleed", "phasiness", "hf-distortion")
        return {name: load_artifact_model(self._folder / f"{name}.skops") for name in names}

    @functools.cached_property
    def _source_model(self) -> SourceModel:
        from stemprover_detectors.models import load_source_model

        return load_source_model(self._folder / "source.skops")

    def score(self, block: AnalysisBlock) -> dict[str, CellScores]:
        """Score every cell of a block, by artifact name.

        A cell's bleed counts for exactly one name: ``bleed/<source>`` if the source is clear, else ``bleed``.
        """
        features = _windowed_features(block)
        shape = features.values.shape[:2]
        rows = features.values.reshape(-1, features.values.shape[-1])
        scores = {}
        for name, model in self._models.items():
            probability = model.probability(rows, alone=not block.siblings)
            # Severity is only asked for where it can matter; most cells of most stems are clean.
            severity, likely = np.zeros_like(probability), probability > 0.05
            if likely.any():
                severity[likely] = model.severity(rows[likely])
            scores[name] = CellScores(probability.reshape(shape), severity.reshape(shape))
        bleed = scores.pop("bleed")
        sources = self._sources(rows, bleed.probability, features.affinity, block.stem_class)
        return _by_source(bleed, sources) | scores

    def _sources(
        self, rows: np.ndarray, bleed: np.ndarray, affinity: Mapping[str, np.ndarray], stem_class: str
    ) -> np.ndarray:
        """Probability of each source for each cell, ``[cells, n_cell_bands, len(SOURCES)]``."""
        chance = np.full((*bleed.shape, len(SOURCES)), 1e-6, np.float32)
        if affinity:  # the siblings are known by name: the one that the cell resembles most
            for name, likeness in affinity.items():
                chance[..., SOURCES.index(name)] = np.exp(_CONTRAST * likeness)
        else:
            likely = bleed.reshape(-1) > 0.05
            if likely.any():
                guesses = self._source_model.probability(rows[likely])
                flat = chance.reshape(-1, len(SOURCES))
                for guess, name in zip(guesses.T, self._source_model.classes, strict=True):
                    flat[likely, SOURCES.index(name)] = guess
            if stem_class in SOURCES:
                chance[..., SOURCES.index(source_of(stem_class))] = 1e-6
        return _settled(chance / chance.sum(-1, keepdims=True), bleed)


def _windows(cells: int) -> Iterator[tuple[int, int]]:
    """Cut cells into windows of ``_WINDOW``; the last one takes what is left over, up to half a window."""
    start = 0
    while start < cells:
        stop = cells if cells - start < _WINDOW * 3 // 2 else start + _WINDOW
        yield start, stop
        start = stop


def _excerpt(block: AnalysisBlock, first: int, last: int) -> AnalysisBlock:
    size = SPEC.cell_frames * SPEC.hop
    part = slice(first * size, last * size)
    siblings = {name: audio[:, part] for name, audio in block.siblings.items()}
    return dataclasses.replace(block, audio=block.audio[:, part], siblings=siblings)


def _windowed_features(block: AnalysisBlock) -> CellFeatures:
    cells = n_cells(block.audio.shape[-1])
    parts = []
    for start, stop in _windows(cells):
        first, last = max(start - _CONTEXT, 0), min(stop + _CONTEXT, cells)
        part, kept = cell_features(_excerpt(block, first, last)), slice(start - first, stop - first)
        parts.append(CellFeatures(part.values[kept], {name: grid[kept] for name, grid in part.affinity.items()}))
    names = parts[0].affinity
    return CellFeatures(
        np.concatenate([part.values for part in parts]),
        {name: np.concatenate([part.affinity[name] for part in parts]) for name in names},
    )


def _settled(chance: np.ndarray, bleed: np.ndarray) -> np.ndarray:
    """Average over all bands and a few seconds, weighted with the probability of bleed: sources do not flicker."""
    kernel = np.ones(2 * _HALF + 1)
    weighted = (chance * bleed[..., None]).sum(1)
    around = np.stack([np.convolve(column, kernel)[_HALF:-_HALF] for column in weighted.T], -1)
    around /= np.convolve(bleed.sum(1), kernel)[_HALF:-_HALF, None] + 1e-6
    mixed: np.ndarray = 0.5 * chance + 0.5 * around[:, None]
    return mixed


def _by_source(bleed: CellScores, sources: np.ndarray) -> dict[str, CellScores]:
    winner = np.where(sources.max(-1) >= _SURE_SOURCE, sources.argmax(-1), -1)
    names = {"bleed": -1} | {f"bleed/{source}": number for number, source in enumerate(SOURCES)}
    return {
        name: CellScores(
            np.where(winner == number, bleed.probability, 0).astype(np.float32),
            np.where(winner == number, bleed.severity, 0).astype(np.float32),
        )
        for name, number in names.items()
    }


def detector() -> ArtifactDetector:
    """Entry of the plugin."""
    return ArtifactDetector()
