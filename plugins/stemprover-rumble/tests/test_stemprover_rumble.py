"""Rumble is found by its own detector, and hidden from the networks without changing what they do not see."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from stemprover_rumble.filters import below_hearing
from stemprover_rumble.hooks import RumbleDetector, RumbleRemover
from torch import Tensor

from stemprover.analysis import analyse
from stemprover.plugins import ArtifactType, PluginRunner, find
from stemprover.progress import Silent
from stemprover.restoration.preprocess import Preprocessing
from stemprover.stems import Stem, StemSet

RATE = 44_100


def tone(hertz: float, seconds: float = 4.0, level: float = 0.2) -> Tensor:
    time = torch.arange(round(seconds * RATE), dtype=torch.float64) / RATE
    return (level * torch.sin(2 * torch.pi * hertz * time)).float().expand(2, -1).contiguous()


@pytest.fixture(scope="module", name="runner")
def only_rumble() -> PluginRunner:
    return PluginRunner([find("rumble")])


@pytest.mark.parametrize(("hertz", "kept"), [(0.0, 1.0), (4.0, 1.0), (30.0, 0.0), (440.0, 0.0)])
def test_the_split_lies_between_rumble_and_bass(hertz: float, kept: float) -> None:
    audio = tone(hertz) if hertz else torch.full((2, 4 * RATE), 0.1)
    low = below_hearing(audio)
    share = float(low.square().sum() / audio.square().sum())
    assert share == pytest.approx(kept, abs=0.02)


@pytest.mark.parametrize("samples", [1, 2, 700])
def test_short_audio_comes_through(samples: int) -> None:
    assert below_hearing(torch.full((1, samples), 0.5)).shape == (1, samples)


def test_the_type_brings_its_detector(runner: PluginRunner) -> None:
    (kind,) = runner.artifact_types()
    assert isinstance(kind, ArtifactType)
    assert kind.name == "rumble"
    assert isinstance(runner.detectors()["rumble"], RumbleDetector)
    assert runner.faults == []


@pytest.mark.parametrize(
    ("added", "found"),
    [(torch.zeros(1), False), (torch.tensor([0.05]), True), (tone(5.0, level=0.1), True), (tone(60.0), False)],
    ids=["nothing", "an offset", "rumble", "bass"],
)
def test_offset_and_rumble_are_found_and_bass_is_not(runner: PluginRunner, added: Tensor, found: bool) -> None:
    stem = Stem.from_array((tone(440.0) + added).numpy(), RATE)
    detections = analyse(StemSet((stem,)), stem, [runner.detectors()["rumble"]], Silent(), runner).detections
    assert bool(detections) is found
    assert all(one.artifact == "rumble" and one.low_hz == 0.0 and one.high_hz < 1000.0 for one in detections)


def test_a_kick_is_no_rumble() -> None:
    time = np.arange(4 * RATE) / RATE % 0.5
    kick = np.sin(2 * np.pi * (50.0 * time + 8.0 * (1.0 - np.exp(-30.0 * time)))) * np.exp(-8.0 * time)
    stem = Stem.from_array(0.8 * np.stack([kick, kick]), RATE)
    assert analyse(StemSet((stem,)), stem, [RumbleDetector()], Silent(), PluginRunner([])).detections == ()


def test_networks_do_not_see_it_and_see_everything_else(runner: PluginRunner) -> None:
    see, clean = Preprocessing(runner), tone(440.0)
    assert see(clean) is clean, "not a bit changes where there is no rumble"
    inside = slice(RATE // 4, -RATE // 4)  # at the ends nobody knows how it goes on
    torch.testing.assert_close(see(clean + 0.1)[:, inside], clean[:, inside], rtol=0.0, atol=1e-3)
    assert RumbleRemover().process(clean + 1e-5).shape == clean.shape
