"""Where files are: local paths, and URLs that fsspec opens (``s3://``, ``gs://``, ``memory://``, ...).

A *place* is a string. ``file://`` URLs are local paths. How audio comes and goes is in
:mod:`stemprover.batch.transfer`.
"""

from __future__ import annotations

import contextlib
import glob
import os
import secrets
from collections.abc import Iterator, Sequence
from pathlib import Path, PurePosixPath
from typing import Any

from stemprover.errors import AudioError, InputError, OptionError, OutputError

__all__ = [
    "absolute",
    "common_folder",
    "exists",
    "file_names",
    "filesystem",
    "folder_names",
    "is_folder",
    "is_remote",
    "join",
    "matching",
    "name_of",
    "normalised",
    "parent_of",
    "read",
    "remove",
    "size",
    "told",
    "version",
    "write",
]


def normalised(place: str) -> str:
    """Return a place as it is, or the path of a ``file://`` URL."""
    return place.removeprefix("file://") if place.startswith("file://") else place


def absolute(place: str) -> str:
    """Return a place that means the same in every working folder."""
    return place if is_remote(place) else str(Path(place).absolute())


def is_remote(place: str) -> bool:
    """Whether a place is a URL."""
    return "://" in place


def name_of(place: str) -> str:
    """Return the last part of a place."""
    return PurePosixPath(place).name if is_remote(place) else Path(place).name


def parent_of(place: str) -> str:
    """Return the folder that a place is in."""
    return place.rstrip("/").rpartition("/")[0] if is_remote(place) else str(Path(place).parent)


def join(folder: str, *names: str) -> str:
    """Return a place below a folder."""
    return "/".join([folder.rstrip("/"), *names]) if is_remote(folder) else str(Path(folder, *names))


def common_folder(named: Sequence[str]) -> str:
    """Return the nearest folder that is there and holds all of these places."""
    first = named[0]
    if any(is_remote(place) for place in named):
        return parent_of(first)
    folder = Path(os.path.commonpath([Path(place).absolute().parent for place in named]))
    return str(next(path for path in (folder, *folder.parents) if path.is_dir()))


def exists(place: str) -> bool:
    """Whether there is a file or folder."""
    if not is_remote(place):
        return os.path.lexists(place)
    system, path = filesystem(place)
    with told(AudioError, place):
        return bool(system.exists(path))


def is_folder(place: str) -> bool:
    """Whether a place is a folder."""
    if not is_remote(place):
        return Path(place).is_dir()
    system, path = filesystem(place)
    with told(AudioError, place):
        return bool(system.isdir(path))


def file_names(folder: str) -> list[str]:
    """Names of the files right in a folder, sorted."""
    return _names(folder, folders=False)


def folder_names(folder: str) -> list[str]:
    """Names of the folders right in a folder, sorted."""
    return _names(folder, folders=True)


def _names(folder: str, folders: bool) -> list[str]:
    with told(AudioError, folder):
        if not is_remote(folder):
            return sorted(found.name for found in Path(folder).iterdir() if found.is_dir() == folders)
        system, path = filesystem(folder)
        kind = "directory" if folders else "file"
        return sorted(
            PurePosixPath(found["name"]).name for found in system.ls(path, detail=True) if found["type"] == kind
        )


def matching(pattern: str) -> list[str]:
    """Places that match a pattern with ``*``, ``?``, ``[...]`` and ``**`` (any number of folders), sorted."""
    if not is_remote(pattern):
        return sorted(glob.glob(pattern, recursive=True))  # noqa: PTH207  (keeps relative paths relative)
    system, path = filesystem(pattern)
    with told(AudioError, pattern):
        beginning = pattern.removesuffix(path)  # what the file system takes off, the host of sftp:// included
        return sorted(f"{beginning}{found}" for found in system.glob(path))


def version(place: str) -> str:
    """What changes when a file changes: size and dates of a local one, checksum or entity tag of others.

    Programs that put a file's date back cannot do so with the date on which that happened (``ctime``).

    Raises
    ------
    AudioError
        If there is none.
    """
    with told(AudioError, place):
        if not is_remote(place):
            status = Path(place).stat()
            return f"{status.st_size}-{status.st_mtime_ns}-{status.st_ctime_ns}"
        system, path = filesystem(place)
        return str(system.ukey(path))


def size(place: str) -> int | None:
    """Return the size of a file in bytes, or None if there is none."""
    with told(OutputError, place, "to read"), contextlib.suppress(FileNotFoundError, NotADirectoryError):
        if not is_remote(place):
            return Path(place).stat().st_size
        system, path = filesystem(place)
        return int(system.size(path))
    return None


def read(place: str) -> bytes | None:
    """Return the content of a small file, or None if there is none."""
    with told(OutputError, place, "to read"), contextlib.suppress(FileNotFoundError, NotADirectoryError):
        if not is_remote(place):
            return Path(place).read_bytes()
        system, path = filesystem(place)
        content: bytes = system.cat_file(path)
        return content
    return None


def write(place: str, content: bytes) -> None:
    """Write a small file, whole or not at all, and make its folder.

    Raises
    ------
    OutputError
    """
    with told(OutputError, place):
        if is_remote(place):
            system, path = filesystem(place)
            system.pipe_file(path, content)
            return
        target = Path(place)
        target.parent.mkdir(parents=True, exist_ok=True)
        part = target.with_name(f".{secrets.token_hex(8)}.part")
        try:
            with part.open("wb") as file:
                file.write(content)
                file.flush()
                os.fsync(file.fileno())
            part.replace(target)
        finally:
            part.unlink(missing_ok=True)


def remove(place: str) -> None:
    """Remove a file if it is there."""
    with contextlib.suppress(OSError):
        if not is_remote(place):
            Path(place).unlink()
            return
        system, path = filesystem(place)
        system.rm_file(path)


def filesystem(place: str) -> tuple[Any, str]:
    """File system and path of a URL."""
    from fsspec.core import url_to_fs

    try:
        system, path = url_to_fs(place, use_listings_cache=False)
    except (ImportError, ValueError) as error:
        fix = "install fsspec's package for it, for example s3fs for s3:// or gcsfs for gs://"
        raise OptionError(f"an address that fsspec can open, like '{place}'", str(error), fix) from error
    return system, str(path)


@contextlib.contextmanager
def told(kind: type[InputError], place: str, what: str = "") -> Iterator[None]:
    """Turn what file systems raise into one line that names the place, and ``what`` was tried (``to read``)."""
    try:
        yield
    except InputError:
        raise
    except Exception as error:  # clients of object stores raise their own kinds
        if kind is AudioError and isinstance(error, FileNotFoundError):
            raise AudioError("an audio file or a folder", f"nothing at '{place}'", "check the path") from None
        reason = getattr(error, "strerror", None) or f"{type(error).__name__}: {error}"[:300]
        what = what or ("to read" if kind is AudioError else "to write")
        raise kind(f"{what} '{place}'", f"an error ({reason})", "check access, free space and permissions") from error
