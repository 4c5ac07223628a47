"""What the networks see of a segment, after the preprocessors of all plugins."""

from __future__ import annotations

import torch
from torch import Tensor

from stemprover.plugins import PluginRunner
from stemprover.restoration.base import Preprocessor

__all__ = ["Preprocessing"]


class Preprocessing:
    """The preprocessors of a run, one after the other; one that fails is reported and left out from then on.

    Parameters
    ----------
    runner : PluginRunner
        Builds them, and calls them with its time limit.
    """

    def __init__(self, runner: PluginRunner) -> None:
        self._runner = runner
        self._steps: tuple[Preprocessor, ...] = tuple(runner.preprocessors().values())

    def __call__(self, audio: Tensor) -> Tensor:
        """Return the view of ``[channels, samples]``; ``audio`` itself without preprocessors."""
        for step in self._steps:
            changed = self._runner.guard(step, lambda step=step, audio=audio: _changed(step, audio))  # type: ignore[misc]
            audio = audio if changed is None else changed
        return audio


@torch.inference_mode()
def _changed(step: Preprocessor, audio: Tensor) -> Tensor:
    changed = step.process(audio)
    if changed.shape != audio.shape or changed.dtype != audio.dtype or not changed.isfinite().all():
        raise ValueError(
            f"{type(step).__name__} answers with another shape or type, or with samples that are not finite"
        )
    return changed
