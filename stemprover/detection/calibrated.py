"""A learned detector of one artifact: a classifier, a regressor, and what its probabilities mean."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any

import numpy as np

__all__ = ["UNCALIBRATED", "CalibratedModel", "Curves", "calibrate"]

Curves = Mapping[str, tuple[np.ndarray, np.ndarray]]
"""Calibration by situation, ``siblings`` and ``alone``: probabilities of a classifier, and what they are worth."""

UNCALIBRATED: Curves = dict.fromkeys(("siblings", "alone"), (np.array([0.0, 1.0]), np.array([0.0, 1.0])))
"""Takes a classifier's probabilities as they are."""


def calibrate(probability: np.ndarray, curves: Curves, alone: bool) -> np.ndarray:
    """Return what a classifier's probabilities are worth, float32, in their own shape."""
    return np.asarray(np.interp(probability, *curves["alone" if alone else "siblings"]), np.float32)


@dataclasses.dataclass(frozen=True)
class CalibratedModel:
    """Tells from the features of cells whether an artifact is there, and how severe.

    Attributes
    ----------
    classifier, regressor : object
        With scikit-learn's ``predict_proba`` and ``predict``.
    curves : Curves
        What the classifier's probabilities are worth.
    """

    classifier: Any
    regressor: Any
    curves: Curves

    def probability(self, values: np.ndarray, alone: bool) -> np.ndarray:
        """Calibrated probability of each row: ``[rows, features] -> [rows]``."""
        return calibrate(self.classifier.predict_proba(values)[:, 1], self.curves, alone)

    def severity(self, values: np.ndarray) -> np.ndarray:
        """Severity of each row if the artifact is there: ``[rows, features] -> [rows]``, 0 to 1."""
        return np.asarray(np.clip(self.regressor.predict(values), 0, 1), np.float32)
