"""LoRA adapters on a restoration model: load, switch, combine, fuse, train and save.

A small strict layer over PEFT. PEFT and diffusers accept most misfits with a warning or silently: an adapter for other
weights, another architecture or another prefix then simply does less than it should. Here every check is made before
the model is touched, and whatever fails leaves the model as it was.

The model is any module; a restoration model has the children ``unet`` and ``controlnet``. PEFT is imported when first
used, because that takes seconds and a run without adapters never needs it.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from torch import Tensor, nn

from stemprover.errors import AdapterError
from stemprover.restoration import lora_layers
from stemprover.restoration.lora_checks import LORA_A, check_base, check_fit, expected_shapes
from stemprover.restoration.lora_file import read_adapter, write_adapter
from stemprover.restoration.lora_layers import default_targets
from stemprover.restoration.lora_spec import LoraSpec, spec_from_config

if TYPE_CHECKING:
    from peft import LoraConfig

__all__ = [
    "AdapterInfo",
    "Fused",
    "default_targets",
    "inject",
    "learn_only",
    "load_adapter",
    "loaded_adapters",
    "merge",
    "remove_adapter",
    "save_adapter",
    "unmerge",
    "use_adapters",
]


@dataclasses.dataclass(frozen=True, slots=True)
class AdapterInfo:
    """What was loaded.

    Attributes
    ----------
    rank, alpha : int, float
        The configuration's defaults; single modules may differ.
    modules : int
        Number of layers that the adapter acts on.
    touches_controlnet : bool
        If true, cached ControlNet outputs are valid for this adapter only.
    """

    name: str
    rank: int
    alpha: float
    modules: int
    touches_controlnet: bool


@dataclasses.dataclass(frozen=True)
class Fused:
    """What :func:`merge` replaced, for :func:`unmerge`: the original weight tensors by module name."""

    originals: Mapping[str, Tensor]


def inject(model: nn.Module, name: str, config: LoraConfig) -> AdapterInfo:
    """Add a new, zero-effect adapter for training: only its weights get gradients, and only it is active.

    Raises
    ------
    AdapterError
        If the configuration is not plain LoRA or matches no layer, or the name cannot be used.
    """
    spec = spec_from_config(config.to_dict(), f"the configuration of {name}")
    _check_unfused(model)
    lora_layers.check_name(model, name)
    shapes = expected_shapes(model, spec)
    if not shapes:
        raise AdapterError("at least one targeted layer", f"none for {list(spec.targets)}", "see default_targets")
    with lora_layers.rolled_back(model, name):
        lora_layers.attach(model, name, config)
    learn_only(model, name)
    return _info(name, spec, [key.removesuffix(LORA_A) for key in shapes if key.endswith(LORA_A)])


def learn_only(model: nn.Module, name: str) -> None:
    """Let an adapter that is in the model learn: only its weights get gradients, and only it is active.

    They become float32: adapters may come in half precision, in which small steps would be lost.

    Raises
    ------
    AdapterError
        If no adapter has this name.
    """
    model.requires_grad_(False)
    use_adapters(model, {name: 1.0})
    for layer in lora_layers.adapted(model).values():
        layer.set_requires_grad(name, requires_grad=True)
    for parameter in model.parameters():
        if parameter.requires_grad:
            parameter.data = parameter.data.float()


def load_adapter(
    model: nn.Module,
    folder: Path,
    name: str,
    *,
    base_sha256: str | None = None,
    expected_base_sha256: str | None = None,
) -> AdapterInfo:
    """Load an adapter folder without activating it; :func:`use_adapters` does that.

    Parameters
    ----------
    base_sha256 : str, optional
        SHA-256 of the base weights in ``model``. If given, the adapter must say that it was trained on them.
    expected_base_sha256 : str, optional
        What the adapter's manifest says; the weights file may say it as well (``base_sha256`` in its header).

    Raises
    ------
    AdapterError
        If the folder is not a sound plain-LoRA adapter, or does not fit the model name by name and shape by shape.
    BaseMismatchError
        If it was trained on another base or does not say on which.
    """
    _check_unfused(model)
    lora_layers.check_name(model, name)
    file = read_adapter(Path(folder))
    check_base(file, base_sha256, expected_base_sha256)
    check_fit(file, expected_shapes(model, file.spec))
    tensors = file.tensors()
    with lora_layers.rolled_back(model, name):
        lora_layers.attach(model, name, lora_layers.peft_config(file.spec), tensors)
    return _info(name, file.spec, file.modules)


def save_adapter(model: nn.Module, folder: Path, name: str, metadata: Mapping[str, object]) -> None:
    """Write a loaded or trained adapter as a PEFT folder.

    Parameters
    ----------
    metadata : Mapping
        For the weights file's header, text or JSON values; ``base_sha256`` binds the adapter to its base.

    Raises
    ------
    AdapterError
        If no adapter has this name or its weights are not finite.
    """
    from peft import get_peft_model_state_dict

    _check_loaded(model, [name])
    config = lora_layers.configs(model)[name]
    tensors = get_peft_model_state_dict(model, adapter_name=name)
    write_adapter(Path(folder), config.to_dict(), tensors, metadata)


def loaded_adapters(model: nn.Module) -> tuple[str, ...]:
    """Return the names of all adapters in a model, sorted."""
    return tuple(sorted({name for layer in lora_layers.adapted(model).values() for name in layer.lora_A}))


def use_adapters(model: nn.Module, scales: Mapping[str, float]) -> None:
    """Make exactly these adapters active, each with its strength; with none, or 0, the base acts bit for bit.

    Several add up; their order does not matter, because they are always applied in the order of their names.

    Raises
    ------
    AdapterError
        If a name is not loaded, a scale is not finite or an adapter is fused.
    """
    _check_loaded(model, scales)
    _check_unfused(model)
    for name, scale in scales.items():
        if not math.isfinite(scale):
            raise AdapterError("a finite strength", f"{scale} for {name}", "use a number such as 0.8")
    for layer in lora_layers.adapted(model).values():
        for name, scale in scales.items():
            layer.set_scale(name, float(scale))
    lora_layers.activate(model, [name for name in sorted(scales) if scales[name] != 0])


def remove_adapter(model: nn.Module, name: str) -> None:
    """Take an adapter out; a layer without any adapter left is the original module again."""
    _check_loaded(model, [name])
    _check_unfused(model)
    lora_layers.detach(model, name)


def merge(model: nn.Module, scales: Mapping[str, float]) -> Fused:
    """Fuse adapters into the weights, which saves their cost over a long batch.

    The original tensors are kept, so :func:`unmerge` restores the base bit for bit (subtracting would not).

    Raises
    ------
    AdapterError
        As :func:`use_adapters`, and if the fused weights would not be finite.
    """
    active = [name for name in sorted(scales) if scales[name] != 0]
    use_adapters(model, scales)
    originals: dict[str, Tensor] = {}
    try:
        for module, layer in lora_layers.adapted(model).items():
            if any(name in layer.lora_A for name in active):
                originals[module] = layer.get_base_layer().weight.data
                layer.merge(safe_merge=True, adapter_names=active)
    except ValueError as error:
        unmerge(model, Fused(originals))
        raise AdapterError("finite fused weights", str(error), "lower the strength") from error
    return Fused(originals)


def unmerge(model: nn.Module, fused: Fused) -> None:
    """Undo :func:`merge` exactly; the adapters stay active."""
    layers = lora_layers.adapted(model)
    for module, weight in fused.originals.items():
        layers[module].get_base_layer().weight.data = weight
        layers[module].merged_adapters = []


def _info(name: str, spec: LoraSpec, modules: Sequence[str]) -> AdapterInfo:
    touches = any(module.startswith("controlnet.") for module in modules)
    return AdapterInfo(name, spec.rank, spec.alpha, len(modules), touches)


def _check_loaded(model: nn.Module, names: Iterable[str]) -> None:
    loaded = loaded_adapters(model)
    for name in names:
        if name not in loaded:
            raise AdapterError(
                f"a loaded adapter ({', '.join(loaded) or 'none is loaded'})", repr(name), "load it first"
            )


def _check_unfused(model: nn.Module) -> None:
    if any(layer.merged for layer in lora_layers.adapted(model).values()):
        raise AdapterError("adapters that are not fused", "fused ones", "call unmerge first")
