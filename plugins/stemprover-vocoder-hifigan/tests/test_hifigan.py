"""The plugin with a small random checkpoint that the test saves to disk; nothing is downloaded."""

from __future__ import annotations

import importlib.metadata
import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from stemprover_vocoder_hifigan import vocoder
from stemprover_vocoder_hifigan.generator import Generator, load_generator, save_generator
from stemprover_vocoder_hifigan.mel import MelSpec, log_mel, spec_for
from stemprover_vocoder_hifigan.synthesis import align, converted, match_level
from torch import Tensor
from transformers import SpeechT5FeatureExtractor, SpeechT5HifiGan, SpeechT5HifiGanConfig

from stemprover.errors import ModelError
from stemprover.spectral.bands import band_magnitude
from stemprover.spectral.spec import SPEC
from stemprover.spectral.stft import power, stft
from stemprover.synthesis.base import Vocoder, VocoderInput

RATE = 16_000
SAMPLES = 22_050


def random_network(**changes: object) -> SpeechT5HifiGan:
    torch.manual_seed(0)
    numbers = {
        "model_in_dim": 20,
        "sampling_rate": RATE,
        "upsample_initial_channel": 16,
        "upsample_rates": [8, 8],
        "upsample_kernel_sizes": [16, 16],
        "resblock_kernel_sizes": [3],
        "resblock_dilation_sizes": [[1, 3]],
        "initializer_range": 0.2,
    }
    return SpeechT5HifiGan(SpeechT5HifiGanConfig(**(numbers | changes)))


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("hifigan")
    random_network().save_pretrained(folder)
    return folder


def music(samples: int = SAMPLES) -> Tensor:
    time = torch.arange(samples) / SPEC.sample_rate
    low = sum(0.1 * torch.sin(2 * torch.pi * hz * time) for hz in (220.0, 440.0, 1760.0))
    high = 0.1 * torch.sin(2 * torch.pi * 12_000.0 * time)
    return torch.stack([low + high, 0.5 * low])


def request(stem: Tensor) -> VocoderInput:
    spectrum = stft(stem)
    magnitude = band_magnitude(power(spectrum))
    return VocoderInput(spectrum, None, magnitude, magnitude, stem.shape[-1])


def test_output_fits_the_input_in_length_level_and_high_band(checkpoint: Path) -> None:
    made = vocoder(str(checkpoint))
    assert isinstance(made, Vocoder)
    stem = music()
    out = made.synthesise(request(stem))
    assert out.shape == stem.shape
    assert out.isfinite().all()
    torch.testing.assert_close(out, vocoder(str(checkpoint)).synthesise(request(stem)), rtol=0, atol=0)
    bins = torch.arange(SPEC.n_bins) * SPEC.sample_rate / SPEC.n_fft
    before, after = power(stft(stem)).mean(-1), power(stft(out)).mean(-1)
    high, low = bins > 8500, bins < 7000
    assert float(after[0, high].sum()) == pytest.approx(float(before[0, high].sum()), rel=0.01), (
        "above its range the input stays"
    )
    assert after[1, high].sum() < 1e-4 * after[1, low].sum(), "and nothing is added there"
    ratio = after[:, low].sum(-1) / before[:, low].sum(-1)
    assert ((ratio > 0.8) & (ratio < 1.2)).all(), "level is matched"
    assert not torch.allclose(out, stem, atol=0.05), "the low band comes from the generator"


def test_silence_odd_lengths_and_full_band_rates(checkpoint: Path, tmp_path: Path) -> None:
    random_network(sampling_rate=SPEC.sample_rate).save_pretrained(tmp_path)
    for folder in (checkpoint, tmp_path):
        made = vocoder(str(folder))
        for samples in (1, 700, 5001):
            silence = torch.zeros(1, samples)
            assert torch.equal(made.synthesise(request(silence)), silence)
        assert made.synthesise(request(music(5001))).shape == (2, 5001)


def test_items_do_not_influence_each_other(checkpoint: Path) -> None:
    made, stem = vocoder(str(checkpoint)), music()
    torch.testing.assert_close(
        made.synthesise(request(stem))[1:], made.synthesise(request(stem[1:])), rtol=0, atol=1e-5
    )


@pytest.mark.parametrize("delay", [-300, 0, 1, 777])
def test_alignment_undoes_a_delay(delay: int) -> None:
    noise = torch.randn(2, 8000, generator=torch.Generator().manual_seed(1))
    noise[:, :1100] = noise[:, -1100:] = 0.0
    torch.testing.assert_close(align(torch.roll(noise, delay, -1), noise), noise)


