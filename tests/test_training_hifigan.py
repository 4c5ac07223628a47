"""Fine-tuning of HiFi-GAN: it learns, resumes to the step, and writes what the plugin loads."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch
from click.testing import CliRunner
from safetensors.torch import load_file
from torch import Tensor

from stemprover.errors import ModelError, TrainingError
from stemprover.training.dataset import SAMPLES, Batch
from stemprover.training.hifigan import CleanAudio, HifiGanTask, spectral_distance, train_hifigan

pytest.importorskip("stemprover_vocoder_hifigan", reason="needs the plugin stemprover-vocoder-hifigan")

NUMBERS = {"batch_size": 2, "decay_share": 0.0, "ema": 0.5, "learning_rate": 0.05}


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    from transformers import SpeechT5HifiGan, SpeechT5HifiGanConfig

    torch.manual_seed(0)
    config = SpeechT5HifiGanConfig(
        model_in_dim=20,
        sampling_rate=16_000,
        upsample_initial_channel=16,
        upsample_rates=[16, 16],
        upsample_kernel_sizes=[32, 32],
        resblock_kernel_sizes=[3],
        resblock_dilation_sizes=[[1]],
        initializer_range=0.1,
    )
    folder = tmp_path_factory.mktemp("hifigan")
    SpeechT5HifiGan(config).save_pretrained(folder)
    return folder


@pytest.fixture(scope="module")
def stems(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two clean stems with unlike rates and channels."""
    folder = tmp_path_factory.mktemp("stems")
    (folder / "song").mkdir()
    for name, rate, channels in (("bass.wav", 44_100, 2), ("song/vocals.flac", 48_000, 1)):
        time = np.arange(4 * rate) / rate
        tone = 0.3 * np.sin(2 * np.pi * 110.0 * time) * (1.2 + np.sin(2 * np.pi * 3 * time))
        soundfile.write(folder / name, np.stack([tone] * channels, 1), rate)
    return folder


def weights(folder: Path) -> dict[str, Tensor]:
    return load_file(folder / "model.safetensors")


def test_training_learns_and_the_plugin_loads_the_result(checkpoint: Path, stems: Path, tmp_path: Path) -> None:
    batch = CleanAudio(stems, 2, 99).batch(0)
    before = HifiGanTask(str(checkpoint))
    final = train_hifigan(stems, tmp_path, str(checkpoint), overrides={**NUMBERS, "steps": 12})
    after = HifiGanTask(str(final))
    assert after.generator.mel == before.generator.mel
    with torch.no_grad():
        worse, better = before.validate(batch), after.validate(batch)
    assert better["mel"] < 0.9 * worse["mel"]
    assert better["spectral"] < 0.9 * worse["spectral"]


def test_an_interrupted_run_equals_an_unbroken_one(
    checkpoint: Path, stems: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    numbers = {**NUMBERS, "steps": 4, "checkpoint_minutes": 0.0}
    unbroken = train_hifigan(stems, tmp_path / "a", str(checkpoint), overrides=numbers)
    other = train_hifigan(stems, tmp_path / "c", str(checkpoint), overrides={**numbers, "seed": 1})
    draw, drawn = CleanAudio.batch, []

    def interrupted(self: CleanAudio, index: int) -> Batch:
        drawn.append(index)
        if len(drawn) == 3:
            raise KeyboardInterrupt
        return draw(self, index)

    monkeypatch.setattr(CleanAudio, "batch", interrupted)
    with pytest.raises(KeyboardInterrupt):
        train_hifigan(stems, tmp_path / "b", str(checkpoint), overrides=numbers)
    resumed = train_hifigan(stems, tmp_path / "b", str(checkpoint), overrides=numbers)
    assert drawn == [0, 1, 2, 2, 3]
    want, have, differs = weights(unbroken), weights(resumed), weights(other)
    assert all(torch.equal(value, have[key]) for key, value in want.items())
    assert not all(torch.equal(value, differs[key]) for key, value in want.items())


def test_clean_audio_is_drawn_by_seed_and_index(stems: Path) -> None:
    data = CleanAudio(stems, 3, 7)
    first, again, other = data.batch(5), CleanAudio(stems, 3, 7).batch(5), data.batch(6)
    assert first.clean.shape == (3, SAMPLES)
    assert torch.equal(first.clean, again.clean)
    assert not torch.equal(first.clean, other.clean)
    for row in first.clean:  # the tone is at 110 Hz whatever the file's rate
        peak = torch.fft.rfft(row * torch.hann_window(SAMPLES)).abs().argmax().item() * 44_100 / SAMPLES
        assert peak == pytest.approx(110.0, abs=1.0)


def test_spectral_distance() -> None:
    noise = 0.1 * torch.randn(2, 8000, generator=torch.Generator().manual_seed(0))
    assert spectral_distance(noise, noise) == 0
    assert spectral_distance(-noise, noise) < 1e-5, "blind to polarity"
    half, quiet = spectral_distance(0.5 * noise, noise), spectral_distance(0.1 * noise, noise)
    assert half == pytest.approx(0.5 + np.log(2), abs=0.01)
    assert quiet > half
    assert spectral_distance(torch.zeros(1, 8000), torch.zeros(1, 8000)) == 0


def test_the_command(checkpoint: Path, stems: Path, tmp_path: Path) -> None:
    from stemprover.cli.train import train

    command = ["vocoder", "--vocoder", "hifigan", "--pairs", str(stems), "--out", str(tmp_path), "--steps", "1"]
    done = CliRunner().invoke(train, [*command, "--batch-size", "1", "--start", str(checkpoint)])
    assert done.exit_code == 0, done.output
    assert weights(tmp_path / "final").keys() == weights(checkpoint).keys()


def test_what_is_missing_is_named(checkpoint: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(TrainingError, match="no audio file"):
        train_hifigan(tmp_path, tmp_path / "out", str(checkpoint))
    with pytest.raises(ModelError, match="a folder or a hub repository"):
        HifiGanTask(str(tmp_path / "nowhere"))
    monkeypatch.setitem(sys.modules, "stemprover_vocoder_hifigan.generator", None)
    with pytest.raises(TrainingError, match="pip install stemprover-vocoder-hifigan"):
        HifiGanTask(str(checkpoint))
