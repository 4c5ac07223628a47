"""Damaged, foreign and hostile adapter folders: one clear line each, and the model stays as it was."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from lora_models import build, make_adapter, run
from safetensors.torch import load_file, save_file

from stemprover.errors import AdapterError
from stemprover.restoration import lora
from stemprover.restoration.lora_file import CONFIG_FILE, WEIGHTS_FILE, read_adapter, write_adapter

FIRST = "base_model.model.controlnet.0.conv1.lora_A.weight"


@pytest.fixture(scope="module")
def sound(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_adapter(tmp_path_factory.mktemp("sound"))


@pytest.fixture
def folder(sound: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(sound, tmp_path / "adapter"))


def refused(folder: Path, words: str) -> None:
    """The loader refuses with these words in one line and leaves no trace in the model."""
    model = build("plain")
    base, names = run(model), list(model.state_dict())
    with pytest.raises(AdapterError, match=words) as caught:
        lora.load_adapter(model, folder, "bad")
    assert "\n" not in str(caught.value)
    assert list(model.state_dict()) == names
    assert not hasattr(model, "peft_config")
    assert torch.equal(run(model), base)


def edit(folder: Path, **changes: object) -> None:
    path = folder / CONFIG_FILE
    raw = json.loads(path.read_text())
    raw.update(changes)
    path.write_text(json.dumps({key: value for key, value in raw.items() if value != "absent"}))


def reweigh(folder: Path, change: Callable[[dict[str, torch.Tensor]], dict[str, torch.Tensor]]) -> None:
    path = folder / WEIGHTS_FILE
    save_file(change({key: value.clone() for key, value in load_file(path).items()}), path)


def test_reading_says_what_is_inside(sound: Path) -> None:
    file = read_adapter(sound)
    assert (file.spec.rank, file.spec.alpha) == (4, 8)
    assert file.modules[0] == "controlnet.0.conv1"
    assert len(file.modules) * 2 == len(file.tensors()) == 18
    assert file.metadata["base_sha256"] == "ab" * 32


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"r": "absent"}, "rank r, got None"),
        ({"r": 0}, "rank r, got 0"),
        ({"r": 4.0}, "rank r, got 4.0"),
        ({"r": True}, "rank r, got True"),
        ({"lora_alpha": "absent"}, "alpha lora_alpha, got None"),
        ({"lora_alpha": float("nan")}, "alpha lora_alpha, got nan"),
        ({"lora_alpha": 0}, "alpha lora_alpha, got 0"),
        ({"r": 2_000_000_000}, r"shape \(2000000000, 8, 3, 3\)"),
        ({"rank_pattern": {"to_q": 8}}, r"shape \(8, 8\) for unet.0.to_q.lora_A.weight, got \(4, 8\)"),
        ({"rank_pattern": {"(a+)+$": 8}}, "module names as keys"),
        ({"alpha_pattern": {"to_q": -1}}, "alpha to_q, got -1"),
        ({"target_modules": "absent"}, "a list of module names"),
        ({"target_modules": "(.*)+to_q"}, "a list of module names"),
        ({"target_modules": [1]}, "a list of module names"),
        ({"target_modules": ["to_q"]}, "targeted layers of this model only, got 12 others"),
        ({"exclude_modules": ["to_q"]}, "targeted layers of this model only, got 6 others"),
        ({"target_modules": ["to_q", "to_out.0", "conv1", "norm"]}, r"norm \(GroupNorm\)"),
        ({"peft_type": "LOHA"}, '"peft_type": "LORA"'),
        ({"use_dora": True}, "plain LoRA, got use_dora"),
        ({"bias": "all"}, "plain LoRA, got bias"),
        ({"modules_to_save": ["norm"]}, "plain LoRA, got modules_to_save"),
        ({"layer_replication": [[0, 2]]}, "plain LoRA, got layer_replication"),
        ({"a_later_invention": 1}, "plain LoRA, got a_later_invention"),
        ({"init_lora_weights": "pissa"}, "unchanged base"),
    ],
)
def test_configurations(folder: Path, changes: dict[str, object], words: str) -> None:
    edit(folder, **changes)
    refused(folder, words)


def test_alpha_may_differ_by_module(folder: Path) -> None:
    edit(folder, alpha_pattern={"to_q": 16.0}, a_later_invention=None)
    model = build("plain")
    lora.load_adapter(model, folder, "x")
    scaling = {name: m.scaling["x"] for name, m in model.named_modules() if hasattr(m, "scaling")}
    assert scaling["unet.0.to_q"] == 4.0
    assert scaling["unet.0.conv1"] == 2.0


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_weights_that_are_not_finite(folder: Path, value: float) -> None:
    def spoil(weights: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
        weights[FIRST].view(-1)[3] = value
        return weights

    reweigh(folder, spoil)
    refused(folder, "NaN or infinity in controlnet.0.conv1.lora_A.weight")


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda w: {k: v for k, v in w.items() if k != FIRST}, "every targeted layer, got 1 missing"),
        (lambda w: {k: v for k, v in w.items() if "controlnet" not in k}, "every targeted layer, got 6 missing"),
        (lambda w: {}, "LoRA weights, got none"),
        (lambda w: {k.replace(".unet.", ".net.").replace(".controlnet.", ".c."): v for k, v in w.items()}, "got none"),
        (lambda w: {k.removeprefix("base_model.model."): v for k, v in w.items()}, "convert_state_dict"),
        (lambda w: {k.replace("lora_A", "lora_magnitude_vector"): v for k, v in w.items()}, "lora_A and lora_B"),
        (lambda w: w | {FIRST.replace(".0.", ".9."): w[FIRST].clone()}, "only, got 1 others"),
        (lambda w: w | {FIRST: w[FIRST][:2].clone()}, r"shape \(4, 8, 3, 3\) for .*, got \(2, 8, 3, 3\)"),
        (lambda w: w | {FIRST: w[FIRST].to(torch.int8)}, "float weights, got I8"),
    ],
)
def test_weights_that_do_not_fit(
    folder: Path, change: Callable[[dict[str, torch.Tensor]], dict[str, torch.Tensor]], words: str
) -> None:
    reweigh(folder, change)
    refused(folder, words)


@pytest.mark.parametrize("suffix", [".bin", ".pt", ".PTH", ".ckpt", ".pkl"])
def test_pickles_are_never_opened(folder: Path, suffix: str) -> None:
    (folder / f"adapter_model{suffix}").write_bytes(b"not even a pickle")
    refused(folder, "safetensors weights only")
    (folder / WEIGHTS_FILE).unlink()
    refused(folder, "safetensors weights only")


def test_missing_and_damaged_files(folder: Path, tmp_path: Path) -> None:
    refused(tmp_path / "nowhere", "an adapter folder")
    weights = (folder / WEIGHTS_FILE).read_bytes()
    for blob in (weights[:-1], weights[:100], b"", b"\xff" * 64, weights + b"x"):
        (folder / WEIGHTS_FILE).write_bytes(blob)
        refused(folder, "whole safetensors file")
    (folder / WEIGHTS_FILE).unlink()
    refused(folder, "a file adapter_model.safetensors")
    (folder / WEIGHTS_FILE).write_bytes(weights)
    for text in ("", "{", "[]", "nul", '{"peft_type": ["LORA"]}', "[" * 100_000):
        (folder / CONFIG_FILE).write_text(text)
        refused(folder, "readable adapter_config.json|peft_type")
    (folder / CONFIG_FILE).write_bytes(b" " * 4_000_001)
    refused(folder, "small adapter_config.json")
    (folder / CONFIG_FILE).unlink()
    refused(folder, "holds rank and alpha")


def test_facts_are_written_into_the_header(sound: Path, tmp_path: Path) -> None:
    tensors = read_adapter(sound).tensors()
    config = json.loads((sound / CONFIG_FILE).read_text())
    write_adapter(tmp_path, config, tensors, {"artifact": "bleed/drums", "recipe": {"steps": 3}})
    metadata = read_adapter(tmp_path).metadata
    assert (metadata["artifact"], json.loads(metadata["recipe"])) == ("bleed/drums", {"steps": 3})


def test_writing_refuses_what_loading_would(tmp_path: Path) -> None:
    for tensors in ({}, {"unet.x.lora_A.weight": torch.tensor([float("nan")])}):
        with pytest.raises(AdapterError, match="nothing was saved"):
            write_adapter(tmp_path / "out", {"r": 1}, tensors, {})
    assert not (tmp_path / "out").exists()
