"""Local files that stand for those of a job, wherever these are."""

from __future__ import annotations

import contextlib
import tempfile
from pathlib import Path

from stemprover.batch import places
from stemprover.batch.transfer import deliver, fetch

__all__ = ["LocalFiles"]


class LocalFiles:
    """Local files that stand for the inputs and outputs of a job; for local ones, they are themselves."""

    def __init__(self, stack: contextlib.ExitStack) -> None:
        self._stack = stack
        self._folder: Path | None = None
        self._inputs: dict[str, Path] = {}
        self.outputs: dict[str, Path] = {}

    def _new_folder(self) -> Path:
        if self._folder is None:
            self._folder = Path(self._stack.enter_context(tempfile.TemporaryDirectory(prefix="stemprover-")))
        folder = self._folder / str(len(self._inputs) + len(self.outputs))
        folder.mkdir(exist_ok=True)
        return folder

    def input(self, place: str) -> Path:
        """Return the path of an input, fetched at the first call."""
        if place not in self._inputs:
            self._inputs[place] = fetch(place, self._new_folder()) if places.is_remote(place) else Path(place)
        return self._inputs[place]

    def output(self, place: str) -> Path:
        """Return where to write an output."""
        if place not in self.outputs:
            remote = places.is_remote(place)
            self.outputs[place] = self._new_folder() / places.name_of(place) if remote else Path(place)
        return self.outputs[place]

    def deliver(self, overwrite: bool) -> None:
        """Put finished outputs to their places elsewhere."""
        for place, path in self.outputs.items():
            if places.is_remote(place):
                deliver(path, place, overwrite)
