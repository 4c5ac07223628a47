"""Stored models: gradient-boosted trees with their calibration, in skops files that can hold nothing else."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any
from zipfile import BadZipFile

import numpy as np

from stemprover.detection import CalibratedModel, feature_digest
from stemprover.errors import ModelError

__all__ = ["TRUSTED_TYPES", "SourceModel", "load_artifact_model", "load_source_model"]

# skops refuses every type that it does not know; these are the parts of scikit-learn's histogram trees.
TRUSTED_TYPES = (
    "sklearn._loss.link.Interval",
    "sklearn._loss.link.LogitLink",
    "sklearn._loss.link.IdentityLink",
    "sklearn._loss.link.MultinomialLogit",
    "sklearn._loss.loss.HalfBinomialLoss",
    "sklearn._loss.loss.HalfMultinomialLoss",
    "sklearn._loss.loss.HalfSquaredError",
    "sklearn.ensemble._hist_gradient_boosting.binning._BinMapper",
    "sklearn.ensemble._hist_gradient_boosting.predictor.TreePredictor",
)
_REINSTALL = "reinstall stemprover-detectors or train again with `stemprover train detectors`"


@dataclasses.dataclass(frozen=True)
class SourceModel:
    """Which source bleeds, given that one does."""

    classifier: Any
    classes: tuple[str, ...]

    def probability(self, values: np.ndarray) -> np.ndarray:
        """Probability of each class for each row: ``[rows, features] -> [rows, len(classes)]``."""
        return np.asarray(self.classifier.predict_proba(values), np.float32)


def _load(path: Path) -> dict[str, Any]:
    from skops import io

    try:
        unknown = set(io.get_untrusted_types(file=path)) - set(TRUSTED_TYPES)
        if unknown:
            raise ModelError(f"only tree models in {path.name}", ", ".join(sorted(unknown)), _REINSTALL)
        content: dict[str, Any] = io.load(path, trusted=list(TRUSTED_TYPES))
    except (OSError, ValueError, KeyError, TypeError, BadZipFile) as error:
        raise ModelError(f"a detector model in {path.name}", f"{type(error).__name__}: {error}", _REINSTALL) from error
    if not isinstance(content, dict) or content.get("features") != feature_digest():
        raise ModelError(f"{path.name} for this StemProver's features", "a model for other features", _REINSTALL)
    return content


def load_artifact_model(path: Path) -> CalibratedModel:
    """Read the model of one artifact.

    Raises
    ------
    ModelError
        The file is missing, damaged, holds anything but tree models, or was trained for other features.
    """
    content = _load(path)
    return CalibratedModel(content["classifier"], content["regressor"], content["curves"])


def load_source_model(path: Path) -> SourceModel:
    """Read the model that names the source of bleed; raises as :func:`load_artifact_model`."""
    content = _load(path)
    return SourceModel(content["classifier"], tuple(content["classes"]))
