"""Fitting one artifact's models: gradient-boosted trees, isotonic calibration, and how they are stored."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from stemprover.detection.calibrated import UNCALIBRATED, CalibratedModel
from stemprover.detection.features import SOURCES, feature_digest
from stemprover.detection.thresholds import ThresholdRule
from stemprover.errors import TrainingError
from stemprover.training.detector_data import Excerpt, rows, source_rows

__all__ = ["PRESENT", "TreeSettings", "calibration_curve", "fit_artifact", "fit_source", "store"]

PRESENT = 0.2  # severity from which a cell counts as damaged: the error is 24 dB below the stem or louder
_ABSENT = 0.05  # up to which it counts as clean; what lies between teaches the classifier nothing
_CALIBRATION_POINTS = 64
_FEWEST = 100  # cells


@dataclasses.dataclass(frozen=True, slots=True)
class TreeSettings:
    """Size of the gradient-boosted trees."""

    trees: int = 150
    leaves: int = 31
    learning_rate: float = 0.1
    max_rows: int = 300_000
    seed: int = 0


def _thinned(features: np.ndarray, target: np.ndarray, settings: TreeSettings) -> tuple[np.ndarray, np.ndarray]:
    if len(target) <= settings.max_rows:
        return features, target
    chosen = np.random.default_rng(settings.seed).choice(len(target), settings.max_rows, replace=False)
    return features[chosen], target[chosen]


def _trees(kind: str, settings: TreeSettings) -> Any:
    from sklearn import ensemble

    make = getattr(ensemble, f"HistGradientBoosting{kind}")
    return make(
        max_iter=settings.trees,
        max_leaf_nodes=settings.leaves,
        learning_rate=settings.learning_rate,
        min_samples_leaf=50,
        l2_regularization=1.0,
        early_stopping=False,
        random_state=settings.seed,
    )


def calibration_curve(raw: np.ndarray, truth: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Isotonic curve through cells that the trees never saw: at most ``_CALIBRATION_POINTS`` points from 0 to 1."""
    from sklearn.isotonic import IsotonicRegression

    curve = IsotonicRegression(y_min=0.0, y_max=1.0, out_of_bounds="clip").fit(raw, truth)
    points = np.unique(np.concatenate([[0.0, 1.0], np.quantile(raw, np.linspace(0, 1, _CALIBRATION_POINTS - 2))]))
    return points, curve.predict(points)


def fit_artifact(
    artifact: str, excerpts: Sequence[Excerpt], rule: ThresholdRule, settings: TreeSettings
) -> CalibratedModel:
    """Fit classifier and regressor, not calibrated yet.

    Raises
    ------
    TrainingError
        The artifact occurs too rarely, or hardly anything is free of it.
    """
    features, severity = rows(excerpts, artifact, rule) if excerpts else (np.empty((0, 0)), np.empty(0))
    present, absent = int((severity >= PRESENT).sum()), int((severity <= _ABSENT).sum())
    if min(present, absent) < _FEWEST:
        got = f"{present} with and {absent} without"
        raise TrainingError(f"at least {_FEWEST} cells with and without {artifact}", got, "make more pairs")
    clear, damaged = (severity >= PRESENT) | (severity <= _ABSENT), severity > _ABSENT
    x, y = _thinned(features[clear], severity[clear], settings)
    classifier = _trees("Classifier", settings).fit(x, y >= PRESENT)
    regressor = _trees("Regressor", settings).fit(*_thinned(features[damaged], severity[damaged], settings))
    return CalibratedModel(classifier, regressor, UNCALIBRATED)


def fit_source(fit: Sequence[Excerpt], settings: TreeSettings) -> tuple[Any, tuple[str, ...]]:
    """Fit the classifier that names the source of bleed; returns it with its classes in order.

    Raises
    ------
    TrainingError
        Fewer than two sources bleed in the pairs.
    """
    features, source = _thinned(*source_rows(fit, PRESENT), settings)
    present = np.unique(source)
    if len(present) < 2:
        raise TrainingError("bleed of at least two sources", f"{len(present)}", "make more pairs")
    small = dataclasses.replace(settings, trees=max(1, settings.trees // 3), leaves=min(15, settings.leaves))
    return _trees("Classifier", small).fit(features, source), tuple(SOURCES[number] for number in present)


def store(folder: Path, models: Mapping[str, CalibratedModel], source: tuple[Any, tuple[str, ...]]) -> tuple[Path, ...]:
    """Write every model as a skops file that the detectors package can read; returns the files."""
    from skops import io

    folder.mkdir(parents=True, exist_ok=True)
    write = functools.partial(io.dump, compression=8, compresslevel=9)
    contents: dict[str, dict[str, Any]] = {name: vars(model) for name, model in models.items()}
    contents["source"] = {"classifier": source[0], "classes": list(source[1])}
    paths = []
    for name, content in contents.items():
        path = folder / f"{name}.skops"
        write({**content, "features": feature_digest()}, path.with_suffix(".part"))
        paths.append(path.with_suffix(".part").replace(path))
    return tuple(paths)
