"""For authors of plugins: a project to start from, packing, importing and checking.

Nothing here is imported when plugins are used.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from stemprover.authoring.adapters import import_adapter, new_adapter
    from stemprover.authoring.packing import pack_project
    from stemprover.authoring.project import PROJECT_KINDS, Project, new_project
    from stemprover.authoring.validation import Finding, validate
    from stemprover.authoring.wheel import build_wheel

__all__ = [
    "PROJECT_KINDS",
    "Finding",
    "Project",
    "build_wheel",
    "import_adapter",
    "new_adapter",
    "new_project",
    "pack_project",
    "validate",
]

_HOMES = {
    "PROJECT_KINDS": "project",
    "Finding": "validation",
    "Project": "project",
    "build_wheel": "wheel",
    "import_adapter": "adapters",
    "new_adapter": "adapters",
    "new_project": "project",
    "pack_project": "packing",
    "validate": "validation",
}


def __getattr__(name: str) -> object:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(f"{__name__}.{_HOMES[name]}"), name)
