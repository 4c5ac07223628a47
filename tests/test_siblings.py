"""A stem set is repaired jointly: what is done to one stem depends on what the others hold."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch
from torch import Tensor

from stemprover import AdapterChoice, Enhanced, Enhancer, Settings, Stem, StemSet
from stemprover.detection import AnalysisBlock, CellScores, n_cells
from stemprover.restoration.control import CONTROL_CHANNELS, Condition
from stemprover.spectral.spec import SPEC

KIT = Path(__file__).parent.parent / "examples" / "east-bay"
RATE = 44_100
SECONDS = 4
NETWORKS = Settings(auto_detect=True, quality="fast", second_opinion=False)
"""What detection and networks do of themselves."""


def stem(name: str) -> Stem:
    audio, _ = soundfile.read(KIT / f"{name}.flac", frames=SECONDS * RATE, always_2d=True)
    return Stem.from_array(audio.T, RATE, name, name)


@pytest.fixture(name="enhancer", scope="module")
def embedded_enhancer() -> Enhancer:
    return Enhancer.from_pretrained(device="cpu")


def first_of(enhancer: Enhancer, *names: str, settings: Settings | None = None) -> Enhanced:
    with StemSet(tuple(map(stem, names))) as stems:
        return enhancer.enhance_set(stems, settings or NETWORKS)[0]


def test_a_sibling_changes_what_is_found_and_what_is_done(enhancer: Enhancer) -> None:
    alone, beside_snare, beside_kick = (first_of(enhancer, "hihat", *others) for others in ((), ("snare",), ("kick",)))
    again = first_of(enhancer, "hihat", "snare")
    assert np.array_equal(beside_snare.audio, again.audio), "nothing but the sibling makes a difference"
    for other in (alone, beside_kick):
        assert beside_snare.detections != other.detections
        assert beside_snare.plan != other.plan
    assert not np.array_equal(beside_snare.audio, alone.audio)
    assert not np.array_equal(beside_snare.audio, beside_kick.audio)


class Listener:
    """A detector that finds nothing and keeps what it was shown."""

    artifacts = ("bleed",)

    def __init__(self) -> None:
        self.shown: list[AnalysisBlock] = []

    def score(self, block: AnalysisBlock) -> Mapping[str, CellScores]:
        self.shown.append(block)
        nothing = np.zeros((n_cells(block.audio.shape[-1]), SPEC.n_cell_bands), np.float32)
        return {"bleed": CellScores(nothing, nothing)}


@pytest.mark.parametrize("other", ["snare", "kick"])
def test_detectors_are_shown_each_stem_beside_the_other(enhancer: Enhancer, other: str) -> None:
    listener, pair = Listener(), (stem("hihat"), stem(other))
    with StemSet(pair) as stems:
        settings = Settings(auto_detect=True)
        Enhancer(enhancer.models, (), detectors=[listener]).enhance_set(stems, settings, plan_only=True)
        for block, this, that in zip(listener.shown, pair, reversed(pair), strict=True):
            assert (block.stem_class, list(block.siblings)) == (this.stem_class, [that.stem_class])
            for seen, held in ((block.audio, this), (block.siblings[that.stem_class], that)):
                assert np.array_equal(seen[:, : SECONDS * RATE], held.read(0, SECONDS * RATE).astype(np.float32))


def shape_of(condition: Condition, channel: str) -> Tensor:
    """A channel of the control image without its level, which is that of stem and siblings together."""
    image = condition.control[:, CONTROL_CHANNELS.index(channel)]
    return image / image.amax(dim=(-2, -1), keepdim=True).clamp_min(1e-6)


def test_the_networks_are_shown_the_sibling_and_repair_by_it(
    enhancer: Enhancer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Stem, plan and seeds are the same each time: what differs in what is shown and what is done is the sibling."""
    shown: list[Condition] = []
    restore = enhancer.models.restore

    def listening(condition: Condition, scales: Mapping[str, float], seeds: Sequence[int], steps: int) -> Tensor:
        if condition.stems[0] == "hihat":
            shown.append(condition)
        return restore(condition, scales, seeds, steps)

    monkeypatch.setattr(enhancer.models, "restore", listening)
    settings = Settings(adapters=(AdapterChoice("bleed"),), quality="fast", second_opinion=False)
    done = [first_of(enhancer, "hihat", other, settings=settings) for other in ("snare", "kick", "snare")]
    by_snare, by_kick, again = done
    assert by_snare.plan == by_kick.plan
    groups = len(shown) // 3
    for snare, kick, same in zip(shown[:groups], shown[groups:-groups], shown[-groups:], strict=True):
        assert torch.allclose(shape_of(snare, "stem"), shape_of(kick, "stem"), atol=1e-6)
        assert not torch.allclose(shape_of(snare, "siblings"), shape_of(kick, "siblings"), atol=0.1)
        assert torch.equal(snare.control, same.control)
    assert not np.array_equal(by_snare.audio, by_kick.audio)
    assert np.array_equal(by_snare.audio, again.audio)
