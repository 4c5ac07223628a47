"""A folder that stands for site-packages, with one real adapter for the embedded base in it."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from peft import LoraConfig
from plugin_site import distribution

from stemprover.plugins import Manifest, base_identity, pack_adapter, parse_manifest
from stemprover.restoration import lora
from stemprover.restoration.weights import load_base

NAME = "testbleed"


def manifest(name: str) -> Manifest:
    """What a released adapter for drum bleed says, but for hashes and base, which packing fills in."""
    return parse_manifest(
        {
            "api": 1,
            "host": ">=0.1,<1",
            "name": name,
            "kind": "lora",
            "summary": "An adapter for tests",
            "license": "Apache-2.0",
            "artifacts": ["bleed"],
            "stems": [],
            "sample_rate": 44100,
            "base": base_identity()._asdict(),
            "spectral_spec": "sha256:" + "0" * 64,
            "weights": {"path": "adapter"},
            "files": {"adapter_config.json": "0" * 64, "adapter_model.safetensors": "0" * 64},
        }
    )


def install(site: Path, name: str, trained: Path) -> Path:
    """Pack a trained adapter as the plugin ``name`` and install it; returns its package folder."""
    package = site / f"acme_{name}"
    package.mkdir(parents=True)
    (package / "__init__.py").touch()
    pack_adapter(trained, package, metrics={}, manifest=manifest(name))
    distribution(site, f"acme-{name}", name, package.name)
    return package


@pytest.fixture(scope="session", name="trained")
def trained_adapter(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An adapter folder whose weights are small and random: it changes what it is used on."""
    model = load_base()
    lora.inject(model, "new", LoraConfig(r=2, lora_alpha=2.0, target_modules=lora.default_targets(model)))
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for name, value in model.named_parameters():
            if "lora_B" in name:
                value.copy_(0.05 * torch.randn(value.shape, generator=generator))
    folder = tmp_path_factory.mktemp("trained")
    lora.save_adapter(model, folder, "new", {"base_sha256": base_identity().sha256})
    return folder


@pytest.fixture(name="adapter_site")
def site_with_adapter(tmp_path: Path, trained: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A site folder on ``sys.path`` with :data:`NAME` installed, and a configuration folder of its own."""
    monkeypatch.setenv("STEMPROVER_HOME", str(tmp_path / "home"))
    site = tmp_path / "site"
    install(site, NAME, trained)
    monkeypatch.syspath_prepend(str(site))
    return site
