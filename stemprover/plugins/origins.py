"""Where an installed plugin came from, as something that can be installed again."""

from __future__ import annotations

import json
from importlib import metadata
from typing import Any

from stemprover.plugins.discovery import Plugin
from stemprover.plugins.packages import folder_source, is_hub_folder

__all__ = ["came_from_index", "requirement_of"]


def requirement_of(plugin: Plugin) -> str:
    """Return the requirement that brings exactly this version: an address, a folder, a commit or name and version.

    pip and uv record the address of what did not come from the package index in ``direct_url.json``. Editable folders
    are marked with ``-e``, adapters from the hub with ``hf:``; empty when it is not known.
    """
    if plugin.folder is not None and is_hub_folder(plugin.folder):
        return folder_source(plugin.folder)
    try:
        text = metadata.distribution(plugin.distribution).read_text("direct_url.json")
        if not text:
            return f"{plugin.distribution}=={plugin.version}"
        return _direct(plugin.distribution, json.loads(text))
    except (metadata.PackageNotFoundError, OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError):
        return ""


def came_from_index(plugin: Plugin) -> bool:
    """Tell whether a plugin came from the package index, where newer versions of it are looked for."""
    return requirement_of(plugin) == f"{plugin.distribution}=={plugin.version}"


def _direct(name: str, record: dict[str, Any]) -> str:
    url = record["url"]
    if not url.isprintable() or " " in url or not url.startswith(("https://", "file://", "ssh://")):
        return ""
    if "vcs_info" in record:
        return f"{name} @ {record['vcs_info']['vcs']}+{url}@{record['vcs_info']['commit_id']}"
    if "dir_info" in record:
        return f"-e {url}" if record["dir_info"].get("editable") else f"{name} @ {url}"
    sha256 = record.get("archive_info", {}).get("hashes", {}).get("sha256", "")
    return f"{name} @ {url}#sha256={sha256}" if sha256 else f"{name} @ {url}"