def test_level_is_matched_but_limited() -> None:
    target = music()[:1]
    torch.testing.assert_close(match_level(0.5 * target, target), target)
    torch.testing.assert_close(match_level(0.01 * target, target), 0.04 * target)
    assert match_level(target, 0 * target).abs().max() == 0


def test_resampling_keeps_tones() -> None:
    tone = music(44_100)[1:]
    there = converted(tone, SPEC.sample_rate, RATE)
    assert there.shape == (1, RATE)
    back = converted(there, RATE, SPEC.sample_rate, 44_100)
    torch.testing.assert_close(back[:, 2000:-2000], tone[:, 2000:-2000], rtol=0, atol=1e-3)


def test_mel_agrees_with_speecht5() -> None:
    extractor = SpeechT5FeatureExtractor()
    spec = MelSpec(RATE, 256, 80, 1024, 80.0, 7600.0, 1e-10, base10=True)
    audio = torch.randn(1, 9000, generator=torch.Generator().manual_seed(0))
    theirs = extractor(audio_target=audio[0].numpy(), sampling_rate=RATE)["input_values"][0]
    ours = log_mel(audio, spec)[0].numpy()
    assert ours.shape == theirs.shape
    np.testing.assert_allclose(ours[2:-3], theirs[2:-3], atol=2e-3)  # the ends differ: it reflects, zeros are exact


def test_the_front_end_comes_from_the_checkpoint(checkpoint: Path, tmp_path: Path) -> None:
    derived = load_generator(str(checkpoint))
    assert derived.mel == spec_for(RATE, 64, 20, {})
    assert (derived.mel.window, derived.mel.high_hz) == (256, 8000.0)
    changed = Generator(derived.network, spec_for(RATE, 64, 20, {"window": 512, "high_hz": 7000.0, "base10": True}))
    save_generator(changed, tmp_path)
    assert load_generator(str(tmp_path)).mel == changed.mel
    speecht5 = tmp_path / "speecht5"
    random_network().save_pretrained(speecht5)
    SpeechT5FeatureExtractor().save_pretrained(speecht5)
    mel = load_generator(str(speecht5)).mel
    assert (mel.window, mel.low_hz, mel.high_hz, mel.floor, mel.base10) == (1024, 80.0, 7600.0, 1e-10, True)


def test_weights_come_back_unchanged(checkpoint: Path, tmp_path: Path) -> None:
    first = load_generator(str(checkpoint))
    save_generator(first, tmp_path)
    second = load_generator(str(tmp_path)).network.state_dict()
    assert all(torch.equal(value, second[key]) for key, value in first.network.state_dict().items())


def test_bad_sources(checkpoint: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("STEMPROVER_HIFIGAN", raising=False)
    made = vocoder()  # listing and building never need weights
    with pytest.raises(ModelError, match="STEMPROVER_HIFIGAN"):
        made.synthesise(request(music(3000)))
    with pytest.raises(ModelError, match="a folder or a hub repository"):
        load_generator(str(tmp_path / "nowhere"))
    with pytest.raises(ModelError, match="safetensors weights"):
        load_generator(str(tmp_path))
    torch.save(random_network().state_dict(), tmp_path / "pytorch_model.bin")
    random_network().config.save_pretrained(tmp_path)
    with pytest.raises(ModelError, match="safetensors weights"):
        load_generator(str(tmp_path))
    wider = tmp_path / "wider"
    random_network().save_pretrained(wider)
    config = json.loads((wider / "config.json").read_text())
    (wider / "config.json").write_text(
        json.dumps(config | {"resblock_kernel_sizes": [3, 5], "resblock_dilation_sizes": [[1, 3]] * 2})
    )
    with pytest.raises(ModelError, match="misfit"):
        load_generator(str(wider))
    (wider / "config.json").write_text(json.dumps(config | {"stemprover_mel": {"window": 3}}))
    with pytest.raises(ModelError, match="mel front end"):
        load_generator(str(wider))
    monkeypatch.setenv("STEMPROVER_HIFIGAN", str(checkpoint))
    assert vocoder().synthesise(request(music(3000))).shape == (2, 3000)


def test_the_package_is_a_plugin_and_light() -> None:
    entry = {e.name: e for e in importlib.metadata.entry_points(group="stemprover.plugins")}["hifigan"]
    assert entry.value == "stemprover_vocoder_hifigan"
    code = "import sys, stemprover_vocoder_hifigan; print({'torch', 'transformers'} & set(sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "set()"
