"""Adapters act, combine, fuse and leave as promised, on plain and on Stable Diffusion 1.5-shaped models."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from lora_models import BASE, build, config, make_adapter, noise, run, traces
from lora_models import adapter_folders as adapter_folders
from peft import LoraConfig
from safetensors.torch import load_file

from stemprover.errors import AdapterError
from stemprover.restoration import lora


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
