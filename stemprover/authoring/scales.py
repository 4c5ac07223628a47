"""How strong another trainer's adapter is: what its file's header says of alpha, per layer."""

from __future__ import annotations

import collections
import dataclasses
import json
from collections.abc import Mapping
from typing import Any

from torch import Tensor

from stemprover.errors import AdapterError
from stemprover.restoration.lora_file import PREFIX
from stemprover.restoration.lora_spec import LoraSpec, spec_from_config

__all__ = ["StatedAlphas", "stated_alphas"]

_DIFFUSERS = "lora_adapter_metadata"
_KOHYA, _KOHYA_ARGUMENTS = "ss_network_alpha", "ss_network_args"
_OTHER_SCALES = ("rs_lora", "use_rslora", "dora_wd", "use_dora")
"""Arguments of kohya's trainer and its extensions with which alpha means something else."""
_DOWN = (".lora_A.weight", ".lora.down.weight", ".lora_down.weight")


@dataclasses.dataclass(frozen=True, slots=True)
class StatedAlphas:
    """Alphas as in plain LoRA.

    Attributes
    ----------
    by_module : Mapping[str, float]
        Of the layers that a configuration in the header names.
    usual : float or None
        Of all others; ``None`` when the header does not say.
    """

    by_module: Mapping[str, float]
    usual: float | None


def stated_alphas(header: Mapping[str, str], tensors: Mapping[str, Tensor], source: str) -> StatedAlphas:
    """Read diffusers' PEFT configurations, one per model, or kohya's keys.

    ``alpha_pattern`` and ``use_rslora`` are turned into alphas of plain LoRA.

    Raises
    ------
    AdapterError
        The header cannot be read, contradicts itself, or asks for another kind of adapter, DoRA for example.
    """
    try:
        specs = _specs(json.loads(header.get(_DIFFUSERS, "{}")), source)
        found = {spec.alpha for spec in specs.values()}
        if _KOHYA in header:
            found.add(float(header[_KOHYA]))
        arguments = json.loads(header.get(_KOHYA_ARGUMENTS) or "{}") or {}
        strange = [key for key in _OTHER_SCALES if str(arguments.get(key, "")).lower() in ("true", "1")]
    except (ValueError, TypeError, AttributeError, RecursionError) as error:
        raise AdapterError("a readable header", f"{type(error).__name__}: {error}", "export the file again") from error
    if strange:
        raise AdapterError("plain LoRA", f"{strange[0]} in {source}", "export it as plain LoRA")
    by_module = {} if _KOHYA in header else _by_module(specs, tensors)
    left = any(_module(key) not in by_module for key in tensors if key.endswith(_DOWN))
    plain = all(not spec.alpha_pattern and not spec.use_rslora for spec in specs.values())
    if left and specs and (len(found) > 1 or not plain):
        what = f"several in the header of {source}, and layers that it does not name"
        raise AdapterError("one alpha for all layers", what, "convert it with PEFT first")
    if len(found) > 1 and _KOHYA in header:
        raise AdapterError("one alpha for all layers", f"{sorted(found)} in the header", "convert it with PEFT first")
    return StatedAlphas(by_module, next(iter(found)) if len(found) == 1 and plain else None)


def _specs(settings: Mapping[str, Any], source: str) -> dict[str, LoraSpec]:
    """Return what is said of each model: diffusers writes ``unet.lora_alpha`` and so on into one table."""
    configs: dict[str, dict[str, Any]] = collections.defaultdict(dict)
    for key, value in settings.items():
        model, _, setting = key.rpartition(".")
        configs[model][setting] = value
    # Ranks and targets are seen from the weights themselves.
    defaults = {"r": 1, "target_modules": []}
    said = {model: {**config, **defaults} for model, config in configs.items() if "lora_alpha" in config}
    for model in configs.keys() - said.keys():
        raise AdapterError(f"lora_alpha of {model or 'the adapter'} in {source}", "none", "export the file again")
    return {model: spec_from_config(config, source) for model, config in said.items()}


def _by_module(specs: Mapping[str, LoraSpec], tensors: Mapping[str, Tensor]) -> dict[str, float]:
    found: dict[str, float] = {}
    for key, tensor in tensors.items():
        if not key.endswith(_DOWN):
            continue
        module = _module(key)
        for model, spec in specs.items():
            if not model or module.startswith(f"{model}."):
                inside = module[len(model) + 1 :] if model else module
                found[module] = spec.plain_alpha_of(inside, tensor.shape[0])
    return found


def _module(key: str) -> str:
    key = key.removeprefix(PREFIX)
    return next((key.removesuffix(end) for end in _DOWN if key.endswith(end)), key)
