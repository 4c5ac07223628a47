"""What a plugin needs and does not have: files of its own, modules of others. Looks, and imports nothing."""

from __future__ import annotations

import dataclasses
from importlib.util import find_spec
from pathlib import Path

from stemprover.plugins.manifest import Manifest

__all__ = ["MissingModules", "missing_file", "missing_module", "missing_modules"]


def missing_module(manifest: Manifest) -> str:
    """Return which modules a plugin wraps that are not there, and what brings them; empty if all are."""
    missing = missing_modules(manifest)
    return f"{missing.what}: pip install {missing.requirements}" if missing else ""


@dataclasses.dataclass(frozen=True, slots=True)
class MissingModules:
    """What a plugin wraps and lacks.

    Attributes
    ----------
    what : str
        Which modules, as part of a sentence.
    requirements : str
        What brings them, quoted for a shell.
    """

    what: str
    requirements: str


def missing_modules(manifest: Manifest) -> MissingModules | None:
    """Return what a plugin wraps and lacks; ``None`` if all is there."""
    lacking = {module: requirement for module, requirement in manifest.needs.items() if not _is_there(module)}
    if not lacking:
        return None
    state = "which is not installed" if len(lacking) == 1 else "which are not installed"
    # The same extra may bring several. A manifest cannot smuggle quotes in: see stemprover.plugins.fields.
    requirements = " ".join(f"'{requirement}'" for requirement in dict.fromkeys(lacking.values()))
    return MissingModules(f"needs {' and '.join(lacking)}, {state}", requirements)


def _is_there(module: str) -> bool:
    try:
        return find_spec(module) is not None
    except (ImportError, ValueError):  # a module of that name is loaded, and odd
        return False


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
