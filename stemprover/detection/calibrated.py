"""A learned detector of one artifact: a classifier, a regressor, and what its probabilities mean."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any

import numpy as np

__all__ = ["CalibratedModel"]


@dataclasses.dataclass(frozen=True)
class CalibratedModel:
    """Tells from the features of cells whether an artifact is there, and how severe.

    Attributes
    ----------
    classifier, regressor : object
        With scikit-learn's ``predict_proba`` and ``predict``.
    curves : Mapping
        Calibration by situation, ``siblings`` and ``alone``: probabilities of the classifier, and what they are worth.
    """

    classifier: Any
    regressor: Any
    curves: Mapping[str, tuple[np.ndarray, np.ndarray]]

    def probability(self, values: np.ndarray, alone: bool) -> np.ndarray:
        """Calibrated probability of each row: ``[rows, features] -> [rows]``."""
        raw = self.classifier.predict_proba(values)[:, 1]
        return np.asarray(np.interp(raw, *self.curves["alone" if alone else "siblings"]), np.float32)

    def severity(self, values: np.ndarray) -> np.ndarray:
        """Severity of each row if the artifact is there: ``[rows, features] -> [rows]``, 0 to 1."""
        return np.asarray(np.clip(self.regressor.predict(values), 0, 1), np.float32)
