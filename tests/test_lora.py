"""Adapters act, combine, fuse and leave as promised, on plain and on Stable Diffusion 1.5-shaped models."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
import torch
from lora_models import BASE, build, config, make_adapter, noise, run
from peft import LoraConfig, PeftModel, get_peft_model
from safetensors.torch import load_file
from torch import nn

from stemprover.errors import AdapterError, BaseMismatchError
from stemprover.restoration import lora


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    root = tmp_path_factory.mktemp("adapters")
    return {
        "plain": make_adapter(root / "plain"),
        "other": make_adapter(root / "other", seed=1, rank=2, alpha=3, targets=["conv1"]),
        "diffusion": make_adapter(root / "diffusion", kind="diffusion"),
    }


def traces(model: nn.Module) -> tuple[list[str], list[bool], bool]:
    return list(model.state_dict()), [p.requires_grad for p in model.parameters()], hasattr(model, "peft_config")


@pytest.mark.parametrize("kind", ["plain", "diffusion"])
def test_round_trip_strength_and_removal(kind: str, folders: dict[str, Path]) -> None:
    model = build(kind)
    base, before = run(model), traces(model)
    info = lora.load_adapter(model, folders[kind], "drumbleed", base_sha256=BASE)
    assert (info.name, info.rank, info.alpha, info.touches_controlnet) == ("drumbleed", 4, 8, True)
    assert info.modules == len(load_file(folders[kind] / "adapter_model.safetensors")) // 2
    assert torch.equal(run(model), base), "loading must not activate"
    lora.use_adapters(model, {"drumbleed": 1.0})
    full = run(model)
    assert (full - base).abs().max() > 1e-3
    for off in ({"drumbleed": 0.0}, {}):
        lora.use_adapters(model, off)
        assert torch.equal(run(model), base)
    lora.use_adapters(model, {"drumbleed": 0.5})
    assert not torch.equal(run(model), full)
    lora.use_adapters(model, {"drumbleed": 1.0})
    assert torch.equal(run(model), full)
    lora.remove_adapter(model, "drumbleed")
    assert torch.equal(run(model), base)
    assert traces(model) == before


def test_delta_is_alpha_over_rank_times_b_a(tmp_path: Path) -> None:
    model = build("plain")
    folder = make_adapter(tmp_path, rank=2, alpha=6, targets=["unet.0.to_q"])
    weights = load_file(folder / "adapter_model.safetensors")
    a, b = (weights[f"base_model.model.unet.0.to_q.lora_{side}.weight"] for side in "AB")
    reference = build("plain")
    with torch.no_grad():
        reference.unet[0].to_q.weight += 0.7 * 6 / 2 * b @ a
    info = lora.load_adapter(model, folder, "x")
    lora.use_adapters(model, {"x": 0.7})
    assert (info.modules, info.touches_controlnet) == (1, False)
    torch.testing.assert_close(run(model), run(reference))


def test_several_adapters_compose_in_any_order(folders: dict[str, Path]) -> None:
    model = build("plain")
    lora.load_adapter(model, folders["plain"], "b")
    lora.load_adapter(model, folders["other"], "a")
    results = {}
    for scales in ({"a": 1.0}, {"b": 0.5}, {"a": 1.0, "b": 0.5}, {"b": 0.5, "a": 1.0}):
        lora.use_adapters(model, scales)
        results[tuple(scales)] = run(model)
    assert torch.equal(results["a", "b"], results["b", "a"])
    assert not torch.equal(results["a", "b"], results["a",])
    fresh = build("plain")
    lora.load_adapter(fresh, folders["other"], "a")
    lora.load_adapter(fresh, folders["plain"], "b")
    lora.use_adapters(fresh, {"a": 1.0, "b": 0.5})
    assert torch.equal(run(fresh), results["a", "b"]), "the order of loading must not matter"
    lora.remove_adapter(model, "b")
    assert lora.loaded_adapters(model) == ("a",)
    assert torch.equal(run(model), results["a",])


def test_batch_does_not_change_the_result(folders: dict[str, Path]) -> None:
    model = build("plain")
    lora.load_adapter(model, folders["plain"], "x")
    lora.use_adapters(model, {"x": 1.0})
    x = torch.cat([noise(1), noise(2)])
    torch.testing.assert_close(run(model, x)[2:], run(model, noise(2)))


@pytest.mark.parametrize("kind", ["plain", "diffusion"])
def test_fusing_gives_the_same_sound_and_is_undone_exactly(kind: str, folders: dict[str, Path]) -> None:
    model = build(kind)
    base = run(model)
    lora.load_adapter(model, folders[kind], "x")
    lora.use_adapters(model, {"x": 0.6})
    stacked = run(model)
    fused = lora.merge(model, {"x": 0.6})
    torch.testing.assert_close(run(model), stacked, rtol=1e-4, atol=1e-4)
    for forbidden in (
        lambda: lora.use_adapters(model, {}),
        lambda: lora.remove_adapter(model, "x"),
        lambda: lora.merge(model, {"x": 1.0}),
        lambda: lora.load_adapter(model, folders[kind], "y"),
    ):
        with pytest.raises(AdapterError, match="unmerge"):
            forbidden()
    lora.unmerge(model, fused)
    assert torch.equal(run(model), stacked)
    lora.use_adapters(model, {})
    assert torch.equal(run(model), base)


def test_fusing_that_overflows_is_undone(folders: dict[str, Path]) -> None:
    model = build("plain").half()
    weights = [p.clone() for p in model.parameters()]
    lora.load_adapter(model, folders["plain"], "x")
    with pytest.raises(AdapterError, match="finite fused weights"):
        lora.merge(model, {"x": 1e6})
    lora.remove_adapter(model, "x")
    assert all(torch.equal(a, b) for a, b in zip(weights, model.parameters(), strict=True))


def test_training_changes_only_the_adapter_and_survives_saving(tmp_path: Path) -> None:
    model = build("plain")
    base = run(model)
    frozen = {name: p.clone() for name, p in model.named_parameters()}
    lora.inject(model, "new", config(model))
    assert torch.equal(run(model), base), "a new adapter has no effect"
    trainable = [p for p in model.parameters() if p.requires_grad]
    assert len(trainable) == 2 * 9
    optimiser = torch.optim.SGD(trainable, lr=0.5)
    for _ in range(2):  # lora_A moves only once lora_B is no longer zero
        optimiser.zero_grad()
        model(noise()).square().mean().backward()
        optimiser.step()
    trained = run(model)
    assert trained.square().mean() < base.square().mean()
    lora.save_adapter(model, tmp_path, "new", {"base_sha256": BASE, "spectral_spec": "sha256:1"})
    lora.remove_adapter(model, "new")
    assert all(torch.equal(frozen[name], p) for name, p in model.named_parameters())
    lora.load_adapter(model, tmp_path, "again", base_sha256="sha256:" + BASE.upper(), expected_base_sha256=BASE)
    lora.use_adapters(model, {"again": 1.0})
    torch.testing.assert_close(run(model), trained)  # torch rounds differently where gradients may be wanted


def test_evaluating_the_base_during_training_keeps_gradients() -> None:
    model = build("plain")
    lora.inject(model, "new", config(model))
    lora.use_adapters(model, {})
    lora.use_adapters(model, {"new": 1.0})
    assert sum(p.requires_grad for p in model.parameters()) == 18


def test_training_beside_a_loaded_adapter(folders: dict[str, Path], tmp_path: Path) -> None:
    model = build("plain")
    lora.load_adapter(model, folders["plain"], "old")
    lora.inject(model, "new", config(model, targets=["conv1"]))
    assert all(".new." in name for name, p in model.named_parameters() if p.requires_grad)
    lora.save_adapter(model, tmp_path, "old", {"base_sha256": BASE})
    before, after = (load_file(f / "adapter_model.safetensors") for f in (folders["plain"], tmp_path))
    assert before.keys() == after.keys()
    assert all(torch.equal(before[key], after[key]) for key in before)


def test_dropout_of_the_training_does_not_reach_inference(tmp_path: Path) -> None:
    model = build("plain")
    cfg = LoraConfig(r=2, lora_alpha=2, target_modules=["to_q"], lora_dropout=0.5, init_lora_weights=False)
    lora.inject(model, "x", cfg)
    assert torch.equal(run(model), run(model)), "the model is in evaluation mode"
    lora.save_adapter(model, tmp_path, "x", {})
    fresh = build("plain").train()
    lora.load_adapter(fresh, tmp_path, "x")
    lora.use_adapters(fresh, {"x": 1.0})
    torch.testing.assert_close(run(fresh), run(model))


def test_loading_draws_no_random_numbers(folders: dict[str, Path]) -> None:
    model = build("plain")
    state = torch.get_rng_state()
    lora.load_adapter(model, folders["plain"], "x")
    assert torch.equal(torch.get_rng_state(), state)


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
