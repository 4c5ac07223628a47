"""Adapters in a run: several at once, switched without rebuilding, and on a base of Stable Diffusion's parts."""

from __future__ import annotations

import itertools
from pathlib import Path

import numpy as np
import pytest
import torch
from diffusers import DDIMScheduler
from peft import LoraConfig
from plugin_site import distribution
from safetensors.torch import load_file, save_file
from test_stable_diffusion import BETAS, make
from tiny_base import tiny_base as tiny_base
from tiny_base import tiny_condition
from torch import Tensor, nn

from stemprover import AdapterChoice, Enhancer, Settings, Stem
from stemprover.authoring import Project, import_adapter, pack_project, validate
from stemprover.errors import BaseMismatchError
from stemprover.models import Models
from stemprover.plugins import BaseIdentity, Plugin, installed, pack_adapter, parse_manifest
from stemprover.restoration import lora, weights
from stemprover.restoration.control import Condition
from stemprover.restoration.weights import load_base, load_pipeline
from stemprover.synthesis.gate import constant_gate
from stemprover.testing.signals import music

SEEDS = [4, 5, 6]


def train(model: nn.Module, folder: Path, seed: int, rank: int, base: BaseIdentity) -> Path:
    """Write an adapter with random weights that act, and leave the model as it was."""
    lora.inject(model, "new", LoraConfig(r=rank, lora_alpha=2.0 * rank, target_modules=lora.default_targets(model)))
    generator = torch.Generator().manual_seed(seed)
    for name, value in model.named_parameters():
        if "lora_B" in name:
            value.data.copy_(0.1 * torch.randn(value.shape, generator=generator))
    lora.save_adapter(model, folder, "new", {"base_sha256": base.sha256})
    lora.remove_adapter(model, "new")
    return folder


def install(site: Path, name: str, adapter: Path, base: BaseIdentity) -> None:
    package = site / f"acme_{name}"
    package.mkdir(parents=True)
    (package / "__init__.py").touch()
    described = parse_manifest(
        {
            **{"api": 1, "host": ">=0.1,<1", "name": name, "kind": "lora", "summary": "Text", "license": "MIT"},
            **{"artifacts": ["bleed"], "base": base._asdict(), "spectral_spec": "sha256:" + "0" * 64},
            "weights": {"path": "adapter"},
            "files": {"adapter_config.json": "0" * 64, "adapter_model.safetensors": "0" * 64},
        }
    )
    pack_adapter(adapter, package, metrics={}, manifest=described, base=base)
    distribution(site, f"acme-{name}", name, package.name)


