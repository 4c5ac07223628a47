"""Does an adapter belong to this model? Every check is made before the model is touched."""

from __future__ import annotations

from collections.abc import Mapping

from torch import nn

from stemprover.errors import AdapterError, BaseMismatchError
from stemprover.restoration import lora_layers
from stemprover.restoration.lora_file import AdapterFile
from stemprover.restoration.lora_spec import LoraSpec

__all__ = ["LORA_A", "check_base", "check_fit", "expected_shapes"]

LORA_A = ".lora_A.weight"


def check_base(file: AdapterFile, base: str | None, manifest: str | None) -> None:
    """Compare the model's base with what manifest and weights file say; each that speaks must agree."""
    stated = {_hex(value) for value in (manifest, file.metadata.get("base_sha256")) if value}
    fix = "install the version of the adapter that was trained for this base"
    if len(stated) > 1:
        raise BaseMismatchError("one base", f"manifest and weights of {file.folder} that name two", fix)
    if base is None:
        if manifest is not None:
            raise BaseMismatchError("a base with a known SHA-256", "a base without", "pass base_sha256")
        return
    if not stated:
        raise BaseMismatchError("an adapter that names its base", f"{file.folder}, which names none", fix)
    if stated != {_hex(base)}:
        raise BaseMismatchError(f"base {_hex(base)[:12]}", f"an adapter for base {stated.pop()[:12]}", fix)


def _hex(digest: str) -> str:
    return digest.removeprefix("sha256:").lower()


def expected_shapes(model: nn.Module, spec: LoraSpec) -> dict[str, tuple[int, ...]]:
    """Weight names and shapes that an adapter of this spec has on this model."""
    expected: dict[str, tuple[int, ...]] = {}
    for name, layer in lora_layers.originals(model).items():
        if not spec.covers(name):
            continue
        shapes = lora_layers.weight_shapes(layer, spec.rank_of(name))
        if shapes is None:
            raise AdapterError(
                "linear or ungrouped convolution layers as targets", f"{name} ({type(layer).__name__})", "exclude it"
            )
        expected[name + LORA_A], expected[name + ".lora_B.weight"] = shapes
    return expected


def check_fit(file: AdapterFile, expected: Mapping[str, tuple[int, ...]]) -> None:
    """Every weight has its layer, every targeted layer its weights, and every shape agrees."""
    fix = "use the adapter with the base that it was trained for"
    missing, unexpected = sorted(expected.keys() - file.shapes.keys()), sorted(file.shapes.keys() - expected.keys())
    if not expected.keys() & file.shapes.keys():
        raise AdapterError("weights for layers of this model", f"none in {file.folder}", fix)
    if unexpected:
        raise AdapterError(
            "weights for targeted layers of this model only", f"{len(unexpected)} others, first {unexpected[0]}", fix
        )
    if missing:
        raise AdapterError("weights for every targeted layer", f"{len(missing)} missing, first {missing[0]}", fix)
    for name, shape in expected.items():
        if file.shapes[name] != shape:
            raise AdapterError(f"shape {shape} for {name}", str(file.shapes[name]), fix)
