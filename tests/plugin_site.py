"""Builds small real plugin distributions in a folder that stands for site-packages."""

from __future__ import annotations

import importlib
import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from stemprover.plugins import BaseIdentity, Plugin, file_sha256, host_spectral_spec, installed

BASE = BaseIdentity("test-base", "ab" * 32)
BOMB = "raise RuntimeError('imported')"


@pytest.fixture(name="site")
def plugin_site(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """An empty site folder at the head of ``sys.path``, and a configuration folder of its own."""
    monkeypatch.setenv("STEMPROVER_HOME", str(tmp_path / "home"))
    monkeypatch.delenv("STEMPROVER_REGISTRY", raising=False)
    monkeypatch.setattr(sys, "meta_path", list(sys.meta_path))
    folder = tmp_path / "site"
    folder.mkdir()
    monkeypatch.syspath_prepend(str(folder))
    yield folder
    for name in [name for name in sys.modules if name.startswith("acme_")]:
        del sys.modules[name]


def listed(safe_mode: bool = False) -> dict[str, Plugin]:
    """What is installed for :data:`BASE`, by distribution name."""
    return {plugin.distribution: plugin for plugin in installed(safe_mode=safe_mode, base=BASE)}


def distribution(site: Path, name: str, entry: str, value: str, group: str = "stemprover.plugins") -> None:
    """Write a ``dist-info`` folder as pip does."""
    info = site / f"{name.replace('-', '_')}-1.2.dist-info"
    info.mkdir(parents=True)
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.2\n\nVersion: in the text\n")
    (info / "entry_points.txt").write_text(f"[console_scripts]\nx = y:z\n\n[{group}]\n{entry} = {value}\n")
    importlib.invalidate_caches()


def lora_manifest(plugin: str, **changes: Any) -> dict[str, Any]:
    """A valid manifest of an adapter; ``None`` among the changes removes a key."""
    manifest = {
        "api": 1,
        "host": ">=0.1,<1",
        "name": plugin,
        "kind": "lora",
        "summary": "An adapter",
        "license": "MIT",
        "artifacts": ["bleed/drums"],
        "stems": ["vocals"],
        "sample_rate": 44100,
        "base": BASE._asdict(),
        "spectral_spec": host_spectral_spec(),
        "weights": {"path": "adapter"},
        "files": {"adapter_config.json": "0" * 64, "adapter_model.safetensors": "1" * 64},
    }
    return {key: value for key, value in {**manifest, **changes}.items() if value is not None}


def lora(site: Path, plugin: str, where: Path | None = None, code: str = "", **changes: Any) -> Path:
    """Install an adapter plugin ``acme-<name>`` with changed manifest keys; returns its package folder."""
    package = (where or site) / f"acme_{plugin.replace('-', '_')}"
    (package / "adapter").mkdir(parents=True)
    (package / "__init__.py").write_text(code)
    config, weights = package / "adapter" / "adapter_config.json", package / "adapter" / "adapter_model.safetensors"
    config.write_text("{}")
    weights.write_bytes(b"weights of " + plugin.encode())
    changes.setdefault("files", {path.name: file_sha256(path) for path in (config, weights)})
    (package / "stemprover.json").write_text(json.dumps(lora_manifest(plugin, **changes)))
    distribution(site, f"acme-{plugin}", plugin, package.name)
    return package


def code_plugin(site: Path, name: str, kind: str, code: str, attribute: str = "entry") -> Path:
    """Install a code plugin ``acme-<name>`` whose package holds ``code``; returns its package folder."""
    package = site / f"acme_{name.replace('-', '_')}"
    package.mkdir(parents=True)
    (package / "__init__.py").write_text(code)
    manifest = {
        "api": 1,
        "host": ">=0.1,<1",
        "name": name,
        "kind": kind,
        "summary": "A plugin",
        "license": "MIT",
        "artifacts": ["clicks"],
        "entry": f"{package.name}:{attribute}" if attribute else package.name,
    }
    (package / "stemprover.json").write_text(json.dumps(manifest))
    distribution(site, f"acme-{name}", name, package.name)
    return package