@pytest.fixture(scope="module", name="adapters")
def two_adapters(base: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Two adapters of different ranks for the tiny base."""
    folder = tmp_path_factory.mktemp("adapters")
    identity, model = Models(base, "cpu", "float32").identity, load_base(base)
    return {
        name: train(model, folder / name, seed, rank, identity) for name, seed, rank in (("one", 1, 2), ("two", 2, 5))
    }


@pytest.fixture(name="models")
def models_with_adapters(
    base: Path, adapters: dict[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> tuple[Models, tuple[Plugin, ...]]:
    monkeypatch.setenv("STEMPROVER_HOME", str(tmp_path / "home"))
    models = Models(base, "cpu", "float32")
    for name, folder in adapters.items():
        install(tmp_path / "site", name, folder, models.identity)
    monkeypatch.syspath_prepend(str(tmp_path / "site"))
    return models, installed(base=models.identity)


def picked(condition: Condition, place: int) -> Condition:
    """One item of a batch."""
    part = slice(place, place + 1)
    return Condition(
        condition.image[part],
        condition.control[part],
        condition.coherence[part],
        condition.stems[part],
        condition.artifacts[part],
        condition.severity[part],
    )


def test_order_and_batch_do_not_change_the_result(models: tuple[Models, tuple[Plugin, ...]]) -> None:
    run, plugins = models
    run.load_adapters(["two", "one"], plugins)
    condition = tiny_condition(3)
    base = run.restore(condition, {}, SEEDS, 2)
    one = run.restore(condition, {"one": 1.0}, SEEDS, 2)
    both = run.restore(condition, {"one": 1.0, "two": 0.5}, SEEDS, 2)
    assert torch.equal(both, run.restore(condition, {"two": 0.5, "one": 1.0}, SEEDS, 2))
    assert not torch.allclose(one, base, atol=1e-3)
    assert not torch.allclose(both, one, atol=1e-3)
    for place, seed in enumerate(SEEDS):
        alone = run.restore(picked(condition, place), {"one": 1.0, "two": 0.5}, [seed], 2)
        torch.testing.assert_close(alone[0], both[place], rtol=0.0, atol=1e-5)


def test_order_of_loading_does_not_matter(base: Path, models: tuple[Models, tuple[Plugin, ...]]) -> None:
    results: list[Tensor] = []
    for order in itertools.permutations(("one", "two")):
        run = Models(base, "cpu", "float32")
        for name in order:
            run.load_adapters([name], models[1])
        results.append(run.restore(tiny_condition(1), {"one": 0.7, "two": 1.3}, [1], 1))
    assert torch.equal(*results)


def test_stacked_and_merged_are_the_same_sound(base: Path, adapters: dict[str, Path]) -> None:
    pipeline = load_pipeline(base)
    for name, folder in adapters.items():
        lora.load_adapter(pipeline.model, folder, name)
    condition = tiny_condition(2)
    lora.use_adapters(pipeline.model, {"one": 0.6, "two": 1.1})
    stacked = pipeline(condition, 1, [1, 2], "stacked")
    fused = lora.merge(pipeline.model, {"one": 0.6, "two": 1.1})
    torch.testing.assert_close(pipeline(condition, 1, [1, 2], "merged"), stacked, rtol=0.0, atol=1e-4)
    lora.unmerge(pipeline.model, fused)
    assert torch.equal(pipeline(condition, 1, [1, 2], "stacked again"), stacked)


def test_adapters_are_swapped_without_rebuilding_and_without_a_trace(
    models: tuple[Models, tuple[Plugin, ...]], monkeypatch: pytest.MonkeyPatch
) -> None:
    run, plugins = models
    loads = []
    load = weights.load_pipeline
    monkeypatch.setattr(weights, "load_pipeline", lambda *args, **kwargs: loads.append(args) or load(*args, **kwargs))
    run.load_adapters(["one", "two"], plugins)
    pipeline, condition = run.pipeline, tiny_condition(1)
    sets: list[dict[str, float]] = [{}, {"one": 1.0}, {"two": 1.0}, {"one": 0.3, "two": 0.8}, {"one": 0.0}]
    first = [run.restore(condition, scales, [3], 1) for scales in sets]
    again = [run.restore(condition, scales, [3], 1) for scales in reversed(sets)][::-1]
    assert all(torch.equal(*pair) for pair in zip(first, again, strict=True)), "swaps leave no rounding behind"
    assert torch.equal(first[0], first[4]), "strength 0 is the base"
    assert len({float(result.sum()) for result in first}) == 4
    assert run.pipeline is pipeline
    assert len(loads) == 1


def test_strengths_reach_the_sound(models: tuple[Models, tuple[Plugin, ...]]) -> None:
    """Each adapter's strength counts beside others, and the strength of the whole repair is wet/dry."""
    run, plugins = models
    # The shipped gate rightly keeps adapters out that learned nothing but noise.
    enhancer = Enhancer(run, plugins, detectors=(), gate=constant_gate(1.0))
    audio = music(0.8).astype(np.float32)

    def difference(strength: float = 1.0, **amounts: float) -> np.ndarray:
        choices = tuple(AdapterChoice(name, amount) for name, amount in amounts.items())
        stem = Stem.from_array(audio, 44_100)
        settings = Settings(adapters=choices, quality="fast", strength=strength, vocoder="input-phase")
        return enhancer.enhance(stem, settings).audio - audio

    both = difference(one=1.0, two=1.0)
    assert np.abs(difference(one=0.2, two=1.0) - both).max() > 1e-4, "the weaker of two is weaker"
    assert np.allclose(difference(one=0.4), 0.4 * difference(one=1.0), atol=1e-6), "alone it is wet/dry"
    loud = difference(one=2.0)
    assert np.abs(loud - difference(one=1.0)).max() > 1e-4, "above 1 the adapter is turned up"
    assert np.allclose(difference(0.5, one=2.0), 0.5 * loud, atol=1e-6)
    assert np.allclose(difference(0.5, one=0.2, two=1.0), 0.5 * difference(one=0.2, two=1.0), atol=1e-6)


@pytest.mark.parametrize(
    ("amounts", "scales"),
    [
        ({"one": 1.0, "two": 1.0}, {"one": 0.5, "two": 0.5}),
        ({"one": 0.2, "two": 1.0}, {"one": 1 / 6, "two": 5 / 6}),
        ({"one": 0.2, "two": 0.6}, {"one": 0.25, "two": 0.75}),  # wet/dry is 0.6
        ({"one": 2.0, "two": 2.0}, {"one": 1.0, "two": 1.0}),
        ({"one": 0.4}, {"one": 1.0}),
        ({"one": 2.0}, {"one": 2.0}),
    ],
)
def test_adapters_that_meet_share_one_repair(
    models: tuple[Models, tuple[Plugin, ...]],
    monkeypatch: pytest.MonkeyPatch,
    amounts: dict[str, float],
    scales: dict[str, float],
) -> None:
    run, plugins = models
    seen: list[dict[str, float]] = []
    restore = run.restore
    monkeypatch.setattr(
        run, "restore", lambda condition, scales, *rest: seen.append(scales) or restore(condition, scales, *rest)
    )
    choices = tuple(AdapterChoice(name, amount) for name, amount in amounts.items())
    stem = Stem.from_array(music(0.5).astype(np.float32), 44_100)
    Enhancer(run, plugins, detectors=()).enhance(stem, Settings(adapters=choices, quality="fast"))
    assert len(seen) == 1
    assert seen[0] == pytest.approx(scales)


def test_an_adapter_on_a_base_of_stable_diffusions_parts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("STEMPROVER_HOME", str(tmp_path / "home"))
    folder = tmp_path / "sd"
    pipeline = make(tmp_path / "tokenizer", DDIMScheduler(**BETAS, clip_sample=False))
    pipeline.save_pretrained(folder, safe_serialization=True)
    models = Models(folder, "cpu", "float32")
    install(
        tmp_path / "site", "sd", train(pipeline.model, tmp_path / "trained", 1, 3, models.identity), models.identity
    )
    monkeypatch.syspath_prepend(str(tmp_path / "site"))
    models.load_adapters(["sd"], installed(base=models.identity))
    condition = tiny_condition(2)
    base = models.restore(condition, {}, [1, 2], 2)
    changed = models.restore(condition, {"sd": 1.0}, [1, 2], 2)
    assert changed.shape == base.shape
    assert not torch.allclose(changed, base, atol=1e-3)
    assert torch.equal(models.restore(condition, {"sd": 0.0}, [1, 2], 2), base)
    with pytest.raises(BaseMismatchError, match="fit base"):
        Models(None, "cpu", "float32").load_adapters(["sd"], installed())


def test_a_file_for_stable_diffusion_is_imported_and_packed_for_that_base(tmp_path: Path) -> None:
    folder = tmp_path / "sd"
    pipeline = make(tmp_path / "tokenizer", DDIMScheduler(**BETAS, clip_sample=False))
    pipeline.save_pretrained(folder, safe_serialization=True)
    identity = Models(folder, "cpu", "float32").identity
    trained = load_file(train(pipeline.model, tmp_path / "trained", 1, 3, identity) / "adapter_model.safetensors")
    unet = {key: value for key, value in trained.items() if ".unet." in key}  # most such files know no ControlNet
    flat = {}
    for key, value in unet.items():
        module, _, side = key.removeprefix("base_model.model.").removesuffix(".weight").rpartition(".")
        flat[f"lora_{module.replace('.', '_')}.lora_{'down' if side == 'lora_A' else 'up'}.weight"] = value
    save_file(flat, tmp_path / "kohya.safetensors", {"ss_network_alpha": "6"})
    adapter = import_adapter(tmp_path / "kohya.safetensors", tmp_path / "imported", base=folder)
    assert {key: value.tolist() for key, value in load_file(adapter / "adapter_model.safetensors").items()} == {
        key: value.tolist() for key, value in unet.items()
    }
    project = pack_project(Project("lora", "borrowed", artifacts=("bleed",)), adapter, tmp_path, folder)
    problems = [finding.text for finding in validate(project)]
    assert len(problems) == 1, problems
    assert f"trained for base sd ({identity.sha256[:12]})" in problems[0], "the embedded base is another one"
    model = load_pipeline(folder).model
    info = lora.load_adapter(model, project / "stemprover_lora_borrowed" / "adapter", "x", base_sha256=identity.sha256)
    assert (info.alpha, info.touches_controlnet) == (6, False)
