"""What a plugin needs and does not have: files of its own, modules of others. Looks, and imports nothing."""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path

from stemprover.plugins.manifest import Manifest

__all__ = ["missing_file", "missing_module"]


def missing_module(manifest: Manifest) -> str:
    """Return which module a plugin wraps that is not there, and what brings it; empty if all are."""
    for module, requirement in manifest.needs.items():
        try:
            is_there = find_spec(module) is not None
        except (ImportError, ValueError):  # a module of that name is loaded, and odd
            is_there = False
        if not is_there:
            return f"needs {module}, which is not installed: pip install '{requirement}'"
    return ""


def missing_file(folder: Path | None, manifest: Manifest, distribution: str) -> str:
    """Return which listed file is absent or empty; hashes are left to :func:`stemprover.plugins.verify_files`."""
    for name in manifest.files if folder is not None else ():
        path = Path(folder or "", name)
        try:
            found = path.stat().st_size if path.is_file() else -1
        except OSError:
            found = -1
        if found <= 0:
            state = "is empty" if found == 0 else "is missing"
            return f"file {name} {state} in {path.parents[name.count('/')].name}; reinstall {distribution}"
    return ""
