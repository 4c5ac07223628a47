"""Bring LoRA weights from other trainers into PEFT's layout.

Two layouts besides PEFT's are common: diffusers' (``unet.mid_block...to_q.lora_A.weight``, formerly
``lora.down``/``lora.up``), which holds no alpha, and kohya's (``lora_unet_mid_block_..._to_q.lora_down.weight``), where
dots became underscores and alpha may stand beside each pair. Alpha scales the whole effect, so it is never guessed.
"""

from __future__ import annotations

import collections
import re
from collections.abc import Mapping
from typing import Any

from torch import Tensor, nn

from stemprover.errors import AdapterError
from stemprover.restoration import lora_layers
from stemprover.restoration.lora_file import PREFIX

__all__ = ["convert_state_dict"]

_KEY = re.compile(r"(?P<module>.+?)\.(?:(?P<a>lora_A|lora\.down|lora_down)|(?P<b>lora_B|lora\.up|lora_up))\.weight")


def convert_state_dict(
    state: Mapping[str, Tensor],
    model: nn.Module,
    *,
    network_alphas: Mapping[str, float] | None = None,
    alpha: float | None = None,
) -> tuple[dict[str, Any], dict[str, Tensor]]:
    """Return configuration and weights as :func:`~stemprover.restoration.lora_file.write_adapter` takes them.

    Parameters
    ----------
    state : Mapping
        Weights in diffusers' or kohya's layout; for one model's file without the leading ``unet.``, add it first.
    model : Module
        The model that the adapter is for; it resolves kohya's names.
    network_alphas : Mapping, optional
        diffusers' alphas by module name (with or without ``.alpha``).
    alpha : float, optional
        The alpha of all modules that neither ``state`` nor ``network_alphas`` gives one.

    Raises
    ------
    AdapterError
        If a key is not understood, names no layer of the model, lacks its partner or lacks an alpha.
    """
    layers = lora_layers.originals(model)
    names = {**{_kohya(name): name for name in layers}, **{name: name for name in layers}}
    given = {**(network_alphas or {}), **{key: float(state[key]) for key in state if key.endswith(".alpha")}}
    alphas = {_resolve(key.removesuffix(".alpha"), names): value for key, value in given.items()}
    pairs: dict[str, dict[str, Tensor]] = collections.defaultdict(dict)
    for key, tensor in state.items():
        if key.endswith(".alpha"):
            continue
        match = _KEY.fullmatch(key.removeprefix(PREFIX))
        if match is None:
            raise AdapterError("lora_A/lora_B, lora.down/lora.up or lora_down/lora_up keys", key, "convert it first")
        pairs[_resolve(match["module"], names)]["A" if match["a"] else "B"] = tensor
    return _assembled(pairs, layers, alphas, alpha)


def _assembled(
    pairs: Mapping[str, Mapping[str, Tensor]],
    layers: Mapping[str, nn.Module],
    alphas: Mapping[str, float],
    default: float | None,
) -> tuple[dict[str, Any], dict[str, Tensor]]:
    tensors: dict[str, Tensor] = {}
    ranks: dict[str, int] = {}
    scales: dict[str, float] = {}
    for module, pair in sorted(pairs.items()):
        value = alphas.get(module, default)
        if len(pair) != 2 or value is None:
            lacking = "alpha" if len(pair) == 2 else "its partner"
            raise AdapterError("two matrices and an alpha per layer", f"{module} without {lacking}", "pass alpha")
        ranks[module], scales[module] = pair["A"].shape[0], value
        for side, tensor in pair.items():
            tensors[f"{module}.lora_{side}.weight"] = _as_layer(tensor, layers[module])
    if not ranks:
        raise AdapterError("LoRA weights", "none", "check the file")
    rank, usual = (collections.Counter(values.values()).most_common(1)[0][0] for values in (ranks, scales))
    config = {
        "r": int(rank),
        "lora_alpha": usual,
        "target_modules": sorted(ranks),
        "rank_pattern": {"^" + re.escape(name): value for name, value in ranks.items() if value != rank},
        "alpha_pattern": {"^" + re.escape(name): value for name, value in scales.items() if value != usual},
    }
    return config, tensors


def _kohya(name: str) -> str:
    return "lora_" + name.replace(".", "_")


def _resolve(name: str, names: Mapping[str, str]) -> str:
    if name not in names:
        raise AdapterError("layers of this model", name, "use the adapter with the model that it was trained for")
    return names[name]


def _as_layer(tensor: Tensor, layer: nn.Module) -> Tensor:
    """Files made from another version of a model may hold a linear layer as 1x1 convolution; the numbers are equal."""
    if isinstance(layer, nn.Linear) and tensor.ndim == 4 and tensor.shape[2:] == (1, 1):
        return tensor[:, :, 0, 0]
    return tensor
