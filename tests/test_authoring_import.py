"""Adapters of other trainers come in with the scale they were trained with, or not at all."""

from __future__ import annotations

import json
import math
from pathlib import Path

import pytest
from adapter_site import trained_adapter as trained_adapter
from authoring_site import errors
from safetensors.torch import load_file, save_file
from torch import Tensor

from stemprover.authoring import Project, import_adapter, pack_project
from stemprover.errors import AdapterError
from stemprover.restoration.lora_file import PREFIX, WEIGHTS_FILE
from stemprover.restoration.lora_spec import spec_from_config


def renamed(weights: dict[str, Tensor], layout: str, alpha: float) -> tuple[dict[str, Tensor], dict[str, str]]:
    """Return PEFT weights as another trainer would have written them, and its file's header."""
    plain = {key.removeprefix(PREFIX): value for key, value in weights.items()}
    if layout == "diffusers":
        configs = {f"{part}.lora_alpha": alpha for part in ("unet", "controlnet")}
        return plain, {"lora_adapter_metadata": json.dumps(configs)}
    if layout == "old diffusers":
        return {key.replace("lora_A", "lora.down").replace("lora_B", "lora.up"): v for key, v in plain.items()}, {}
    flat = {}
    for key, value in plain.items():
        module, _, side = key.removesuffix(".weight").rpartition(".")
        flat[f"lora_{module.replace('.', '_')}.lora_{'down' if side == 'lora_A' else 'up'}.weight"] = value
    return flat, {"ss_network_alpha": str(alpha)}


@pytest.mark.parametrize("layout", ["diffusers", "old diffusers", "kohya"])
def test_files_of_other_trainers_come_in_with_their_alpha(trained: Path, tmp_path: Path, layout: str) -> None:
    weights = load_file(trained / WEIGHTS_FILE)
    tensors, header = renamed(weights, layout, 2.0)
    save_file(tensors, tmp_path / "foreign.safetensors", header)
    alpha = None if header else 2.0
    if alpha is not None:
        with pytest.raises(AdapterError, match="without alpha"):
            import_adapter(tmp_path / "foreign.safetensors", tmp_path / "never")
    folder = import_adapter(tmp_path / "foreign.safetensors", tmp_path / "imported", alpha=alpha)
    assert {k: v.tolist() for k, v in load_file(folder / WEIGHTS_FILE).items()} == {
        k: v.tolist() for k, v in weights.items()
    }
    assert json.loads((folder / "adapter_config.json").read_text())["lora_alpha"] == 2.0
    assert errors(pack_project(Project("lora", "foreign", artifacts=("bleed",)), folder, tmp_path)) == ""


def imported_scales(trained: Path, tmp_path: Path, settings: dict[str, object]) -> dict[str, float]:
    """Import a file of diffusers' with these settings; returns the scale of every layer as PEFT computes it."""
    plain, _ = renamed(load_file(trained / WEIGHTS_FILE), "diffusers", 2.0)
    save_file(plain, tmp_path / "foreign.safetensors", {"lora_adapter_metadata": json.dumps(settings)})
    folder = import_adapter(tmp_path / "foreign.safetensors", tmp_path / "imported")
    spec = spec_from_config(json.loads((folder / "adapter_config.json").read_text()), "the import")
    ranks = {key.rpartition(".lora_A")[0]: value.shape[0] for key, value in plain.items() if ".lora_A." in key}
    assert not spec.use_rslora
    return {module: spec.plain_alpha_of(module, rank) / rank for module, rank in ranks.items()}


def test_each_model_of_a_diffusers_file_keeps_its_alpha(trained: Path, tmp_path: Path) -> None:
    scales = imported_scales(trained, tmp_path, {"unet.lora_alpha": 2, "controlnet.lora_alpha": 4})
    rank = json.loads((trained / "adapter_config.json").read_text())["r"]
    assert {scale for module, scale in scales.items() if module.startswith("unet.")} == {2 / rank}
    assert {scale for module, scale in scales.items() if module.startswith("controlnet.")} == {4 / rank}


def test_alpha_patterns_and_rank_stabilised_scales_are_kept(trained: Path, tmp_path: Path) -> None:
    settings = {f"{part}.lora_alpha": 2 for part in ("unet", "controlnet")}
    pattern = {"unet.alpha_pattern": {"to_q": 8.0}}
    scales = imported_scales(trained, tmp_path, {**settings, **pattern, "controlnet.use_rslora": True})
    rank = json.loads((trained / "adapter_config.json").read_text())["r"]
    assert any(module.endswith("to_q") and module.startswith("unet.") for module in scales)
    for module, scale in scales.items():
        expected = 2 / math.sqrt(rank) if module.startswith("controlnet.") else 2 / rank
        if module.startswith("unet.") and module.endswith(".to_q"):
            expected = 8 / rank
        assert scale == pytest.approx(expected), module


@pytest.mark.parametrize(
    ("header", "reason"),
    [
        ({"lora_adapter_metadata": json.dumps({"unet.lora_alpha": 2, "unet.use_dora": True})}, "plain LoRA.*use_dora"),
        ({"lora_adapter_metadata": json.dumps({"unet.r": 2})}, "lora_alpha of unet"),
        ({"lora_adapter_metadata": json.dumps({"unet.lora_alpha": "much"})}, "a number above 0 as alpha"),
        ({"lora_adapter_metadata": "[1]"}, "a readable header"),
        ({"ss_network_alpha": "2", "ss_network_args": json.dumps({"dora_wd": "True"})}, "plain LoRA.*dora_wd"),
        ({"ss_network_alpha": "2", "ss_network_args": json.dumps({"rs_lora": True})}, "plain LoRA.*rs_lora"),
    ],
)
def test_scales_that_cannot_be_kept_are_refused(
    trained: Path, tmp_path: Path, header: dict[str, str], reason: str
) -> None:
    plain, _ = renamed(load_file(trained / WEIGHTS_FILE), "diffusers", 2.0)
    save_file(plain, tmp_path / "foreign.safetensors", header)
    with pytest.raises(AdapterError, match=reason):
        import_adapter(tmp_path / "foreign.safetensors", tmp_path / "out")


def test_imports_that_cannot_be_trusted_are_refused(trained: Path, tmp_path: Path) -> None:
    tensors, header = renamed(load_file(trained / WEIGHTS_FILE), "kohya", 2.0)
    save_file(tensors, tmp_path / "kohya.safetensors", header)
    with pytest.raises(AdapterError, match="states, 2, got 3"):
        import_adapter(tmp_path / "kohya.safetensors", tmp_path / "out", alpha=3.0)
    two = {"lora_adapter_metadata": json.dumps({"unet.lora_alpha": 2, "controlnet.lora_alpha": 4})}
    save_file(tensors, tmp_path / "two.safetensors", two)
    with pytest.raises(AdapterError, match="one alpha for all layers"):
        import_adapter(tmp_path / "two.safetensors", tmp_path / "out")
    (tmp_path / "weights.ckpt").write_bytes(b"\x80\x04")
    with pytest.raises(AdapterError, match="pickles run code"):
        import_adapter(tmp_path / "weights.ckpt", tmp_path / "out")
    (tmp_path / "cut.safetensors").write_bytes((tmp_path / "kohya.safetensors").read_bytes()[:5000])
    with pytest.raises(AdapterError, match="a whole safetensors file"):
        import_adapter(tmp_path / "cut.safetensors", tmp_path / "out")
    assert not (tmp_path / "out").exists()
