"""Training of separators: the loss falls, a stopped run goes on to the same weights, and says what it heard."""

from __future__ import annotations

import dataclasses
import json
import os
import signal
from pathlib import Path

import pytest
import torch
from click.testing import CliRunner
from safetensors.torch import load_file

from stemprover.cli.train import train
from stemprover.data.export import write_songs
from stemprover.errors import TrainingError
from stemprover.separation.mask_unet import MaskUNet
from stemprover.separation.open_unmix import OpenUnmixLike
from stemprover.separation.tfc_tdf import TfcTdfUNet
from stemprover.separation.trained import find_separators, load_network
from stemprover.separation.waveform_unet import WaveformUNet
from stemprover.training import mixes
from stemprover.training.loop import Recipe, fit
from stemprover.training.mixes import Mixes
from stemprover.training.processes import in_order
from stemprover.training.separation import SeparationTask

WEIGHTS = "diffusion_pytorch_model.safetensors"


class _Tones:
    """Bass is a low tone, vocals a high one; the rest is silent."""

    def batch(self, index: int) -> Mixes:
        generator = torch.Generator().manual_seed(index)
        time = torch.arange(8192) / 44_100
        stems = torch.zeros(2, 4, 2, 8192)
        for place, (low, high) in {1: (60, 200), 3: (2000, 5000)}.items():
            frequency = low + (high - low) * torch.rand(2, 1, 1, generator=generator)
            stems[:, place] = 0.1 * torch.sin(2 * torch.pi * frequency * time)
        return Mixes(stems)


def _task() -> SeparationTask:
    torch.manual_seed(0)
    return SeparationTask(MaskUNet(n_fft=1024, hop=256, channels=(8, 8)), ["b", "a"])


NETWORKS = {
    "mask-unet": lambda: MaskUNet(n_fft=1024, hop=256, channels=(8, 8)),
    "open-unmix": lambda: OpenUnmixLike(n_fft=1024, hop=256, hidden=16, layers=1),
    "tfc-tdf": lambda: TfcTdfUNet(n_fft=1024, hop=256, channels=(8, 8)),
    "waveform-unet": lambda: WaveformUNet(filters=16, channels=(16, 16)),
}


@pytest.mark.parametrize("architecture", NETWORKS)
def test_each_learns_to_separate_tones(architecture: str, tmp_path: Path):
    torch.manual_seed(0)
    task = SeparationTask(NETWORKS[architecture](), ["b", "a"])
    before = task.validate(_Tones().batch(999))
    recipe = Recipe(steps=130, learning_rate=1e-2, precision="no", decay_share=0.3, ema=0.9)
    folder = fit(task, _Tones(), None, recipe, tmp_path)
    with torch.no_grad():
        after = task.validate(_Tones().batch(999))
    for stem in ("bass", "vocals"):
        assert after[f"sdr_db_{stem}"] > before[f"sdr_db_{stem}"] + 6
    assert json.loads((folder / "trained_on.json").read_text()) == {"heard": ["a", "b"]}


def test_a_stopped_run_goes_on_to_the_same_weights(tmp_path: Path):
    recipe = Recipe(steps=6, precision="no", decay_share=0.0, early=0.5, checkpoint_minutes=0.0)

    class _Stop(_Tones):
        def batch(self, index: int) -> Mixes:
            if index == 4:
                raise KeyboardInterrupt
            return super().batch(index)

    whole = fit(_task(), _Tones(), None, recipe, tmp_path / "whole")
    with pytest.raises(KeyboardInterrupt):
        fit(_task(), _Stop(), None, recipe, tmp_path / "parts")
    resumed = fit(_task(), _Tones(), None, recipe, tmp_path / "parts")
    for name, value in load_file(whole / WEIGHTS).items():
        torch.testing.assert_close(load_file(resumed / WEIGHTS)[name], value)
    early = load_file(tmp_path / "whole" / "early" / WEIGHTS)
    assert any(not torch.equal(early[name], value) for name, value in load_file(whole / WEIGHTS).items())


@pytest.mark.parametrize("workers", [1, 3])
def test_processes_that_draw_ahead_change_nothing(workers: int, tmp_path: Path):
    """Neither from the start nor where a run is taken up again."""
    recipe = Recipe(steps=6, precision="no", decay_share=0.0)
    alone = fit(_task(), _Tones(), None, recipe, tmp_path / "alone")
    for steps in (2, 6):
        part = dataclasses.replace(recipe, steps=steps, workers=workers)
        ahead = fit(_task(), _Tones(), None, part, tmp_path / "ahead")
    expected, found = load_file(alone / WEIGHTS), load_file(ahead / WEIGHTS)
    for name, value in expected.items():
        assert torch.equal(found[name], value), name


@pytest.mark.parametrize("workers", [0, 2])
def test_batches_come_in_order_and_leave_the_random_state_alone(workers: int):
    before = torch.get_rng_state()
    drawn = list(in_order(_Tones().batch, [7, 5, 9], workers))
    assert torch.equal(torch.get_rng_state(), before)
    for number, batch in zip((7, 5, 9), drawn, strict=True):
        assert torch.equal(batch.stems, _Tones().batch(number).stems)


@pytest.mark.parametrize("workers", [0, 2])
def test_an_error_of_a_worker_is_the_error_itself(workers: int):
    def broken(number: int) -> Mixes:
        raise TrainingError("a recording", f"none for {number}", "add one")

    with pytest.raises(TrainingError, match="expected a recording, got none for 4; add one"):
        list(in_order(broken, [4, 5], workers))


def test_a_worker_that_is_ended_from_outside_is_named():
    def ended(number: int) -> Mixes:
        os.kill(os.getpid(), signal.SIGKILL)
        raise AssertionError(number)

    with pytest.raises(TrainingError, match="--workers"):
        list(in_order(ended, [1], 1))


def test_the_command_leaves_songs_out(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(mixes, "SECONDS", 0.2)
    monkeypatch.setattr(mixes, "_RENDERED", 1)  # else it would render synthesised stems for half a minute
    write_songs(tmp_path / "songs", 2, seconds=6.0)
    options = ["separator", "--architecture", "waveform-unet", "--data", str(tmp_path / "songs")]
    options += ["--out", str(tmp_path / "run"), "--steps", "1", "--batch-size", "1", "--precision", "no"]
    result = CliRunner().invoke(train, [*options, "--without", "000001"])
    assert result.exit_code == 0, result.output
    found = find_separators(tmp_path / "run")
    assert {(one.architecture, one.folder.name, one.heard) for one in found} == {
        ("waveform-unet", "final", frozenset({"000000"}))
    }


def test_what_is_saved_is_half_and_what_is_loaded_or_trained_is_not(tmp_path: Path):
    task = _task()
    task.save(tmp_path)
    (path,) = tmp_path.glob("*.safetensors")
    assert {values.dtype for values in load_file(path).values()} == {torch.float16, torch.int64}
    assert "_name_or_path" not in (tmp_path / "config.json").read_text()
    for network in (task.model, load_network(tmp_path)):
        assert {values.dtype for values in network.parameters()} == {torch.float32}
    assert task.model.training
