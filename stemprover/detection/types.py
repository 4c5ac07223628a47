"""What a detector sees and what it says."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import TYPE_CHECKING, Protocol, runtime_checkable

if TYPE_CHECKING:
    import numpy as np
    from torch import Tensor

__all__ = ["AnalysisBlock", "CellScores", "Detection", "Detector"]


@dataclasses.dataclass(frozen=True, slots=True)
class Detection:
    """One artifact in one time-frequency rectangle of one stem.

    Attributes
    ----------
    artifact : str
        Name in the artifact tree, for example ``bleed/drums``.
    start_s, end_s : float
        Time range in seconds.
    low_hz, high_hz : float
        Frequency range in Hz.
    confidence : float
        Calibrated probability in ``[0, 1]`` that the artifact is there.
    severity : float
        0 (inaudible, error 30 dB below the stem) to 1 (error as strong as the stem).
    """

    artifact: str
    start_s: float
    end_s: float
    low_hz: float
    high_hz: float
    confidence: float
    severity: float


@dataclasses.dataclass(frozen=True)
class AnalysisBlock:
    """A stretch of one stem at the internal rate.

    Attributes
    ----------
    audio : Tensor
        Float32, shape ``[channels, samples]``.
    siblings : Mapping[str, Tensor]
        What the other stems of the set hold at the same time, by stem class, each ``[channels, samples]``; with only a
        mixture at hand the single key is ``residual`` (mixture minus stem); empty when the stem came alone.
    stem_class : str
        ``vocals``, ``drums``, ... or ``generic``.
    """

    audio: Tensor
    siblings: Mapping[str, Tensor]
    stem_class: str


@dataclasses.dataclass(frozen=True)
class CellScores:
    """A detector's answer for one artifact: one value per cell.

    Attributes
    ----------
    probability, severity : ndarray
        Float32 in ``[0, 1]``, shape ``[cells, n_cell_bands]``; cell ``i`` covers STFT frames
        ``i * cell_frames`` to ``(i + 1) * cell_frames``.
    """

    probability: np.ndarray
    severity: np.ndarray


@runtime_checkable
class Detector(Protocol):
    """What a detector plugin's entry gives back; it holds no state between blocks."""

    artifacts: tuple[str, ...]

    def score(self, block: AnalysisBlock) -> Mapping[str, CellScores]:
        """Score every cell of a block, by artifact name."""
        ...
