"""Which files of a folder hold audio, told by their names."""

from __future__ import annotations

from collections.abc import Container, Sequence
from pathlib import Path

from stemprover.errors import StemSetError

__all__ = ["audio_files", "is_audio_name", "is_unread_audio"]

_READ_SUFFIXES = frozenset({".wav", ".wave", ".flac", ".aif", ".aiff", ".aifc", ".ogg", ".oga", ".opus", ".mp3"})
_UNREAD_SUFFIXES = frozenset({".m4a", ".mp4", ".aac", ".wma", ".alac", ".ape", ".wv", ".mka", ".webm", ".mp2", ".caf"})


def audio_files(paths: Path | str | Sequence[Path | str], skip_suffix: str = "") -> list[Path]:
    """Return the given files, or those of a folder that end like audio, in the order of their names.

    Raises
    ------
    StemSetError
        If a folder holds no audio, or some that is not read here: a set without one of its stems is another set.
    """
    if not isinstance(paths, (str, Path)):
        return [Path(path) for path in paths]
    path = Path(paths)
    if not path.is_dir():
        return [path]
    files = [file for file in sorted(path.iterdir()) if file.is_file()]
    if unread := [file.name for file in files if is_unread_audio(file.name, skip_suffix)]:
        fix = "convert it, or hand in those files of the folder that count"
        raise StemSetError(f"WAV, FLAC, AIFF, OGG or MP3 in '{path}'", ", ".join(map(repr, unread)), fix)
    found = [file for file in files if is_audio_name(file.name, skip_suffix)]
    if not found:
        raise StemSetError("audio files in the folder", f"none in '{path}'", "check the path; sub-folders are not read")
    return found


def is_audio_name(name: str, skip_suffix: str = "") -> bool:
    """Whether a file's name says that it holds audio, and neither hides it nor says that it is an earlier result."""
    return _ends_like(name, _READ_SUFFIXES, skip_suffix)


def is_unread_audio(name: str, skip_suffix: str = "") -> bool:
    """Whether a file's name says that it holds audio of a kind that is not read here, see :func:`is_audio_name`."""
    return _ends_like(name, _UNREAD_SUFFIXES, skip_suffix)


def _ends_like(name: str, suffixes: Container[str], skip_suffix: str) -> bool:
    stem, dot, suffix = name.rpartition(".")
    if not dot or name.startswith(".") or dot + suffix.lower() not in suffixes:
        return False
    return not (skip_suffix and stem.endswith(skip_suffix))
