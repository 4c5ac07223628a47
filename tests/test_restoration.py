"""Stage 1: identity where nothing was learned, storage, attention, zero convolutions, cache, shared noise."""

from __future__ import annotations

import copy
import dataclasses
import json
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from diffusers import DiffusionPipeline, FlowMatchEulerDiscreteScheduler
from diffusers.models.attention_processor import Attention, AttnProcessor2_0
from peft import LoraConfig
from tiny_base import tiny_base as tiny_base
from tiny_base import tiny_condition, tiny_model
from torch import Tensor

from stemprover.errors import ModelError
from stemprover.models import Models
from stemprover.plugins import folder_sha256
from stemprover.restoration import lora
from stemprover.restoration.attention import BandAwareAttnProcessor
from stemprover.restoration.cache import ControlCache
from stemprover.restoration.conditioning import TokenConditioner
from stemprover.restoration.control import CONTROL_CHANNELS, Condition
from stemprover.restoration.controlnet import PhaseAwareZeroConv
from stemprover.restoration.model import NOISE, Residuals
from stemprover.restoration.pipeline import TEMPERATURE, StemRestorationPipeline
from stemprover.restoration.weights import load_base, load_pipeline, save_base
from stemprover.spectral.codec import encode
from stemprover.spectral.spec import SPEC
from stemprover.training.restoration import on_own_path

STEPS = (1, 4, 16)
BATCH = 2


@pytest.fixture(scope="module")
def condition() -> Condition:
    return tiny_condition(BATCH)


def pipeline_of(strength: float) -> StemRestorationPipeline:
    model = tiny_model(strength)
    parts = (model.unet, model.controlnet, FlowMatchEulerDiscreteScheduler())
    return StemRestorationPipeline(*parts, conditioner=model.conditioner)


def count_calls(pipeline: StemRestorationPipeline) -> Callable[[], int]:
    """Count the forward calls of the real ControlNet."""
    calls: list[int] = []
    pipeline.controlnet.register_forward_hook(lambda *_: calls.append(1))
    return lambda: len(calls)


@pytest.mark.parametrize("steps", STEPS)
def test_a_fresh_base_is_the_identity_at_any_number_of_steps(condition: Condition, steps: int) -> None:
    restored = pipeline_of(0.0)(condition, steps, [1, 2])
    assert torch.allclose(restored, condition.image.squeeze(1), atol=2e-6)


@pytest.mark.parametrize("steps", STEPS)
def test_a_base_with_weights_changes_the_image_repeatably(condition: Condition, steps: int) -> None:
    pipeline = pipeline_of(1.0)
    first, again, other_seed = (pipeline(condition, steps, seeds) for seeds in ([1, 2], [1, 2], [3, 4]))
    assert first.shape == (BATCH, SPEC.n_bands, 32)
    assert (first - condition.image.squeeze(1)).abs().max() > 0.01
    assert torch.equal(first, again)
    assert not torch.equal(first, other_seed)


def test_save_and_load_give_the_same_base_back(base: Path, tmp_path: Path, condition: Condition) -> None:
    loaded = load_pipeline(base)
    assert type(DiffusionPipeline.from_pretrained(base)) is StemRestorationPipeline
    restored = loaded(condition, 1, [1, 2])
    # Storage is half precision.
    assert torch.allclose(restored, pipeline_of(1.0)(condition, 1, [1, 2]), atol=0.01)
    save_base(load_base(base), tmp_path / "again")
    assert torch.equal(load_pipeline(tmp_path / "again")(condition, 1, [1, 2]), restored)
    assert not [path for path in base.rglob("*") if path.suffix in (".bin", ".pt", ".pkl", ".ckpt")]


def test_a_base_that_a_repair_loaded_still_takes_adapters(base: Path) -> None:
    models = Models(base, "cpu", "float32")
    with torch.inference_mode():  # the base alone was tried first
        model = models.pipeline.model
    lora.inject(model, "late", LoraConfig(r=2, target_modules=["to_q"]))
    assert all(not parameter.is_inference() for parameter in model.parameters())


def test_the_identity_of_a_base_follows_its_weights(base: Path, tmp_path: Path) -> None:
    identity = json.loads((base / "base.json").read_text())
    assert identity == {"id": "tiny", "sha256": folder_sha256(base), "spectral_spec": SPEC.digest()}
    save_base(tiny_model(0.5), tmp_path / "other", "tiny")
    assert json.loads((tmp_path / "other" / "base.json").read_text())["sha256"] != identity["sha256"]


def test_a_folder_that_holds_no_base_is_one_clear_error(base: Path, tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="restoration base"):
        load_pipeline(tmp_path / "missing")
    index = json.loads((base / "model_index.json").read_text())
    (tmp_path / "model_index.json").write_text(json.dumps(index | {"_class_name": "NoSuchPipeline"}))
    with pytest.raises(ModelError):
        load_pipeline(tmp_path)


