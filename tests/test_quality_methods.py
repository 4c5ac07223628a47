"""What the quality benchmark compares, and how detectors are judged."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import pytest
import torch
from peft import LoraConfig
from quality_ablations import truncated
from quality_adapters import adapter_items, responsible
from quality_baselines import classical_baselines
from quality_detectors import figures, hear
from quality_material import item
from quality_runs import ALL, BLIND, MIXTURE, SIBLINGS, Bench
from quality_sets import KITS, clean_items
from tiny_base import FlagBand, tiny_enhancer, tiny_model
from tiny_base import tiny_base as tiny_base

from stemprover.enhance import Settings
from stemprover.plugins import Plugin
from stemprover.restoration import lora
from stemprover.restoration.lora_layers import adapted


@pytest.mark.parametrize("name", ["do nothing", "mixture consistency alone", "Wiener", "gating", "HPSS"])
def test_baselines_return_every_stem_and_do_what_they_say(name: str, base: Path) -> None:
    bench = Bench(tiny_enhancer(base), Settings(auto_detect=True))
    method = next((one for one in classical_baselines(bench) if name in one.name), None)
    if method is None:
        pytest.skip("its package comes with stemprover[bench]")
    one = item()
    repaired = method.run(one)
    assert set(repaired) == set(one.estimates)
    total = sum(found.audio for found in repaired.values())
    for stem, found in repaired.items():
        assert found.audio.shape == one.estimates[stem].shape
        assert np.isfinite(found.audio).all()
        assert np.array_equal(found.audio, one.estimates[stem]) == (name == "do nothing")
    if name in ("mixture consistency alone", "Wiener"):
        np.testing.assert_allclose(total, one.mixture, atol=2e-3)


def test_a_stem_without_siblings_gets_the_mixture_instead(base: Path) -> None:
    bench = Bench(tiny_enhancer(base), Settings(auto_detect=True, generic=True, quality="fast", vocoder="input-phase"))
    method = bench.method("x", SIBLINGS, ALL)
    whole = item(seconds=2.0)
    alone = dataclasses.replace(whole, estimates={"vocals": whole.estimates["vocals"]})
    assert [method.context_on(one) for one in (whole, alone)] == [SIBLINGS, MIXTURE]
    given = bench.method("x", MIXTURE, ALL).run(alone)["vocals"].audio
    np.testing.assert_array_equal(method.run(alone)["vocals"].audio, given)
    assert not np.array_equal(bench.method("x", BLIND, ALL).run(alone)["vocals"].audio, given)


def test_repairing_everything_reaches_what_no_detector_flags(base: Path) -> None:
    settings = Settings(auto_detect=True, generic=True, quality="fast", vocoder="input-phase", second_opinion=False)
    bench = Bench(tiny_enhancer(base, FlagBand(above=9.0)), settings)
    one = item(seconds=2.0)
    asked, everything, full = (
        method.run(one)["vocals"].audio - one.estimates["vocals"]
        for method in (
            bench.method("x", SIBLINGS, ALL),
            bench.everything("x", SIBLINGS, ALL, wet=0.5),
            bench.everything("x", SIBLINGS, ALL, wet=1.0),
        )
    )
    assert not np.abs(asked).any()
    assert 0 < np.abs(everything).max() < np.abs(full).max()


def _adapter(name: str, artifact: str) -> Plugin:
    return Plugin(name, "lora", "1", "ok", "", (artifact,), (), name, "", "")


def test_the_wrong_adapter_is_one_for_another_kind_of_artifact(base: Path) -> None:
    enhancer = tiny_enhancer(base)
    bleeds = [_adapter("a", "bleed"), _adapter("b", "bleed/drums"), _adapter("c", "phasiness")]
    enhancer.plugins = (*enhancer.plugins, *bleeds)
    bench = Bench(enhancer, Settings(auto_detect=True))
    assert bench.adapters == ("a", "b", "c")
    assert bench.wrong is not None
    for artifact, wrong in (("bleed/drums", {"c"}), ("bleed/vocals", {"c"}), ("phasiness", {"a", "b"})):
        chosen = responsible(bench.wrong.enhancer.plugins, artifact, "bass")
        assert chosen is not None
        assert chosen.name in wrong
    enhancer.plugins = enhancer.plugins[:-1]
    assert Bench(enhancer, bench.settings).wrong is None


def test_adapters_are_measured_on_stems_with_their_artifact(base: Path) -> None:
    enhancer = tiny_enhancer(base)
    enhancer.plugins = (*enhancer.plugins, _adapter("drumbleed", "bleed/drums"))
    (chosen,) = adapter_items(Bench(enhancer, Settings(auto_detect=True)), [item(KITS)])
    assert chosen.seen == "drumbleed:bleed/drums"
    assert set(chosen.estimates) == {"vocals"}


def test_lower_ranks_are_the_nearest_and_leave_no_trace() -> None:
    model = tiny_model()
    lora.inject(model, "a", LoraConfig(r=4, target_modules=["to_q", "conv1"]))
    torch.manual_seed(0)
    layers = list(adapted(model).values())
    for layer in layers:
        torch.nn.init.normal_(layer.lora_B["a"].weight)
    before = [_update(layer) for layer in layers]
    with truncated(model, 4):
        for update, layer in zip(before, layers, strict=True):
            torch.testing.assert_close(_update(layer), update, atol=1e-4, rtol=1e-4)
    with truncated(model, 2):
        for update, layer in zip(before, layers, strict=True):
            sizes = torch.linalg.svdvals(update)
            lost = torch.linalg.matrix_norm(_update(layer) - update)
            torch.testing.assert_close(lost, sizes[2:].square().sum().sqrt(), rtol=1e-3, atol=1e-4)
    for update, layer in zip(before, layers, strict=True):
        assert torch.equal(_update(layer), update)


def _update(layer: torch.nn.Module) -> torch.Tensor:
    up, down = layer.lora_B["a"].weight, layer.lora_A["a"].weight  # type: ignore[index]
    return (up.flatten(1) @ down.flatten(1)).detach()


def test_detectors_are_judged_by_the_labels() -> None:
    right = FlagBand(above=0.0, severity=0.7)  # noise bleeds everywhere: flagging everything is right
    one = item()
    heard = [found for found in hear([right], one) if found.context == SIBLINGS]
    clean = hear([right], next(iter(clean_items([one]))))
    rows = figures([*heard, *clean], [right])
    bleed = next(found for found in rows if found["artifact"] == "bleed")
    assert (bleed["group"], bleed["context"], bleed["stems"]) == (KITS, SIBLINGS, 2)
    assert bleed["precision"] > 0.95
    assert bleed["recall"] == 1.0
    alarms = {found["context"]: found["false_alarms"] for found in rows if found["artifact"] == "any"}
    assert alarms == {BLIND: 1.0, SIBLINGS: 1.0}
    silent = FlagBand(above=9.0)
    (missed,) = (found for found in figures(hear([silent], one)[1::2], [silent]) if found["artifact"] == "bleed")
    assert missed["recall"] == 0.0
