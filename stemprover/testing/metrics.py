"""Put what the kit measured where users see it: the manifest, and the model card beside the package."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping

from stemprover.errors import PluginError
from stemprover.plugins import find, write_manifest
from stemprover.plugins.card import has_marks, update_card

__all__ = ["write_metrics"]


def write_metrics(plugin: str, metrics: Mapping[str, float | str]) -> None:
    """Merge metrics into the manifest of an installed plugin, and show them in the card if it has the marks.

    The plugin is best installed in editable mode (``pip install -e .``), so that its manifest is the project's.

    Raises
    ------
    PluginError
        It is not installed, or has no manifest.
    """
    found = find(plugin)
    if found.folder is None or found.manifest is None:
        raise PluginError(f"a manifest of {plugin}", found.reason or "none", "install the project: pip install -e .")
    manifest = dataclasses.replace(found.manifest, metrics={**found.manifest.metrics, **metrics})
    write_manifest(found.folder, manifest)
    card = found.folder.parent / "README.md"
    if has_marks(card):
        update_card(card, manifest)
