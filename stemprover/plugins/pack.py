"""Put a trained adapter into its plugin package, with hashes, base and metrics in the manifest and the model card."""

from __future__ import annotations

import dataclasses
import shutil
from collections.abc import Mapping
from pathlib import Path

from stemprover.errors import PluginError
from stemprover.plugins.base import MISSING_BASE, BaseIdentity, base_identity, host_spectral_spec
from stemprover.plugins.card import update_card
from stemprover.plugins.hashing import file_sha256
from stemprover.plugins.manifest import BaseRef, Manifest, Weights, read_manifest, write_manifest

__all__ = ["ADAPTER_FILES", "pack_adapter"]

ADAPTER_FILES = ("adapter_config.json", "adapter_model.safetensors")


def pack_adapter(
    adapter_dir: Path,
    package_dir: Path,
    *,
    metrics: Mapping[str, float | str],
    manifest: Manifest | None = None,
    base: BaseIdentity | None = None,
    spectral_spec: str | None = None,
) -> Manifest:
    """Copy a PEFT folder into a plugin package and write the manifest that describes it.

    Parameters
    ----------
    adapter_dir : Path
        Holds ``adapter_config.json`` and ``adapter_model.safetensors``; may be the package's own ``adapter``.
    package_dir : Path
        The importable package, for example ``plugins/stemprover-lora-drumbleed/stemprover_lora_drumbleed``. A
        ``README.md`` beside it is its model card and gets the metrics, too.
    metrics : Mapping[str, float | str]
        Measured results; they replace the earlier ones.
    manifest : Manifest, optional
        Name, summary, licence, artifacts and stems of a new package; by default those of the package's manifest.
    base, spectral_spec : optional
        What the adapter was trained for; the host's own by default.

    Returns
    -------
    Manifest
        As written.

    Raises
    ------
    PluginError
        A file of the adapter is missing, or there is no base to bind it to.
    """
    base = base_identity() if base is None else base
    if base == MISSING_BASE:
        raise PluginError("a base to bind the adapter to", "no readable base.json", "train or install a base first")
    described = read_manifest(package_dir) if manifest is None else manifest
    target = _copied(adapter_dir, package_dir / "adapter")
    packed = dataclasses.replace(
        described,
        base=BaseRef(base.id, base.sha256),
        spectral_spec=host_spectral_spec() if spectral_spec is None else spectral_spec,
        weights=Weights(path="adapter"),
        files={name: file_sha256(target / name) for name in ADAPTER_FILES},
        metrics=dict(metrics),
    )
    write_manifest(package_dir, packed)
    card = package_dir.parent / "README.md"
    if card.is_file():
        update_card(card, packed)
    return packed


def _copied(source: Path, target: Path) -> Path:
    for name in ADAPTER_FILES:
        if not (source / name).is_file():
            raise PluginError(f"{name} in {source}", "no such file", "train an adapter first")
    if source.resolve() != target.resolve():
        target.mkdir(parents=True, exist_ok=True)
        for name in ADAPTER_FILES:
            shutil.copyfile(source / name, target / name)
    return target
