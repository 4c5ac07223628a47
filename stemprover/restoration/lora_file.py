"""Adapter folders: read and check them without a model, and write them.

An adapter folder has PEFT's layout, ``adapter_config.json`` and ``adapter_model.safetensors`` with keys such as
``base_model.model.unet.mid_block.resnets.0.conv1.lora_A.weight``.
"""

from __future__ import annotations

import dataclasses
import json
import types
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor

from stemprover.errors import AdapterError
from stemprover.restoration.lora_spec import LoraSpec, spec_from_config

__all__ = ["CONFIG_FILE", "PREFIX", "WEIGHTS_FILE", "AdapterFile", "read_adapter", "write_adapter"]

CONFIG_FILE = "adapter_config.json"
WEIGHTS_FILE = "adapter_model.safetensors"
PREFIX = "base_model.model."

_PICKLES = frozenset({".bin", ".ckpt", ".pickle", ".pkl", ".pt", ".pth"})
_MAX_CONFIG_BYTES = 4_000_000


@dataclasses.dataclass(frozen=True)
class AdapterFile:
    """An adapter folder whose configuration and weight names were checked; weights are read by :meth:`tensors`."""

    folder: Path
    spec: LoraSpec
    shapes: Mapping[str, tuple[int, ...]]
    metadata: Mapping[str, str]

    @property
    def modules(self) -> tuple[str, ...]:
        """Full names of the modules that have weights, sorted."""
        return tuple(sorted({name.rpartition(".lora_")[0] for name in self.shapes}))

    def tensors(self) -> dict[str, Tensor]:
        """Read all weights, keyed without PEFT's prefix.

        Raises
        ------
        AdapterError
            If a weight is NaN or infinite.
        """
        with _opened(self.folder / WEIGHTS_FILE) as file:
            loaded = {name: file.get_tensor(PREFIX + name) for name in self.shapes}
        for name, tensor in loaded.items():
            if not torch.isfinite(tensor).all():
                raise AdapterError(
                    "finite weights", f"NaN or infinity in {name} of {self.folder}", "train or download it again"
                )
        return loaded


def read_adapter(folder: Path) -> AdapterFile:
    """Read an adapter folder's configuration and the names and shapes of its weights.

    Raises
    ------
    AdapterError
        If a file is missing, damaged, pickled or asks for more than plain LoRA.
    """
    if not folder.is_dir():
        raise AdapterError("an adapter folder", f"{folder}, which is none", "check the path")
    pickles = sorted(path.name for path in folder.iterdir() if path.suffix.lower() in _PICKLES)
    if pickles:
        raise AdapterError(
            "safetensors weights only", f"{pickles[0]} in {folder}", "convert it to safetensors; pickles run code"
        )
    spec = _parse_config(folder / CONFIG_FILE)
    with _opened(folder / WEIGHTS_FILE) as file:
        metadata = types.MappingProxyType(dict(file.metadata() or {}))
        shapes = dict(_named_shapes(file, folder))
    if not shapes:
        raise AdapterError("LoRA weights", f"none in {folder / WEIGHTS_FILE}", "train or download it again")
    return AdapterFile(folder, spec, types.MappingProxyType(shapes), metadata)


def write_adapter(
    folder: Path, config: Mapping[str, Any], tensors: Mapping[str, Tensor], metadata: Mapping[str, object]
) -> None:
    """Write an adapter folder; each file is replaced in one step.

    Parameters
    ----------
    config : Mapping
        ``LoraConfig.to_dict()``.
    tensors : Mapping
        Weights by module name, without PEFT's prefix.
    metadata : Mapping
        Goes into the header of the weights file, for example ``base_sha256``; what is not text becomes JSON.

    Raises
    ------
    AdapterError
        If there are no weights or one of them is NaN or infinite.
    """
    broken = [name for name, tensor in tensors.items() if not torch.isfinite(tensor).all()]
    if broken or not tensors:
        raise AdapterError("finite weights", broken[0] if broken else "no weights", "nothing was saved; train it again")
    folder.mkdir(parents=True, exist_ok=True)
    plain = {key: sorted(value) if isinstance(value, set) else value for key, value in config.items()}
    plain |= {"peft_type": "LORA", "inference_mode": True}
    weights = {PREFIX + name: tensors[name].detach().cpu().contiguous() for name in sorted(tensors)}
    draft = folder / (WEIGHTS_FILE + ".part")
    texts = {key: value if isinstance(value, str) else json.dumps(value) for key, value in metadata.items()}
    draft.write_bytes(_sorted_header(save(weights, metadata={"format": "pt", **texts})))
    draft.replace(folder / WEIGHTS_FILE)
    draft = folder / (CONFIG_FILE + ".part")
    draft.write_text(json.dumps(plain, indent=2, sort_keys=True) + "\n", encoding="utf-8")
    draft.replace(folder / CONFIG_FILE)


def _sorted_header(blob: bytes) -> bytes:
    """Rewrite a safetensors header in sorted order: the library's order of metadata is random, our hashes are not."""
    size = int.from_bytes(blob[:8], "little")
    header = json.dumps(json.loads(blob[8 : 8 + size]), sort_keys=True, separators=(",", ":")).encode()
    header += b" " * (-len(header) % 8)
    return len(header).to_bytes(8, "little") + header + blob[8 + size :]


def _opened(path: Path) -> Any:
    """Open a safetensors file; its header is checked against its length, so a truncated file fails here."""
    try:
        return safe_open(path, framework="pt")
    except FileNotFoundError:
        raise AdapterError(f"a file {WEIGHTS_FILE}", f"none in {path.parent}", "train or download it again") from None
    except (SafetensorError, OSError) as error:
        raise AdapterError("a whole safetensors file", f"{path} ({error})", "download it again") from error


def _named_shapes(file: Any, folder: Path) -> Iterator[tuple[str, tuple[int, ...]]]:
    """Yield name (without prefix) and shape of every weight, from the header alone."""
    for key in sorted(file.keys()):
        if not key.startswith(PREFIX):
            raise AdapterError(
                f"keys that start with {PREFIX}", f"{key} in {folder}", "bring other layouts in by convert_state_dict"
            )
        if not key.endswith((".lora_A.weight", ".lora_B.weight")):
            raise AdapterError("lora_A and lora_B weights only", f"{key} in {folder}", "export it as plain LoRA")
        part = file.get_slice(key)
        if part.get_dtype() not in {"F32", "F16", "BF16"}:
            raise AdapterError("float weights", f"{part.get_dtype()} in {key} of {folder}", "export it as float32")
        yield key.removeprefix(PREFIX), tuple(part.get_shape())


def _parse_config(path: Path) -> LoraSpec:
    try:
        if path.stat().st_size > _MAX_CONFIG_BYTES:
            raise AdapterError("a small adapter_config.json", f"{path.stat().st_size} bytes", "download it again")
        raw = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise AdapterError(
            f"a file {CONFIG_FILE}, which holds rank and alpha", f"none in {path.parent}", "download the whole adapter"
        ) from None
    except (OSError, ValueError, RecursionError) as error:
        raise AdapterError("a readable adapter_config.json", f"{path} ({error})", "download it again") from error
    if not isinstance(raw, dict) or raw.get("peft_type") != "LORA":
        raise AdapterError('an object with "peft_type": "LORA"', f"something else in {path}", "use a LoRA adapter")
    return spec_from_config(raw, str(path))
