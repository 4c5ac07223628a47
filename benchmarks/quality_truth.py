"""What is wrong with a separated stem, from its reference: the labels that detectors are judged by."""

from __future__ import annotations

import functools
from collections.abc import Mapping

import numpy as np
from quality_sets import CLEAN, Item

from stemprover.data.labels import cell_labels
from stemprover.data.scenes import Scene
from stemprover.data.separators import errors_of_estimate
from stemprover.spectral.bands import cell_band_edges_hz
from stemprover.spectral.spec import SPEC

__all__ = ["LEAVES", "NOTHING", "labels_of", "leading_artifact"]

LEAVES = ("bleed/drums", "bleed/vocals", "bleed/bass", "bleed/other", "phasiness", "hf-distortion")
NOTHING = "nothing"
_LEAST = 0.05  # mean severity below which a stretch counts as clean
_SPLIT_HZ = 6000.0


def labels_of(item: Item, stem: str) -> dict[str, np.ndarray]:
    """Return severity per artifact and cell, ``[cells, n_cell_bands]``, of one stem of an item.

    Exact where the errors are known. Otherwise the estimate is explained by the mask that best maps the mixture to it,
    applied to the true stems, as for training pairs.
    """
    if item.group == CLEAN or not item.references[stem].any():
        return {}
    target = item.references[stem].astype(np.float32)
    if stem in item.errors:
        return cell_labels(target, {cause: audio.astype(np.float32) for cause, audio in item.errors[stem].items()})
    others = {name: audio.astype(np.float32) for name, audio in item.references.items() if name != stem}
    estimate, mixture = item.estimates[stem].astype(np.float32), item.mixture.astype(np.float32)
    return cell_labels(target, errors_of_estimate(Scene(item.song, stem, target, others), estimate, mixture))


@functools.cache
def _places(artifact: str) -> np.ndarray:
    """Detection bands in which separators cause an artifact."""
    high = cell_band_edges_hz()[:-1] >= _SPLIT_HZ
    return {"phasiness": ~high, "hf-distortion": high}.get(artifact, np.ones_like(high))


def leading_artifact(labels: Mapping[str, np.ndarray], start_s: float, end_s: float) -> str:
    """Return which of ``LEAVES`` is strongest on average in a stretch of time, or ``NOTHING``."""
    per_cell = SPEC.cell_frames / SPEC.frame_rate
    cells = slice(int(start_s / per_cell), max(int(start_s / per_cell) + 1, round(end_s / per_cell)))
    means = {
        name: float(severity[cells][:, _places(name)].mean())
        for name, severity in labels.items()
        if name in LEAVES and severity[cells].size
    }
    strongest = max(means, key=lambda name: means[name], default=NOTHING)
    return strongest if means.get(strongest, 0.0) >= _LEAST else NOTHING
