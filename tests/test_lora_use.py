"""Adapters in use: saving, loading, binding to a base, and what is refused."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
import torch
from lora_models import BASE, build, config, make_adapter, run, traces
from lora_models import adapter_folders as adapter_folders
from peft import LoraConfig, PeftModel, get_peft_model
from torch import nn

from stemprover.errors import AdapterError, BaseMismatchError
from stemprover.restoration import lora


def test_peft_reads_our_folder_and_we_read_pefts(folders: dict[str, Path], tmp_path: Path) -> None:
    ours = build("plain")
    lora.load_adapter(ours, folders["plain"], "x")
    lora.use_adapters(ours, {"x": 1.0})
    theirs = PeftModel.from_pretrained(build("plain"), folders["plain"]).eval()
    assert torch.equal(run(ours), run(theirs))
    model = build("plain")
    cfg = LoraConfig(r=4, lora_alpha=8, target_modules=["to_q", "conv1"], rank_pattern={"conv1": 2})
    cfg.init_lora_weights = False
    peft_model = get_peft_model(model, cfg).eval()
    peft_model.save_pretrained(tmp_path)
    lora.remove_adapter(ours, "x")
    assert lora.load_adapter(ours, tmp_path, "y").modules == 6
    lora.use_adapters(ours, {"y": 1.0})
    torch.testing.assert_close(run(ours), run(peft_model))


def test_equal_weights_give_equal_files(folders: dict[str, Path], tmp_path: Path) -> None:
    make_adapter(tmp_path)
    for path in sorted(folders["plain"].iterdir()):
        assert (tmp_path / path.name).read_bytes() == path.read_bytes()


def test_weights_that_overflow_in_the_models_dtype(tmp_path: Path) -> None:
    model = build("plain")
    lora.inject(model, "x", config(model, targets=["to_q"]))
    model.unet[0].to_q.lora_B["x"].weight.data.fill_(1e5)
    lora.save_adapter(model, tmp_path, "x", {})
    half = build("plain").half()
    before = traces(half)
    with pytest.raises(AdapterError, match=r"overflow in unet\.0\.to_q"):
        lora.load_adapter(half, tmp_path, "x")
    assert traces(half) == before


def test_a_failed_load_leaves_other_adapters_alone(folders: dict[str, Path], tmp_path: Path) -> None:
    model = build("plain")
    lora.load_adapter(model, folders["other"], "good")
    lora.use_adapters(model, {"good": 0.7})
    result, before = run(model), traces(model)
    with pytest.raises(AdapterError):
        lora.load_adapter(model, folders["diffusion"], "bad")
    with pytest.raises(BaseMismatchError):
        lora.load_adapter(model, folders["plain"], "bad", base_sha256="cd" * 32)
    assert torch.equal(run(model), result)
    assert traces(model) == before
    assert lora.loaded_adapters(model) == ("good",)


def test_base_binding(folders: dict[str, Path], tmp_path: Path) -> None:
    other = "cd" * 32

    def load(folder: Path, base: str | None, manifest: str | None) -> None:
        lora.load_adapter(build("plain"), folder, "x", base_sha256=base, expected_base_sha256=manifest)

    load(folders["plain"], BASE, None)
    load(folders["plain"], BASE, "sha256:" + BASE)
    with pytest.raises(BaseMismatchError, match=r"expected base cdcdcdcdcdcd, got an adapter for base abababababab"):
        load(folders["plain"], other, None)
    with pytest.raises(BaseMismatchError, match="name two"):
        load(folders["plain"], other, other)
    with pytest.raises(BaseMismatchError, match="known SHA-256"):
        load(folders["plain"], None, BASE)
    model = build("plain")
    lora.load_adapter(model, folders["plain"], "x")
    lora.save_adapter(model, tmp_path, "x", {})
    load(tmp_path, BASE, BASE)
    with pytest.raises(BaseMismatchError, match="names none"):
        load(tmp_path, BASE, None)


@pytest.mark.parametrize("name", ["", "a.b", "to_q", "unet", "0", "keys", "train", "a b", "../x"])
def test_names_that_peft_would_misread(name: str, folders: dict[str, Path]) -> None:
    model = build("plain")
    with pytest.raises(AdapterError):
        lora.load_adapter(model, folders["plain"], name)
    with pytest.raises(AdapterError):
        lora.inject(model, name, config(model))
    assert lora.loaded_adapters(model) == ()


def test_wrong_use(folders: dict[str, Path], tmp_path: Path) -> None:
    model = build("plain")
    lora.load_adapter(model, folders["plain"], "x")
    with pytest.raises(AdapterError, match="not in use"):
        lora.load_adapter(model, folders["other"], "x")
    with pytest.raises(AdapterError, match=r"a loaded adapter \(x\), got 'y'"):
        lora.use_adapters(model, {"x": 1.0, "y": 1.0})
    with pytest.raises(AdapterError, match="finite strength"):
        lora.use_adapters(model, {"x": float("nan")})
    with pytest.raises(AdapterError):
        lora.remove_adapter(model, "y")
    with pytest.raises(AdapterError):
        lora.save_adapter(model, tmp_path / "none", "y", {})
    with pytest.raises(AdapterError, match="targeted layer"):
        lora.inject(model, "z", config(model, targets=["nothing"]))
    with pytest.raises(AdapterError, match=r"norm \(GroupNorm\)"):
        lora.inject(model, "z", config(model, targets=["norm"]))
    with pytest.raises(AdapterError, match="plain LoRA"):
        lora.inject(model, "z", LoraConfig(r=2, target_modules=["to_q"], use_dora=True))
    with pytest.raises(AdapterError, match="unchanged base"):
        lora.inject(model, "z", LoraConfig(r=2, target_modules=["to_q"], init_lora_weights="pissa"))
    with pytest.raises(AdapterError, match="none in Linear"):
        lora.default_targets(nn.Linear(2, 2))
    assert lora.loaded_adapters(model) == ("x",)
    assert not (tmp_path / "none").exists()


def test_importing_the_loader_imports_neither_peft_nor_diffusers() -> None:
    code = "import sys, stemprover.restoration.lora; print({'peft', 'diffusers', 'transformers'} & set(sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "set()"


def test_default_targets_are_attention_and_convolutions() -> None:
    assert set(lora.default_targets(build("plain"))) == {"to_q", "to_out.0", "conv1"}
    targets = lora.default_targets(build("diffusion"))
    assert {"to_q", "to_k", "to_v", "to_out.0", "conv1", "conv2", "conv_shortcut", "proj_in", "proj_out"} <= {*targets}
