"""Notes in the folders of runs: what files were made with, and what a run has heard."""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Mapping
from pathlib import Path

from stemprover.errors import TrainingError

__all__ = ["heard_so_far", "require_same"]


def require_same(path: Path, made_with: Mapping[str, str], option: str = "--out") -> None:
    """Note what the files of a folder are made with, or compare it with the note.

    ``option`` is the one that names the folder.

    Raises
    ------
    TrainingError
        If it is something else.
    """
    if path.is_file():
        noted = json.loads(path.read_text(encoding="utf-8"))
        differing = sorted(name for name in noted.keys() | made_with.keys() if noted.get(name) != made_with.get(name))
        if differing:
            got = f"others of {', '.join(differing)}"
            raise TrainingError(f"the networks and plugins that made {path.parent}", got, f"name another {option}")
        return
    _write(path, made_with)


def heard_so_far(out: Path, heard: Iterable[str]) -> tuple[str, ...]:
    """Note in a run's folder what it hears, and return that with what it has heard before it was started again.

    What a run learned with another ``--without`` is not forgotten.
    """
    path = out / "heard.json"
    before = json.loads(path.read_text(encoding="utf-8")) if path.is_file() else []
    together = sorted({*heard, *before})
    _write(path, together)
    return tuple(together)


def _write(path: Path, values: object) -> None:
    """Write JSON whole or not at all: another process may be about to read it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_suffix(f".{os.getpid()}.partial")
    partial.write_text(json.dumps(values, indent=2, sort_keys=True), encoding="utf-8")
    partial.replace(path)
