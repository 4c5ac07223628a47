"""The embedded vocoder: neutral before training, aligned, silent where there is nothing, fair to both channels."""

from __future__ import annotations

import dataclasses
import math
from pathlib import Path

import pytest
import torch

from stemprover.errors import ModelError
from stemprover.spectral.bands import band_magnitude
from stemprover.spectral.spec import SPEC
from stemprover.spectral.stft import power, stft
from stemprover.synthesis.base import Vocoder, VocoderInput
from stemprover.synthesis.embedded import ConvNeXtBlock, EmbeddedVocoder, load_embedded
from stemprover.synthesis.reference import InputPhaseVocoder

SAMPLES = 31 * SPEC.hop


def noise(seed: int, batch: int = 2) -> torch.Tensor:
    return 0.1 * torch.randn(batch, SAMPLES, generator=torch.Generator().manual_seed(seed))


def request_for(audio: torch.Tensor, siblings: torch.Tensor | None = None, gain: float = 1.0) -> VocoderInput:
    spectrum = stft(audio)
    degraded = band_magnitude(power(spectrum))
    return VocoderInput(spectrum, None if siblings is None else stft(siblings), degraded, gain * degraded, SAMPLES)


def vocoder(head: float) -> EmbeddedVocoder:
    """A tiny vocoder whose head has random weights of this size; 0 is the untrained state."""
    torch.manual_seed(2)
    made = EmbeddedVocoder(dim=16, depth=1).eval()
    if head:
        torch.nn.init.normal_(made.head.weight, std=head)
    return made


def test_it_keeps_to_the_protocol() -> None:
    assert isinstance(vocoder(0.0), Vocoder)
    assert vocoder(0.0).name == "embedded"


@pytest.mark.parametrize("gain", [1.0, 0.5])
def test_untrained_it_is_stage_one_with_the_inputs_phase(gain: float) -> None:
    request = request_for(noise(1), noise(2), gain)
    assert torch.allclose(vocoder(0.0).synthesise(request), InputPhaseVocoder().synthesise(request), atol=1e-5)


def test_untrained_and_nothing_restored_it_gives_the_input_back_to_the_sample() -> None:
    audio = noise(1)
    assert torch.allclose(vocoder(0.0).synthesise(request_for(audio)), audio, atol=1e-5)


def test_with_weights_it_is_finite_repeatable_and_something_else() -> None:
    request, made = request_for(noise(1), noise(2), 0.5), vocoder(0.5)
    out = made.synthesise(request)
    assert out.shape == (2, SAMPLES)
    assert torch.isfinite(out).all()
    assert torch.equal(out, made.synthesise(request))
    assert (out - InputPhaseVocoder().synthesise(request)).abs().max() > 1e-3


def test_trained_or_not_what_stage_one_left_alone_stays_as_it_is() -> None:
    audio = noise(1)
    assert torch.allclose(vocoder(0.5).synthesise(request_for(audio, noise(2))), audio, atol=1e-5)


def test_siblings_can_bring_their_own_phase() -> None:
    stem, siblings = noise(1), noise(2)
    plain, made = vocoder(0.0), vocoder(0.0)
    with torch.no_grad():
        made.head.bias.unflatten(0, (-1, SPEC.patch**2))[3] = 1.0  # real part of the siblings' gain
    request = request_for(stem, siblings, 0.5)
    added = made.synthesise(request) - plain.synthesise(request)
    scale = float((added * siblings).sum() / siblings.square().sum())
    # Half of the magnitude is not trusted: corrections have the weight sqrt(1 - 1/2).
    assert scale == pytest.approx(math.tanh(1.0) * math.sqrt(0.5), rel=0.1)
    assert (added - scale * siblings).square().mean() < 0.01 * added.square().mean()
    alone = request_for(stem, gain=0.5)
    assert torch.allclose(made.synthesise(alone), plain.synthesise(alone), atol=1e-6)


def test_level_does_not_matter() -> None:
    made = vocoder(0.5)
    quiet, loud = (made.synthesise(request_for(factor * noise(1), factor * noise(2), 0.5)) for factor in (1.0, 4.0))
    assert torch.allclose(4.0 * quiet, loud, atol=1e-4)


def test_opposite_channels_stay_opposite() -> None:
    left = noise(1, 1)
    out = vocoder(0.5).synthesise(request_for(torch.cat([left, -left]), gain=0.5))
    assert torch.allclose(out[0], -out[1], atol=1e-6)


def test_equal_channels_stay_equal_and_items_do_not_disturb_each_other() -> None:
    made = vocoder(0.5)
    twice = noise(1, 1).repeat(2, 1)
    out = made.synthesise(request_for(twice, gain=0.5))
    assert torch.equal(out[0], out[1])
    together = made.synthesise(request_for(torch.cat([noise(1, 1), noise(3, 1)]), gain=0.5))
    assert torch.allclose(together[0], made.synthesise(request_for(noise(1, 1), gain=0.5))[0], atol=1e-5)


def test_silence_stays_below_every_sample_format() -> None:
    out = vocoder(0.5).synthesise(request_for(torch.zeros(2, SAMPLES)))
    assert out.abs().max() < 1e-6


def test_a_block_reaches_three_rows_and_columns_and_keeps_its_shape() -> None:
    torch.manual_seed(0)
    block = ConvNeXtBlock(8).eval()
    features = torch.randn(1, 8, 16, 32)
    changed = features.clone()
    changed[..., 8, 16] += 1.0
    moved = (block(features) - block(changed)).abs().amax((0, 1)) > 1e-7
    assert block(features).shape == features.shape
    assert moved[5:12, 13:20].all()
    assert moved.sum() == 49


def test_any_number_of_frames() -> None:
    audio = noise(1)[:, : 30 * SPEC.hop]
    request = dataclasses.replace(request_for(audio, gain=0.5), n_samples=audio.shape[-1])
    assert vocoder(0.5).synthesise(request).shape == audio.shape


def test_weights_survive_the_disk_and_another_spec_is_refused(tmp_path: Path) -> None:
    made = vocoder(0.5)
    made.save_pretrained(tmp_path / "good", safe_serialization=True)
    request = request_for(noise(1), gain=0.5)
    assert torch.equal(load_embedded(tmp_path / "good").synthesise(request), made.synthesise(request))
    other = dataclasses.replace(SPEC, hop=256).digest()
    EmbeddedVocoder(dim=16, depth=1, spectral_spec=other).save_pretrained(tmp_path / "other", safe_serialization=True)
    with pytest.raises(ModelError, match="a vocoder for"):
        load_embedded(tmp_path / "other")
    with pytest.raises(ModelError, match="embedded vocoder weights"):
        load_embedded(tmp_path / "missing")
