"""Checkpoints: a run that was stopped goes on from its last one to the same weights."""

from __future__ import annotations

import json
from pathlib import Path

from accelerate import Accelerator
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import nn

from stemprover.errors import TrainingError

__all__ = ["load_checkpoint", "save_checkpoint"]

_STEP = "step.json"
_WEIGHTS = "model.safetensors"


def save_checkpoint(accelerator: Accelerator, model: nn.Module, out: Path, step: int) -> None:
    """Write ``out/checkpoint``: beside the old one first, so that there is a whole one at any time.

    All processes call it. Optimiser, averages and random states are accelerate's; the model is not, for it was not
    prepared.
    """
    fresh, current, old = out / "checkpoint.new", out / "checkpoint", out / "checkpoint.old"
    accelerator.save_state(str(fresh))
    accelerator.wait_for_everyone()
    if not accelerator.is_main_process:
        return
    save_file({name: value.contiguous() for name, value in model.state_dict().items()}, fresh / _WEIGHTS)
    (fresh / _STEP).write_text(json.dumps({"step": step}))
    _remove(old)
    if current.exists():
        current.replace(old)
    fresh.replace(current)
    _remove(old)


def load_checkpoint(accelerator: Accelerator, model: nn.Module, out: Path) -> int:
    """Take up the last whole checkpoint; returns the step to go on with, 0 without one.

    Raises
    ------
    TrainingError
        If it is of another model or version.
    """
    for folder in (out / "checkpoint", out / "checkpoint.old"):  # a kill between two renames leaves the old one only
        if (folder / _STEP).is_file():
            break
    else:
        return 0
    try:
        accelerator.load_state(str(folder))
        model.load_state_dict(load_file(folder / _WEIGHTS))
    except (OSError, RuntimeError, ValueError, SafetensorError) as error:
        fix = "name another --out, or remove the checkpoint to begin anew"
        raise TrainingError("a checkpoint of this training", f"{folder}: {error}", fix) from error
    return int(json.loads((folder / _STEP).read_text())["step"])


def _remove(folder: Path) -> None:
    if folder.exists():
        for path in sorted(folder.rglob("*"), reverse=True):
            path.rmdir() if path.is_dir() else path.unlink()
        folder.rmdir()
