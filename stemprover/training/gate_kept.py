"""What gates learn from, made once and kept: making it takes nearly all of the time of a training.

It does not change while a gate learns; an interrupted run goes on.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Protocol

import torch
from accelerate import PartialState
from safetensors.torch import load_file, save_file
from torch import Tensor

from stemprover.errors import TrainingError
from stemprover.training.gate import Outcome
from stemprover.training.gate_draws import SPOILED, Draw
from stemprover.training.loop import Log
from stemprover.training.notes import require_same

__all__ = ["Changes", "join", "make_outcomes"]


class Changes(Protocol):
    """Changes pairs in some way and sums up what was done; ``made_with`` says what that depends on."""

    made_with: dict[str, str]

    def __call__(self, draw: Draw) -> Outcome:
        """Change a pair as the draw says."""


def make_outcomes(changes: Changes, draws: Sequence[Draw], folder: Path, log: Log | None = None) -> Outcome:
    """Change pairs; what is known of each is kept in ``folder``, several processes share the work.

    What is there already is used if the same networks and plugins made it.

    Returns
    -------
    Outcome
        Of all their segments that are not silent.

    Raises
    ------
    TrainingError
        If nothing was found in any of them, or if what the folder holds was made by others.
    """
    state = PartialState(cpu=not torch.accelerator.is_available())
    folder.mkdir(parents=True, exist_ok=True)
    require_same(folder / "made_with.json", changes.made_with)
    paths = [folder / f"{draw.name}.safetensors" for draw in draws]
    for number in range(state.process_index, len(draws), state.num_processes):
        if not paths[number].is_file():
            partial = paths[number].with_suffix(".partial")
            save_file(dataclasses.asdict(changes(draws[number])), partial)
            partial.replace(paths[number])
        if log is not None:
            log({"step": 0.0, "repaired": number + 1.0})
    state.wait_for_everyone()
    parts = [load_file(path) for path in paths]
    if not any(len(part["seen"]) for part, draw in zip(parts, draws, strict=True) if draw.quality != SPOILED):
        got = f"none in {len(draws)} of {folder.name}"
        raise TrainingError("pairs in which something is found", got, "make more with `stemprover data pairs`")
    return join(parts)


def join(parts: Sequence[Mapping[str, Tensor]]) -> Outcome:
    """Put what is kept of several repairs together, without segments in which the stem or the truth is silent."""
    names = [field.name for field in dataclasses.fields(Outcome)]
    joined = {name: torch.cat([part[name] for part in parts]) for name in names}
    audible = (joined["clean"] > 1e-2) & (joined["stem"] > 1e-2)
    return Outcome(**{name: values[audible] for name, values in joined.items()})
