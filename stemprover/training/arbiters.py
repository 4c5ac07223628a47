"""Trained arbiters on disk: what each has learned on, and whom to ask about a pair."""

from __future__ import annotations

import dataclasses
import functools
import json
from collections.abc import Sequence
from pathlib import Path

import torch

from stemprover.data.pairs import Pair
from stemprover.errors import ModelError
from stemprover.separation.trained import TRAINED_ON
from stemprover.synthesis.arbiter import Arbiter, load_arbiter
from stemprover.synthesis.opinion import INSTRUMENTAL

__all__ = ["TrainedArbiter", "arbiter_for", "classes_of", "find_arbiters", "loaded"]


def classes_of(stems: Sequence[str]) -> tuple[str, ...]:
    """Classes that there are answers on from separators for these stems: of songs, the instrumental too."""
    return (*stems, INSTRUMENTAL) if "vocals" in stems else tuple(stems)


@dataclasses.dataclass(frozen=True, slots=True)
class TrainedArbiter:
    """Folder of an arbiter.

    Attributes
    ----------
    folder : Path
        Holds weights, configuration and what it trained on.
    heard : frozenset of str
        Songs, kits and solo recordings that it learned on.
    classes : tuple of str
        Stem classes that it knows.
    alone : bool
        Whether it weighs stems that come alone.
    """

    folder: Path
    heard: frozenset[str]
    classes: tuple[str, ...]
    alone: bool = False


def find_arbiters(folder: Path) -> tuple[TrainedArbiter, ...]:
    """Return every arbiter at or below a folder.

    Raises
    ------
    ModelError
        If there is none, or one cannot be read.
    """
    fix = "train them with `stemprover train arbiter`"
    found = []
    for path in sorted(folder.rglob(TRAINED_ON)):
        try:
            config = json.loads((path.parent / "config.json").read_text(encoding="utf-8"))
            if (kind := config["_class_name"]) != Arbiter.__name__:
                raise ModelError("arbiters only", f"{kind} in {path.parent}", f"name another folder, or {fix}")
            heard = json.loads(path.read_text(encoding="utf-8"))["heard"]
            alone = bool(config.get("alone", False))
            found.append(TrainedArbiter(path.parent, frozenset(heard), tuple(config["classes"]), alone))
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise ModelError(f"an arbiter in {path.parent}", repr(error), f"delete the folder, or {fix}") from error
    if not found:
        raise ModelError("arbiters", f"none below {folder}", fix)
    return tuple(found)


def arbiter_for(pair: Pair, arbiters: Sequence[TrainedArbiter]) -> TrainedArbiter | None:
    """Return the first arbiter that knows a pair's class and never heard any of its music.

    There is none for pairs without named music: any of them may have learned on the pair itself.
    """
    knowing = (one for one in arbiters if pair.stem in one.classes and not one.heard & pair.music)
    return next(knowing, None) if pair.music else None


@functools.lru_cache(maxsize=32)
def loaded(folder: Path, device: torch.device, alone: bool = False) -> Arbiter:
    """Load an arbiter on a device; each is loaded once and must stay there. Raises as :func:`load_arbiter` does."""
    arbiter: Arbiter = load_arbiter(folder, alone).to(device)
    return arbiter
