"""The reference vocoders against analytic signals and the paper's Griffin-Lim."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor

from stemprover.spectral.bands import band_magnitude
from stemprover.spectral.spec import SPEC
from stemprover.spectral.stft import n_frames, power, stft
from stemprover.synthesis.base import Vocoder, VocoderInput
from stemprover.synthesis.reference import GriffinLimVocoder, InputPhaseVocoder, restored_spectrum

SAMPLES = 20_000
BOTH = [InputPhaseVocoder(), GriffinLimVocoder(iterations=8)]


def tones_and_noise() -> tuple[Tensor, Tensor]:
    """Two tones per channel, and bursts of noise that do not belong to them; ``[2, SAMPLES]`` each."""
    time = torch.arange(SAMPLES) / SPEC.sample_rate
    tones = torch.stack([0.3 * torch.sin(2 * torch.pi * hz * time) for hz in (440.0, 3100.0)])
    noise = 0.1 * torch.randn(2, SAMPLES, generator=torch.Generator().manual_seed(0))
    return tones, noise * (torch.sin(2 * torch.pi * 4 * time) > 0.5)


def request(degraded: Tensor, clean: Tensor) -> VocoderInput:
    spectrum, wanted = stft(degraded), stft(clean)
    return VocoderInput(
        spectrum, None, band_magnitude(power(spectrum)), band_magnitude(power(wanted)), degraded.shape[-1]
    )


def inconsistency(audio: Tensor, magnitude: Tensor) -> float:
    """How far the magnitude of ``audio`` is from the wanted one, relative."""
    return float((stft(audio).abs() - magnitude).norm() / magnitude.norm())


@pytest.mark.parametrize("vocoder", BOTH, ids=lambda v: v.name)
def test_nothing_to_do_returns_the_input(vocoder: Vocoder) -> None:
    assert isinstance(vocoder, Vocoder)
    tones, noise = tones_and_noise()
    stem = tones + noise
    torch.testing.assert_close(vocoder.synthesise(request(stem, stem)), stem, rtol=0, atol=2e-5)


@pytest.mark.parametrize("vocoder", BOTH, ids=lambda v: v.name)
def test_half_the_magnitude_is_half_the_signal(vocoder: Vocoder) -> None:
    tones, _ = tones_and_noise()
    out = vocoder.synthesise(request(tones, 0.5 * tones))
    assert out.shape == tones.shape
    torch.testing.assert_close(out[:, 2048:-2048], 0.5 * tones[:, 2048:-2048], rtol=0, atol=0.01)


@pytest.mark.parametrize("vocoder", BOTH, ids=lambda v: v.name)
@pytest.mark.parametrize("samples", [1, 511, 512, 5000])
def test_silence_and_any_length(vocoder: Vocoder, samples: int) -> None:
    silence = torch.zeros(1, samples)
    assert stft(silence).shape[-1] == n_frames(samples)
    out = vocoder.synthesise(request(silence, silence))
    assert torch.equal(out, silence)


@pytest.mark.parametrize("vocoder", BOTH, ids=lambda v: v.name)
def test_items_do_not_influence_each_other(vocoder: Vocoder) -> None:
    tones, noise = tones_and_noise()
    both = vocoder.synthesise(request(tones + noise, tones))
    alone = vocoder.synthesise(request((tones + noise)[1:], tones[1:]))
    torch.testing.assert_close(both[1:], alone, rtol=0, atol=1e-5)


def test_input_phase_removes_noise_around_tones() -> None:
    tones, noise = tones_and_noise()
    out = InputPhaseVocoder().synthesise(request(tones + noise, tones))
    assert (out - tones).square().sum() < 0.15 * noise.square().sum()


def test_griffin_lim_nears_the_wanted_magnitude_faster_with_momentum() -> None:
    tones, noise = tones_and_noise()
    asked = request(tones + noise, tones)
    magnitude = restored_spectrum(asked).abs()
    plain = inconsistency(InputPhaseVocoder().synthesise(asked), magnitude)
    original = inconsistency(GriffinLimVocoder(16, momentum=0.0).synthesise(asked), magnitude)
    fast = inconsistency(GriffinLimVocoder(16).synthesise(asked), magnitude)
    assert fast < original < plain
    nothing = GriffinLimVocoder(0).synthesise(asked)
    assert torch.equal(nothing, InputPhaseVocoder().synthesise(asked))


def paper(magnitude: np.ndarray, iterations: int, momentum: float) -> np.ndarray:
    """Fast Griffin-Lim from phase zero as the paper's algorithm 2 states it, in float64 with plain overlap-add."""
    window = np.hanning(SPEC.n_fft + 1)[:-1]
    starts = SPEC.hop * np.arange(magnitude.shape[1])
    length = starts[-1] + SPEC.n_fft
    weight = np.zeros(length)
    for start in starts:
        weight[start : start + SPEC.n_fft] += window**2

    def synthesis(spectrum: np.ndarray) -> np.ndarray:
        audio = np.zeros(length)
        for start, frame in zip(starts, np.fft.irfft(spectrum, axis=0).T, strict=True):
            audio[start : start + SPEC.n_fft] += window * frame
        half = SPEC.n_fft // 2
        return np.pad(audio[half : half + SAMPLES] / weight[half : half + SAMPLES], half)[:length]

    def analysis(audio: np.ndarray) -> np.ndarray:
        audio = np.pad(audio, (0, length))
        return np.fft.rfft(np.stack([window * audio[start : start + SPEC.n_fft] for start in starts], 1), axis=0)

    ahead, last = magnitude.astype(complex), np.zeros(magnitude.shape, complex)
    for _ in range(iterations):
        current = analysis(synthesis(magnitude * np.exp(1j * np.angle(ahead))))
        ahead, last = current + momentum * (current - last), current
    half = SPEC.n_fft // 2
    return synthesis(magnitude * np.exp(1j * np.angle(ahead)))[half : half + SAMPLES]


@pytest.mark.parametrize("momentum", [0.0, 0.99])
def test_griffin_lim_agrees_with_the_paper(momentum: float) -> None:
    tones, noise = tones_and_noise()
    spectrum = stft(tones + noise).abs()[:1].to(torch.complex64)
    magnitude = band_magnitude(power(spectrum))
    ours = GriffinLimVocoder(4, momentum).synthesise(VocoderInput(spectrum, None, magnitude, magnitude, SAMPLES))
    theirs = paper(spectrum[0].abs().double().numpy(), 4, momentum)
    np.testing.assert_allclose(ours[0].numpy(), theirs, atol=2e-3)