def attention_pair() -> tuple[Attention, torch.Tensor]:
    torch.manual_seed(0)
    layer = Attention(query_dim=16, heads=4, dim_head=4).eval()
    return layer, torch.randn(2, 8 * 5, 16)


def test_band_aware_attention_starts_as_the_stock_attention() -> None:
    layer, tokens = attention_pair()
    layer.set_processor(AttnProcessor2_0())
    stock = layer(tokens)
    layer.set_processor(BandAwareAttnProcessor(8, 16))
    assert torch.allclose(layer(tokens), stock, atol=1e-6)


def test_band_aware_attention_tells_rows_apart_and_not_columns() -> None:
    layer, tokens = attention_pair()
    processor = BandAwareAttnProcessor(8, 16)
    with torch.no_grad():
        processor.position.normal_()
        processor.group.normal_()
    layer.set_processor(processor)
    grid = tokens.unflatten(1, (8, 5))
    out = layer(tokens).unflatten(1, (8, 5))
    columns = layer(grid.flip(2).flatten(1, 2)).unflatten(1, (8, 5)).flip(2)
    rows = layer(grid.flip(1).flatten(1, 2)).unflatten(1, (8, 5)).flip(1)
    assert torch.allclose(out, columns, atol=1e-5)
    assert (out - rows).abs().max() > 1e-3


def test_zero_convolution_starts_at_zero_and_its_gate_follows_coherence() -> None:
    features, coherence = torch.ones(1, 4, 8, 6), torch.zeros(1, 1, 32, 24)
    coherence[..., 12:] = 1.0
    layer = PhaseAwareZeroConv(4, 8)
    assert (layer(features, coherence) == 0).all()
    with torch.no_grad():
        layer.conv.weight.copy_(torch.eye(4)[..., None, None])
        layer.gate_weight[0] = 0.0  # the lowest row does not care for phase
        layer.gate_bias[1] = -100.0  # the next is shut
    gate = layer(features, coherence)[0, 0]
    expected = [2.0 * torch.sigmoid(torch.tensor(value)).item() for value in (-0.5, 0.5)]
    assert gate[4, 0].item() == pytest.approx(expected[0])
    assert gate[4, 5].item() == pytest.approx(expected[1])
    assert torch.allclose(gate[0], torch.ones(6))
    assert gate[1].max() < 1e-6


def test_zero_convolutions_run_once_for_all_steps_and_runs(condition: Condition) -> None:
    pipeline = pipeline_of(1.0)
    calls = count_calls(pipeline)
    fresh = pipeline(condition, 16, [1, 2])
    assert calls() == 1
    assert torch.equal(pipeline(condition, 16, [1, 2]), fresh)
    pipeline(condition, 4, [5, 6])
    assert calls() == 1
    changed = dataclasses.replace(condition, severity=condition.severity * 0.5)
    pipeline(changed, 1, [1, 2])
    assert calls() == 2


def test_adapters_that_leave_the_controlnet_alone_share_its_outputs(condition: Condition) -> None:
    pipeline = pipeline_of(1.0)
    calls = count_calls(pipeline)
    for name, targets in (("plain", ["unet.conv_in"]), ("deep", ["controlnet.conv_in"])):
        config = LoraConfig(r=2, lora_alpha=2.0, target_modules=targets)
        info = lora.inject(pipeline.model, name, config)
        assert info.touches_controlnet == (name == "deep")
    with torch.no_grad():
        for name, value in pipeline.model.named_parameters():
            if "lora_B" in name:
                value.normal_(0.0, 0.5)
    results = []
    for scales, key in (({}, ""), ({"plain": 1.0}, ""), ({"deep": 1.0}, "deep:1.0"), ({}, "")):
        lora.use_adapters(pipeline.model, scales)
        results.append(pipeline(condition, 1, [1, 2], key))
    assert calls() == 2  # once without the deep adapter, once with it
    assert torch.equal(results[0], results[3])
    assert (results[0] - results[1]).abs().max() > 1e-4
    assert (results[0] - results[2]).abs().max() > 1e-4


def test_cache_computes_what_is_missing_and_forgets_the_oldest(condition: Condition) -> None:
    computed: list[float] = []

    def read(cache: ControlCache, shift: float, key: str = "") -> None:
        one = dataclasses.replace(condition, control=condition.control + shift)

        def compute() -> tuple[tuple[torch.Tensor, ...], torch.Tensor]:
            computed.append(shift)
            return (one.control.mean((2, 3)),), one.control.amax((2, 3))

        skips, middle = cache.get(one, key, compute)
        assert torch.equal(skips[0], one.control.mean((2, 3)))
        assert torch.equal(middle, one.control.amax((2, 3)))

    cache = ControlCache(capacity=2 * BATCH)
    for shift in (0.0, 1.0, 0.0, 2.0, 0.0, 1.0):
        read(cache, shift)
    # The third batch pushed the second out, not the first, which had been used since.
    assert computed == [0.0, 1.0, 2.0, 1.0]
    read(cache, 1.0, "adapter:1.0")
    assert computed == [0.0, 1.0, 2.0, 1.0, 1.0]


