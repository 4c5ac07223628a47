"""The hooks: a new artifact type with its detector, and a preprocessor."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import numpy as np
import torch
from torch import Tensor

from stemprover.detection import AnalysisBlock, CellScores, ThresholdRule, n_cells
from stemprover.plugins import ArtifactType, hookimpl
from stemprover.spectral.spec import SPEC
from stemprover_rumble.filters import below_hearing

__all__ = ["RumbleDetector", "RumbleRemover", "artifact_types", "preprocessors"]

_CELL = SPEC.cell_frames * SPEC.hop
_TINY = 1e-12
_QUIET = 1e-8  # power, -80 dB: an offset of one 16-bit step is no artifact
_LIKELY_DB = 15.0  # how far above the inaudible the audible may lie for an even chance
_SLOPE_DB = 2.0
_STEADY = 3  # cells: a drum's hit moves the level for a moment, rumble stays


class RumbleDetector:
    """Finds offset and rumble that last for a second or more and are strong beside what is heard."""

    artifacts: tuple[str, ...] = ("rumble",)

    def rules(self, alone: bool) -> dict[str, ThresholdRule]:
        """Return the threshold; what the siblings know makes no difference here."""
        del alone
        return {"rumble": ThresholdRule(base=0.5, ceiling=0.5)}

    def score(self, block: AnalysisBlock) -> Mapping[str, CellScores]:
        """Score the lowest band of every cell; the others never hold rumble."""
        low = below_hearing(block.audio)
        rumble, heard = _cell_powers(low), _cell_powers(block.audio - low)
        ratio_db = 10.0 * np.log10((heard + _TINY) / (rumble + _TINY))
        certain = 1.0 / (1.0 + np.exp(np.clip((ratio_db - _LIKELY_DB) / _SLOPE_DB, -30.0, 30.0)))
        probability = np.zeros((len(rumble), SPEC.n_cell_bands), np.float32)
        severity = np.zeros_like(probability)
        probability[:, 0] = _steady(np.where(rumble > _QUIET, certain, 0.0))
        severity[:, 0] = np.where(rumble > _QUIET, np.clip(1.0 - ratio_db / 30.0, 0.0, 1.0), 0.0)
        return {"rumble": CellScores(probability, severity)}


class RumbleRemover:
    """Takes strong rumble out of what the networks see: it would raise the level that they judge everything by."""

    def process(self, audio: Tensor) -> Tensor:
        """Return ``audio`` itself unless its inaudible part is within 30 dB of the rest."""
        low = below_hearing(audio)
        power = float(low.square().mean())
        rest = audio - low
        return rest if power > _QUIET and power > 1e-3 * float(rest.square().mean()) else audio


@hookimpl
def artifact_types() -> tuple[ArtifactType, ...]:
    """Rumble is a type of its own; no adapter repairs it, so it is reported and left alone."""
    return (ArtifactType("rumble", "DC offset or rumble below hearing", RumbleDetector),)


@hookimpl
def preprocessors() -> dict[str, Callable[[], RumbleRemover]]:
    """Return the preprocessor."""
    return {"rumble": RumbleRemover}


def _cell_powers(audio: Tensor) -> np.ndarray:
    """Mean power of each cell over channels and samples, ``[cells]``."""
    cells = n_cells(audio.shape[-1])
    padded = torch.nn.functional.pad(audio, (0, cells * _CELL - audio.shape[-1]))
    powers: np.ndarray = padded.double().square().reshape(audio.shape[0], cells, _CELL).mean((0, 2)).numpy()
    return powers


def _steady(values: np.ndarray) -> np.ndarray:
    """Return the highest level that holds for ``_STEADY`` cells in a row around each cell (a morphological opening)."""
    around = _STEADY - 1
    held = np.lib.stride_tricks.sliding_window_view(np.pad(values, around), _STEADY).min(-1)
    opened: np.ndarray = np.lib.stride_tricks.sliding_window_view(held, _STEADY).max(-1)
    return opened
