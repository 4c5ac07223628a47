"""What lies beside audio and is left out, folders and files of other kinds: a hint for who expected it."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterable
from pathlib import Path

from stemprover.batch import places
from stemprover.batch.jobs import Target
from stemprover.batch.naming import DEFAULT_SUFFIX, SEPARATED
from stemprover.batch.state import read_state
from stemprover.stems import is_audio_name, is_unread_audio

__all__ = ["folders_passed_by", "unread_in"]


def folders_passed_by(looked_at: Iterable[str], known: Iterable[str]) -> dict[str, tuple[str, ...]]:
    """Name the folders right in others that hold audio, or have some right below, and are passed by.

    Remote folders, links, hidden folders, those that cannot be read and what earlier runs left are not told; the audio
    is not looked for any deeper: a hint must not cost more than the work.

    Parameters
    ----------
    looked_at : iterable of str
        Folders of which the audio right in them was taken.
    known : iterable of str
        Files and folders that were named or will be written: a folder that is or holds one of them is not passed by.

    Returns
    -------
    dict of str to tuple of str
        Names by folder, where there are any.
    """
    beside = {folder: names for folder in dict.fromkeys(looked_at) if (names := _with_audio(folder))}
    if not beside:
        return {}
    ways = {Path(os.path.abspath(place)) for place in known if not places.is_remote(place)}  # noqa: PTH100
    ways |= {parent for way in tuple(ways) for parent in way.parents}
    unknown = {
        folder: tuple(name for name in names if Path(os.path.abspath(folder), name) not in ways)  # noqa: PTH100
        for folder, names in beside.items()
    }
    return {folder: names for folder, names in unknown.items() if names}


def unread_in(folder: str) -> tuple[str, ...]:
    """Names of the files right in a folder that hold audio of kinds that are not read."""
    return tuple(filter(is_unread_audio, places.file_names(folder)))


def _with_audio(folder: str) -> tuple[str, ...]:
    if places.is_remote(folder):
        return ()
    return tuple(
        sorted(inside.name for inside in _folders(folder) if inside.name != SEPARATED and _holds_audio(inside))
    )


def _folders(folder: str | os.PathLike[str]) -> list[os.DirEntry[str]]:
    with contextlib.suppress(OSError), os.scandir(folder) as inside:
        return [one for one in inside if not one.name.startswith(".") and one.is_dir(follow_symlinks=False)]
    return []


def _holds_audio(folder: os.DirEntry[str], below: bool = True) -> bool:
    with contextlib.suppress(OSError):
        first = next((name for name in sorted(os.listdir(folder)) if is_audio_name(name, DEFAULT_SUFFIX)), None)  # noqa: PTH208
        if first is not None:
            return read_state(Target(os.path.join(folder, first), {})) is None  # noqa: PTH118
        return below and any(_holds_audio(inside, below=False) for inside in _folders(folder))
    return False
