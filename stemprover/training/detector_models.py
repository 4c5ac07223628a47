"""Fitting one artifact's models: gradient-boosted trees, isotonic calibration, and how they are stored."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from stemprover.detection.calibrated import CalibratedModel
from stemprover.detection.features import SOURCES, feature_digest
from stemprover.detection.thresholds import ThresholdRule
from stemprover.errors import TrainingError
from stemprover.training.detector_data import Excerpt, rows, source_rows

__all__ = ["PRESENT", "TreeSettings", "fit_artifact", "fit_source", "store"]

PRESENT = 0.2  # severity from which a cell counts as damaged: the error is 24 dB below the stem or louder
_ABSENT = 0.05  # up to which it counts as clean; what lies between teaches the classifier nothing
_CALIBRATION_POINTS = 64


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


def _calibration(raw: np.ndarray, truth: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Isotonic curve through held-out cells, as at most ``_CALIBRATION_POINTS`` points from 0 to 1."""
    from sklearn.isotonic import IsotonicRegression

    curve = IsotonicRegression(y_min=0.0, y_max=1.0, out_of_bounds="clip").fit(raw, truth)
    points = np.unique(np.concatenate([[0.0, 1.0], np.quantile(raw, np.linspace(0, 1, _CALIBRATION_POINTS - 2))]))
    return points, curve.predict(points)


def fit_artifact(
    artifact: str, fit: Sequence[Excerpt], held_out: Sequence[Excerpt], rule: ThresholdRule, settings: TreeSettings
) -> CalibratedModel:
    """Fit classifier and regressor on ``fit`` and calibrate on ``held_out``, which the trees have not seen.

    Raises
    ------
    TrainingError
        The artifact occurs too rarely in either set.
    """
    features, severity = rows(fit, artifact, rule)
    clear = (severity >= PRESENT) | (severity <= _ABSENT)
    x, y = _thinned(features[clear], severity[clear], settings)
    for name, values in (("training", y), ("held-out", rows(held_out, artifact, rule)[1])):
        if (values >= PRESENT).sum() < 100 or (values <= _ABSENT).sum() < 100:
            got = f"{int((values >= PRESENT).sum())} of {len(values)} {name} cells"
            raise TrainingError(f"at least 100 cells with and without {artifact}", got, "make more pairs")
    classifier = _trees("Classifier", settings).fit(x, y >= PRESENT)
    damaged = severity > _ABSENT
    regressor = _trees("Regressor", settings).fit(*_thinned(features[damaged], severity[damaged], settings))
    curves = {}
    for situation, alone in (("siblings", False), ("alone", True)):
        # A stem alone shows far less, so the same raw score means less there.
        held_x, held_severity = rows([item for item in held_out if item.blind == alone] or held_out, artifact, rule)
        curves[situation] = _calibration(classifier.predict_proba(held_x)[:, 1], held_severity >= PRESENT)
    return CalibratedModel(classifier, regressor, curves)


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
