"""Adapter folders to start from: an untrained one, or one that another trainer wrote."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from safetensors import SafetensorError, safe_open
from torch import Tensor

from stemprover.errors import AdapterError
from stemprover.plugins import BaseIdentity, base_identity, folder_sha256

__all__ = ["base_in", "import_adapter", "new_adapter"]

_DIFFUSERS_CONFIG = "lora_adapter_metadata"
_PICKLES = frozenset({".bin", ".ckpt", ".pickle", ".pkl", ".pt", ".pth"})


def base_in(folder: Path | None) -> BaseIdentity:
    """Return the identity of a base: the embedded one, what a folder's ``base.json`` says, or the folder's hash."""
    if folder is None:
        return base_identity()
    if (folder / "base.json").is_file():
        return base_identity(folder / "base.json")
    return BaseIdentity(folder.name, folder_sha256(folder))


def new_adapter(folder: Path, artifact: str, rank: int = 4, base: Path | None = None) -> Path:
    """Write an untrained adapter: its effect is zero, so that the base with it is the base.

    Raises
    ------
    ModelError
        The base cannot be loaded.
    """
    import torch
    from peft import LoraConfig

    from stemprover.restoration.lora import default_targets, inject, save_adapter
    from stemprover.restoration.weights import load_base

    model = load_base(base)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)  # two projects of one name are equal to the last bit
        inject(model, "new", LoraConfig(r=rank, lora_alpha=float(rank), target_modules=default_targets(model)))
    save_adapter(model, folder, "new", {"artifact": artifact, "base_sha256": base_in(base).sha256})
    return folder


def import_adapter(file: Path, folder: Path, *, alpha: float | None = None, base: Path | None = None) -> Path:
    """Write a PEFT folder from a LoRA file of diffusers' or kohya's layout.

    Parameters
    ----------
    file : Path
        A ``.safetensors`` file, for example ``pytorch_lora_weights.safetensors``.
    alpha : float, optional
        For layers whose alpha is neither among the weights nor in the file's header.
    base : Path, optional
        Folder of the base that the adapter was trained for; the embedded one by default.

    Raises
    ------
    AdapterError
        The file cannot be read, does not fit the base, or leaves an alpha open: it is never guessed.
    """
    from stemprover.restoration.lora_convert import convert_state_dict
    from stemprover.restoration.lora_file import write_adapter
    from stemprover.restoration.weights import load_base

    tensors, header = _read(file)
    stated = _stated_alpha(header)
    if alpha is not None and stated is not None and alpha != stated:
        raise AdapterError(f"the alpha that {file} states, {stated:g}", f"{alpha:g}", "leave --alpha out")
    config, weights = convert_state_dict(tensors, load_base(base), alpha=stated if alpha is None else alpha)
    write_adapter(folder, config, weights, {"base_sha256": base_in(base).sha256, "imported_from": file.name})
    return folder


def _read(file: Path) -> tuple[dict[str, Tensor], Mapping[str, str]]:
    if file.suffix.lower() in _PICKLES:
        raise AdapterError("a safetensors file", f"{file}, a pickle", "convert it to safetensors; pickles run code")
    try:
        with safe_open(file, framework="pt") as opened:
            return {key: opened.get_tensor(key) for key in opened.keys()}, dict(opened.metadata() or {})  # noqa: SIM118
    except (SafetensorError, OSError) as error:
        raise AdapterError("a whole safetensors file", f"{file} ({error})", "download it again") from error


def _stated_alpha(header: Mapping[str, str]) -> float | None:
    """Return the alpha of all layers as the file's header states it: diffusers' PEFT configurations, or kohya's key."""
    found: set[float] = set()
    try:
        config: dict[str, Any] = json.loads(header.get(_DIFFUSERS_CONFIG, "{}"))
        found = {float(value) for key, value in config.items() if key.split(".")[-1] == "lora_alpha"}
        if "ss_network_alpha" in header:
            found.add(float(header["ss_network_alpha"]))
    except (ValueError, TypeError, AttributeError) as error:
        raise AdapterError("a readable header", f"{type(error).__name__}: {error}", "export the file again") from error
    if len(found) > 1:
        raise AdapterError("one alpha for all layers", f"{sorted(found)} in the header", "convert it with PEFT first")
    return next(iter(found), None)