def test_what_is_cached_does_not_depend_on_what_was_cached_before() -> None:
    whole = tiny_condition(5)
    fields = dataclasses.fields(Condition)
    part = Condition(**{field.name: getattr(whole, field.name)[:2] for field in fields})
    fresh, used = pipeline_of(1.0), pipeline_of(1.0)
    used(part, 1, [1, 2])
    assert torch.equal(used(whole, 1, [1, 2, 3, 4, 5]), fresh(whole, 1, [1, 2, 3, 4, 5]))


def test_channels_with_one_seed_share_their_noise(condition: Condition) -> None:
    twice = _same_rows(condition)
    together, apart = (pipeline_of(1.0)(twice, 4, seeds) for seeds in ([9, 9], [9, 10]))
    # Some processors round equal rows of a batch apart.
    assert 100 * (together[0] - together[1]).abs().max() < (apart[0] - apart[1]).abs().max()


def _same_rows(condition: Condition) -> Condition:
    def double(part: torch.Tensor) -> torch.Tensor:
        return part[:1].repeat(BATCH, *[1] * (part.ndim - 1))

    return Condition(
        double(condition.image),
        double(condition.control),
        double(condition.coherence),
        [condition.stems[0]] * BATCH,
        [condition.artifacts[0]] * BATCH,
        double(condition.severity),
    )


def test_training_begins_later_steps_where_sampling_does(condition: Condition, monkeypatch: pytest.MonkeyPatch) -> None:
    """The second of four steps: three quarters of the flow are left, by the model's own first step."""
    pipeline, seen = pipeline_of(1.0), []
    difference = pipeline.model.difference

    def noted(sample: Tensor, sigma: Tensor, tokens: Tensor, residuals: Residuals) -> Tensor:
        seen.append(sample.clone())
        return difference(sample, sigma, tokens, residuals)

    monkeypatch.setattr(pipeline.model, "difference", noted)
    pipeline(condition, 4, [1, 2])
    monkeypatch.undo()
    degraded = encode(condition.image)
    noise = seen[0] - degraded
    assert noise.std().item() == pytest.approx(TEMPERATURE * NOISE, rel=0.05)
    with torch.no_grad():
        tokens = pipeline.model.tokens(condition)
        residuals = pipeline.model.residuals(condition, tokens)
    for sigma in ([1.0, 1.0], [0.75, 0.75], [1.0, 0.75]):
        wanted = torch.stack([seen[int(value < 1.0)][item] for item, value in enumerate(sigma)])
        found = on_own_path(pipeline.model, degraded, noise, torch.tensor(sigma), tokens, residuals)
        torch.testing.assert_close(found, wanted, atol=1e-5, rtol=1e-5)
        assert not found.requires_grad
    assert (seen[1] - seen[0]).abs().max() > 1e-3


def test_control_image_holds_what_its_channels_are_called(condition: Condition) -> None:
    channels = dict(zip(CONTROL_CHANNELS, condition.control.unbind(1), strict=True))
    assert torch.equal(channels["stem"], condition.image.squeeze(1))
    assert (channels["has_siblings"] == 1).all()
    assert channels["level_difference"].abs().max() <= 1.0
    assert ((condition.coherence >= 0) & (condition.coherence <= 1)).all()


def test_tokens_of_unknown_names_are_those_of_the_nearest_ancestor() -> None:
    conditioner = TokenConditioner().eval()
    severity = torch.tensor([0.5])

    def tokens(stem: str, artifact: str) -> torch.Tensor:
        return conditioner([stem], [artifact], severity)

    assert torch.equal(tokens("kazoo", "bleed"), tokens("generic", "bleed"))
    assert torch.equal(tokens("vocals", "bleed/kazoo"), tokens("vocals", "bleed"))
    assert torch.equal(tokens("vocals", "hum"), tokens("vocals", "any"))
    assert not torch.equal(tokens("vocals", "bleed/drums"), tokens("vocals", "bleed"))
    assert not torch.equal(conditioner(["vocals"], ["bleed"], severity * 2), tokens("vocals", "bleed"))


def test_control_branch_reaches_the_unet(condition: Condition) -> None:
    pipeline = pipeline_of(1.0)
    with_control = pipeline(condition, 1, [1, 2])
    without = copy.deepcopy(pipeline.controlnet)
    for module in (*without.controlnet_down_blocks, without.controlnet_mid_block):
        torch.nn.init.zeros_(module.conv.weight)
    plain = StemRestorationPipeline(pipeline.unet, without, pipeline.scheduler, conditioner=pipeline.conditioner)
    assert (with_control - plain(condition, 1, [1, 2])).abs().max() > 1e-3
