"""Finding artifacts: what detectors see, what they say, and how scores become detections.

The names below are the public interface for detector plugins. Those that need torch are imported on first use, so
that ``from stemprover.detection import Detection`` stays cheap.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING

from stemprover.detection.types import AnalysisBlock, CellScores, Detection, Detector

if TYPE_CHECKING:
    from stemprover.detection.calibrated import CalibratedModel
    from stemprover.detection.features import (
        SOURCES,
        CellFeatures,
        cell_features,
        feature_digest,
        feature_names,
        source_of,
    )
    from stemprover.detection.grid import block_levels, n_cells
    from stemprover.detection.regions import concatenate_scores, detect_cells
    from stemprover.detection.thresholds import DEFAULT_RULES, ThresholdRule, rules_of

__all__ = [
    "DEFAULT_RULES",
    "SOURCES",
    "AnalysisBlock",
    "CalibratedModel",
    "CellFeatures",
    "CellScores",
    "Detection",
    "Detector",
    "ThresholdRule",
    "block_levels",
    "cell_features",
    "concatenate_scores",
    "detect_cells",
    "feature_digest",
    "feature_names",
    "n_cells",
    "rules_of",
    "source_of",
]

_HOMES = {
    "calibrated": ("CalibratedModel",),
    "features": ("SOURCES", "CellFeatures", "cell_features", "feature_digest", "feature_names", "source_of"),
    "grid": ("block_levels", "n_cells"),
    "regions": ("concatenate_scores", "detect_cells"),
    "thresholds": ("DEFAULT_RULES", "ThresholdRule", "rules_of"),
}


def __getattr__(name: str) -> object:
    for module, names in _HOMES.items():
        if name in names:
            return getattr(importlib.import_module(f"{__name__}.{module}"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
