"""Audio on its way: fetched from and delivered to other places as whole files, because libsndfile seeks."""

from __future__ import annotations

from pathlib import Path

from stemprover.batch import places
from stemprover.errors import AudioError, OutputError

__all__ = ["create", "deliver", "fetch"]


def fetch(place: str, folder: Path) -> Path:
    """Return the local path of a file: itself, or a copy below ``folder``, in a folder that is called like its own.

    Raises
    ------
    AudioError
        If it is not there or cannot be read.
    """
    if not places.is_remote(place):
        return Path(place)
    target = folder / places.name_of(places.parent_of(place)) / places.name_of(place)
    target.parent.mkdir(parents=True, exist_ok=True)
    system, path = places.filesystem(place)
    with places.told(AudioError, place):
        if not system.isfile(path):
            raise AudioError("an audio file", f"nothing at '{place}'", "check the address")
        system.get_file(path, str(target))
    return target


def deliver(file: Path, place: str, overwrite: bool) -> None:
    """Put a finished local file to its place elsewhere; stores of objects show it when it is complete.

    Raises
    ------
    OutputError
        If it exists and may not be replaced, or cannot be written.
    """
    system, path = places.filesystem(place)
    with places.told(OutputError, place):
        if not overwrite and system.exists(path):
            raise OutputError("a new file", f"'{place}', which exists", "use --overwrite or another name")
        system.makedirs(system._parent(path), exist_ok=True)
        system.put_file(str(file), path)


def create(place: str, content: bytes) -> bool:
    """Write a small remote file unless there is one already, in one step; tells whether it was written."""
    system, path = places.filesystem(place)
    with places.told(OutputError, place):
        system.makedirs(system._parent(path), exist_ok=True)
        try:
            system.pipe_file(path, content, mode="create")
        except Exception:  # each store says it in its own way that there is one
            if system.exists(path):
                return bool(system.cat_file(path) == content)  # ours, if only the answer got lost
            raise
        return True
