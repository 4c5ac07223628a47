"""A small adapter and its project, and what validation says of it."""

from __future__ import annotations

from pathlib import Path

import pytest
from lora_models import make_adapter
from safetensors.torch import load_file, save_file

from stemprover.authoring import Project, pack_project, validate
from stemprover.plugins import base_identity
from stemprover.restoration.lora_file import WEIGHTS_FILE

__all__ = ["bound", "errors", "packed_project", "small_adapter"]


@pytest.fixture(name="adapter")
def small_adapter(tmp_path: Path) -> Path:
    """A PEFT folder; packing reads it without a model."""
    return make_adapter(tmp_path / "trained")


@pytest.fixture(name="project")
def packed_project(adapter: Path, tmp_path: Path) -> Path:
    return pack_project(Project("lora", "buzz", artifacts=("bleed/buzz",)), bound(adapter), tmp_path)


def bound(adapter: Path) -> Path:
    """Let an adapter say that it is for the embedded base."""
    file = adapter / WEIGHTS_FILE
    save_file(load_file(file), file, {"base_sha256": base_identity().sha256, "artifact": "bleed/buzz"})
    return adapter


def errors(path: Path) -> str:
    return "; ".join(finding.text for finding in validate(path) if finding.level == "error")
