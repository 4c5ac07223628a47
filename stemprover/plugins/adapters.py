"""From an adapter plugin to a folder with verified weights, from the package or from the Hugging Face hub."""

from __future__ import annotations

from pathlib import Path

from stemprover.errors import PluginError
from stemprover.plugins.base import BaseIdentity
from stemprover.plugins.discovery import Plugin
from stemprover.plugins.hashing import verify_files
from stemprover.plugins.hub import HubSource, fetch
from stemprover.plugins.loader import require_usable

__all__ = ["adapter_folder"]


def adapter_folder(plugin: Plugin, base: BaseIdentity | None = None, cache_dir: Path | None = None) -> Path:
    """Return the PEFT folder of an adapter plugin; all its files have been compared with their SHA-256.

    Hub weights are fetched once, from the exact commit that the manifest names, into the hub's cache; later calls need
    no network.

    Parameters
    ----------
    base : BaseIdentity, optional
        Base that the adapter must fit, the embedded one by default.
    cache_dir : Path, optional
        Cache of the hub; its own default otherwise.

    Raises
    ------
    PluginError
        The plugin is no adapter or not usable.
    BaseMismatchError
        It was trained for another base or spectral spec.
    AdapterError
        A file cannot be fetched, is missing, or is not the one that the manifest describes.
    """
    require_usable(plugin, base)
    manifest = plugin.manifest
    if manifest is None or manifest.weights is None or plugin.kind != "lora":
        raise PluginError("a plugin of kind lora", f"{plugin.name} of kind {plugin.kind}", "name an adapter")
    folder = plugin.weights_folder
    if folder is None:
        source = HubSource(manifest.weights.hub, manifest.weights.revision)
        for name, sha256 in manifest.files.items():
            folder = fetch(source, name, sha256, cache_dir).parents[name.count("/")]
        assert folder is not None  # an adapter lists two files at least
    verify_files(plugin, folder)
    return folder
