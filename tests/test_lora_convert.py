"""Weights from diffusers and kohya trainers come in with the right scale, or not at all."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from lora_models import build, make_adapter, run
from safetensors.torch import load_file
from torch import Tensor, nn

from stemprover.errors import AdapterError
from stemprover.restoration import lora
from stemprover.restoration.lora_convert import convert_state_dict
from stemprover.restoration.lora_file import PREFIX, WEIGHTS_FILE, write_adapter


@pytest.fixture(scope="module")
def original(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_adapter(tmp_path_factory.mktemp("original"), kind="diffusion", alpha=2)


@pytest.fixture(scope="module")
def weights(original: Path) -> dict[str, Tensor]:
    return {key.removeprefix(PREFIX): value for key, value in load_file(original / WEIGHTS_FILE).items()}


def result(folder: Path) -> Tensor:
    model = build("diffusion")
    lora.load_adapter(model, folder, "x")
    lora.use_adapters(model, {"x": 1.0})
    return run(model)


def kohya(weights: dict[str, Tensor], alpha: float) -> dict[str, Tensor]:
    out: dict[str, Tensor] = {}
    for key, value in weights.items():
        module, _, side = key.removesuffix(".weight").rpartition(".")
        flat = "lora_" + module.replace(".", "_")
        out[f"{flat}.lora_{'down' if side == 'lora_A' else 'up'}.weight"] = value
        out[f"{flat}.alpha"] = torch.tensor(alpha)
    return out


def test_every_layout_gives_the_same_adapter(original: Path, weights: dict[str, Tensor], tmp_path: Path) -> None:
    expected = result(original)
    model = build("diffusion")
    old = {k.replace("lora_A", "lora.down").replace("lora_B", "lora.up"): v for k, v in weights.items()}
    alphas = {key.split(".lora_")[0] + ".alpha": 2.0 for key in weights}
    linear = {k: v[..., None, None] if v.ndim == 2 and "to_q" in k else v for k, v in kohya(weights, 2.0).items()}
    converted = {
        "peft": convert_state_dict({PREFIX + k: v for k, v in weights.items()}, model, alpha=2.0),
        "diffusers": convert_state_dict(weights, model, network_alphas=alphas),
        "old": convert_state_dict(old, model, alpha=2.0),
        "kohya": convert_state_dict(kohya(weights, 2.0), model),
        "kohya with 1x1 convolutions": convert_state_dict(linear, model),
    }
    for name, (config, tensors) in converted.items():
        write_adapter(tmp_path / name, config, tensors, {})
        assert torch.equal(result(tmp_path / name), expected), name


def test_ranks_and_alphas_may_differ_by_layer(tmp_path: Path) -> None:
    torch.manual_seed(3)
    base = build("plain")
    layers = {"unet.0.to_q": (1, 3.0), "unet.1.to_q": (2, 5.0), "controlnet.0.to_q": (2, 3.0)}
    state, reference = {}, build("plain")
    for name, (rank, alpha) in layers.items():
        a, b = torch.randn(rank, 8), torch.randn(8, rank)
        flat = "lora_" + name.replace(".", "_")
        state |= {f"{flat}.lora_down.weight": a, f"{flat}.lora_up.weight": b, f"{flat}.alpha": torch.tensor(alpha)}
        layer = reference.get_submodule(name)
        assert isinstance(layer, nn.Linear)
        layer.weight.data += alpha / rank * b @ a
    config, tensors = convert_state_dict(state, base)
    write_adapter(tmp_path, config, tensors, {})
    lora.load_adapter(base, tmp_path, "x")
    lora.use_adapters(base, {"x": 1.0})
    torch.testing.assert_close(run(base), run(reference), rtol=1e-4, atol=1e-4)


def test_what_cannot_be_understood_is_refused(weights: dict[str, Tensor]) -> None:
    model = build("diffusion")
    first = next(iter(weights))
    cases: list[tuple[dict[str, Tensor], str]] = [
        ({}, "LoRA weights, got none"),
        ({"unet.conv_in.weight": torch.zeros(1)}, "keys, got unet.conv_in.weight"),
        ({first.replace("controlnet", "net"): weights[first]}, "layers of this model"),
        ({"lora_te_text_model_q.lora_down.weight": torch.zeros(1, 1)}, "layers of this model, got lora_te"),
        ({first: weights[first]}, "without its partner"),
    ]
    for state, words in cases:
        with pytest.raises(AdapterError, match=words):
            convert_state_dict(state, model, alpha=1.0)
    with pytest.raises(AdapterError, match="without alpha"):
        convert_state_dict(weights, model)
