"""SHA-256 of files, of weight folders, and of a plugin's files against its manifest."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import TYPE_CHECKING

from stemprover.errors import AdapterError, PluginError

if TYPE_CHECKING:
    from stemprover.plugins.discovery import Plugin

__all__ = ["file_sha256", "folder_sha256", "verify_files"]


def file_sha256(path: Path) -> str:
    """Return the SHA-256 of a file in hex."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def folder_sha256(folder: Path) -> str:
    """Return one SHA-256 for all weights and configurations below a folder.

    It covers each ``*.safetensors`` and ``*.json`` except ``base.json`` (which holds the result), as the sorted lines
    ``<relative path> <file sha256>``; names, contents and layout all count, dates do not.
    """
    files = (path for path in folder.rglob("*") if path.suffix in {".safetensors", ".json"} and path.is_file())
    lines = sorted(
        f"{path.relative_to(folder).as_posix()} {file_sha256(path)}\n" for path in files if path.name != "base.json"
    )
    return hashlib.sha256("".join(lines).encode()).hexdigest()


def verify_files(plugin: Plugin, folder: Path | None = None) -> tuple[str, ...]:
    """Check every file that a plugin's manifest lists against its SHA-256.

    Parameters
    ----------
    folder : Path, optional
        Where the files are; by default in the plugin's package. Hub weights have no other place until they are fetched.

    Returns
    -------
    tuple of str
        The paths that were checked; none for what the host brings itself or what is not stored here.

    Raises
    ------
    AdapterError
        Names the first file that is missing or differs, with the hash expected and the hash found.
    PluginError
        There is no readable manifest to check against.
    """
    folder, manifest = folder or plugin.weights_folder, plugin.manifest
    if manifest is None and plugin.status in ("broken", "incompatible"):
        what = f"{plugin.name}: a manifest with SHA-256 sums"
        raise PluginError(what, plugin.reason, f"reinstall or uninstall {plugin.distribution}")
    if folder is None or manifest is None:
        return ()
    fix = f"reinstall {plugin.distribution}; do not use it if that does not help"
    for name, expected in manifest.files.items():
        what = f"{plugin.name}: {name} with SHA-256 {expected}"
        try:
            found = file_sha256(folder / name)
        except OSError as error:
            raise AdapterError(what, error.strerror or "an unreadable file", fix) from error
        if found != expected:
            raise AdapterError(what, found, fix)
    return tuple(manifest.files)
