"""Compare what was installed from a wheel with the wheel's own list of files, ``RECORD``.

It says that nothing was changed since the installation; who can write the files can write the list as well.
"""

from __future__ import annotations

import base64
import json
from importlib import metadata

from stemprover.errors import PluginError
from stemprover.plugins.discovery import EMBEDDED, Plugin
from stemprover.plugins.hashing import file_sha256
from stemprover.plugins.packages import is_hub_folder

__all__ = ["verify_record"]


def verify_record(plugin: Plugin) -> tuple[str, ...]:
    """Check every file of a plugin's distribution against ``RECORD``; none for what did not come as a wheel.

    Raises
    ------
    PluginError
        Names the first file that is missing or differs.
    """
    if plugin in EMBEDDED or plugin.folder is None or is_hub_folder(plugin.folder):
        return ()
    checked = []
    for file, expected in _listed(plugin.distribution):
        path = file.locate()
        if not path.is_file():  # type: ignore[attr-defined]  # not a pipe either, which would never end
            raise _differs(plugin, str(file), "no such file")
        try:
            found = file_sha256(path)  # type: ignore[arg-type]
        except OSError as error:
            raise _differs(plugin, str(file), error.strerror or "an unreadable file") from error
        if found != expected:
            raise _differs(plugin, str(file), f"SHA-256 {found}")
        checked.append(str(file))
    return tuple(checked)


def _listed(name: str) -> list[tuple[metadata.PackagePath, str]]:
    """Files with their SHA-256 in hex; none of an editable installation, whose source is meant to change."""
    try:
        distribution = metadata.distribution(name)
        direct = json.loads(distribution.read_text("direct_url.json") or "{}")
        if direct.get("dir_info", {}).get("editable") or not distribution.read_text("RECORD"):
            return []
        files = distribution.files or []
        hashes = [(file, file.hash.value) for file in files if file.hash is not None and file.hash.mode == "sha256"]
        return [(file, base64.urlsafe_b64decode(f"{value}==").hex()) for file, value in hashes]
    except (metadata.PackageNotFoundError, OSError, ValueError, AttributeError, TypeError, RecursionError):
        return []


def _differs(plugin: Plugin, file: str, got: str) -> PluginError:
    fix = f"run 'stemprover plugins install --reinstall {plugin.distribution}'"
    return PluginError(f"{plugin.name}: {file!a} as it was installed", got, fix)
