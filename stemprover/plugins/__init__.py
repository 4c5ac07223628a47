"""Plugins: manifest, discovery, switches, loading, hooks, verification and the community index.

Importing this package imports no plugin and nothing heavy; what needs pluggy or YAML is imported on first use.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from stemprover.plugins.base import MISSING_BASE, BaseIdentity, base_identity, host_spectral_spec
from stemprover.plugins.discovery import EMBEDDED, REPAIRING, Plugin, claims, find, installed
from stemprover.plugins.hashing import file_sha256, folder_sha256, verify_files
from stemprover.plugins.loader import Fault, create, load, load_all, require_usable
from stemprover.plugins.manifest import BaseRef, Manifest, Weights, parse_manifest, read_manifest, write_manifest
from stemprover.plugins.state import disable, enable

if TYPE_CHECKING:
    from stemprover.plugins.adapters import adapter_folder
    from stemprover.plugins.hooks import ArtifactType, FileEvent, SegmentEvent, hookimpl
    from stemprover.plugins.index import Registry, RegistryEntry, install_command, registry
    from stemprover.plugins.pack import pack_adapter
    from stemprover.plugins.runner import PluginRunner

__all__ = [
    "EMBEDDED",
    "MISSING_BASE",
    "REPAIRING",
    "ArtifactType",
    "BaseIdentity",
    "BaseRef",
    "Fault",
    "FileEvent",
    "Manifest",
    "Plugin",
    "PluginRunner",
    "Registry",
    "RegistryEntry",
    "SegmentEvent",
    "Weights",
    "adapter_folder",
    "base_identity",
    "claims",
    "create",
    "disable",
    "enable",
    "file_sha256",
    "find",
    "folder_sha256",
    "hookimpl",
    "host_spectral_spec",
    "install_command",
    "installed",
    "load",
    "load_all",
    "pack_adapter",
    "parse_manifest",
    "read_manifest",
    "registry",
    "require_usable",
    "verify_files",
    "write_manifest",
]

_LATE = {
    "adapter_folder": "adapters",
    "ArtifactType": "hooks",
    "FileEvent": "hooks",
    "PluginRunner": "runner",
    "SegmentEvent": "hooks",
    "hookimpl": "hooks",
    "Registry": "index",
    "RegistryEntry": "index",
    "install_command": "index",
    "pack_adapter": "pack",
    "registry": "index",
}


def __getattr__(name: str) -> Any:
    if name not in _LATE:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from importlib import import_module

    return getattr(import_module(f"{__name__}.{_LATE[name]}"), name)
