"""Adapter folders to start from: an untrained one, or one that another trainer wrote."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from safetensors import SafetensorError, safe_open
from torch import Tensor

from stemprover.authoring.scales import stated_alphas
from stemprover.errors import AdapterError
from stemprover.plugins import BaseIdentity, base_identity, folder_sha256

__all__ = ["base_in", "import_adapter", "new_adapter"]

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
    stated = stated_alphas(header, tensors, file.name)
    known = {*stated.by_module.values(), *([] if stated.usual is None else [stated.usual])}
    other = sorted(known - {alpha})
    if alpha is not None and other:
        listed = ", ".join(f"{value:g}" for value in other)
        raise AdapterError(f"the alpha that {file} states, {listed}", f"{alpha:g}", "leave --alpha out")
    config, weights = convert_state_dict(
        tensors, load_base(base), network_alphas=stated.by_module, alpha=stated.usual if alpha is None else alpha
    )
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
