"""The mechanics behind :mod:`stemprover.restoration.lora`: PEFT's layers inside a model.

PEFT replaces a targeted module by a wrapper that holds the original as ``base_layer`` and any number of adapters.
"""

from __future__ import annotations

import contextlib
import re
import warnings
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from stemprover.errors import AdapterError
from stemprover.restoration.lora_spec import LoraSpec

if TYPE_CHECKING:
    from peft import LoraConfig

__all__ = [
    "activate",
    "adapted",
    "attach",
    "check_name",
    "configs",
    "default_targets",
    "detach",
    "originals",
    "peft_config",
    "rolled_back",
    "weight_shapes",
]

_TARGETS = ("to_q", "to_k", "to_v", "to_out.0", "conv1", "conv2", "conv_shortcut", "proj_in", "proj_out", "conv")
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]*")


def adapted(model: nn.Module) -> dict[str, Any]:
    """Wrappers that hold adapters, by module name; found by their attribute, so that PEFT need not be imported."""
    return {name: module for name, module in model.named_modules() if hasattr(module, "merged_adapters")}


def originals(model: nn.Module) -> dict[str, nn.Module]:
    """All modules under the names they have without adapters."""
    wrappers = adapted(model)
    inside = tuple(name + "." for name in wrappers)
    outside = {name: module for name, module in model.named_modules() if not name.startswith(inside)}
    return outside | {name: wrapper.get_base_layer() for name, wrapper in wrappers.items()}


def weight_shapes(module: nn.Module, rank: int) -> tuple[tuple[int, ...], tuple[int, ...]] | None:
    """Shapes of ``lora_A`` and ``lora_B`` for a layer, or None if LoRA cannot act on it."""
    if isinstance(module, nn.Linear):
        return (rank, module.in_features), (module.out_features, rank)
    if isinstance(module, nn.Conv1d | nn.Conv2d) and module.groups == 1:
        kernel = tuple(module.kernel_size)
        return (rank, module.in_channels, *kernel), (module.out_channels, rank, *(1 for _ in kernel))
    return None


def configs(model: nn.Module) -> dict[str, LoraConfig]:
    """PEFT's configurations by adapter name; it keeps them on the model."""
    found: dict[str, LoraConfig] = getattr(model, "peft_config", {})
    return found


def peft_config(spec: LoraSpec) -> LoraConfig:
    """Return PEFT's configuration for inference: no dropout, whatever the training used."""
    from peft import LoraConfig

    return LoraConfig(
        r=spec.rank,
        lora_alpha=spec.alpha,
        target_modules=list(spec.targets),
        exclude_modules=list(spec.excluded) or None,
        rank_pattern=dict(spec.rank_pattern),
        alpha_pattern=dict(spec.alpha_pattern),
        use_rslora=spec.use_rslora,
        inference_mode=True,
    )


def check_name(model: nn.Module, name: str) -> None:
    """Refuse names that PEFT would take for something else.

    PEFT files weights under the adapter's name inside module names and filters by that name alone: an adapter called
    ``attn1`` makes it drop the weights of every ``attn1`` from all other adapters, and ``keys`` hides a method.

    Raises
    ------
    AdapterError
        If the name is taken or cannot be used.
    """
    if name in configs(model):
        raise AdapterError("a name that is not in use", repr(name), "remove the loaded adapter first")
    parts = {part for module in originals(model) for part in module.split(".")}
    if not _NAME.fullmatch(name) or name in parts or hasattr(nn.ModuleDict(), name):
        raise AdapterError("a name of letters, digits, - and _ that no layer or method has", repr(name), "rename it")


def attach(model: nn.Module, name: str, config: LoraConfig, tensors: Mapping[str, Tensor] | None = None) -> None:
    """Wrap the targeted layers and, if given, put the weights in.

    With weights, wrappers are created empty: no time and no random numbers are spent on values to be overwritten.
    """
    from peft import inject_adapter_in_model, set_peft_model_state_dict

    before = adapted(model).keys()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # "multiple adapters in the model": that is the purpose
        inject_adapter_in_model(config, model, adapter_name=name, low_cpu_mem_usage=tensors is not None)
    if tensors is not None:
        result = set_peft_model_state_dict(model, dict(tensors), adapter_name=name, low_cpu_mem_usage=True)
        left = [*result.unexpected_keys, *(key for key in result.missing_keys if f".{name}." in key)]
        if left:
            fix = "use it with the base that it was trained for, or write it again with 'stemprover plugins pack'"
            raise AdapterError("weights that PEFT can place", f"{len(left)} it cannot, first {left[0]}", fix)
    for module, layer in adapted(model).items():
        if module not in before:  # PEFT leaves new wrappers in training mode, which turns dropout on
            layer.train(layer.get_base_layer().training)
        if name in layer.lora_A:
            _check_finite(module, layer, name)


def _check_finite(module: str, layer: Any, name: str) -> None:
    """Weights that are finite on disk can overflow in the model's dtype."""
    for part in (layer.lora_A[name].weight, layer.lora_B[name].weight):
        if not torch.isfinite(part).all():
            raise AdapterError(f"weights that {part.dtype} can hold", f"an overflow in {module}", "use float32")


def activate(model: nn.Module, names: Sequence[str]) -> None:
    """Make these adapters act, in this order, without changing what is trainable (PEFT would)."""
    for layer in adapted(model).values():
        flags = [(parameter, parameter.requires_grad) for parameter in layer.parameters()]
        layer.set_adapter(list(names))
        for parameter, flag in flags:
            parameter.requires_grad_(flag)


def detach(model: nn.Module, name: str) -> None:
    """Delete an adapter everywhere; wrappers that are left empty give way to the original modules."""
    layers = adapted(model)
    active = next((list(layer.active_adapters) for layer in layers.values()), [])
    activate(model, [other for other in active if other != name])
    for path, layer in layers.items():
        layer.delete_adapter(name)
        if not layer.lora_A:
            parent, _, child = path.rpartition(".")
            setattr(model.get_submodule(parent), child, layer.get_base_layer())
    configs(model).pop(name, None)
    if not configs(model) and hasattr(model, "peft_config"):
        del model.peft_config


@contextlib.contextmanager
def rolled_back(model: nn.Module, name: str) -> Iterator[None]:
    """Keep active adapters and trainable parameters as they are; on an error leave no trace of the new adapter."""
    flags = [(parameter, parameter.requires_grad) for parameter in model.parameters()]
    active = next((list(layer.active_adapters) for layer in adapted(model).values()), [])
    try:
        yield
        for layer in adapted(model).values():
            layer.set_requires_grad(name, requires_grad=False)
    except BaseException:
        detach(model, name)
        raise
    finally:
        activate(model, active)
        for parameter, flag in flags:
            parameter.requires_grad_(flag)


def default_targets(model: nn.Module) -> list[str]:
    """Return the attention projections and convolutions of a model, as ``LoraConfig(target_modules=...)`` takes them.

    Raises
    ------
    AdapterError
        If the model has none of them.
    """
    names = [name for name, module in originals(model).items() if weight_shapes(module, 1)]
    found = [target for target in _TARGETS if any(name.endswith("." + target) for name in names)]
    if not found:
        raise AdapterError("attention or convolution layers", f"none in {type(model).__name__}", "name the targets")
    return found
