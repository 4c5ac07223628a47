"""STFT: analytic tones and clicks, exact inversion, agreement with SciPy."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy.signal import ShortTimeFFT
from scipy.signal.windows import hann

from stemprover.spectral.spec import SPEC
from stemprover.spectral.stft import istft, n_frames, power, stft


def noise(*shape: int) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(3))


@pytest.mark.parametrize("samples", [1, 511, 512, 2048, 10_000])
def test_inverse_is_exact_at_any_length_and_shape(samples: int) -> None:
    audio = noise(2, 3, samples)
    spectrum = stft(audio)
    assert spectrum.shape == (2, 3, SPEC.n_bins, n_frames(samples))
    assert torch.allclose(istft(spectrum, samples), audio, atol=2e-6)


def test_a_tone_on_a_bin_has_the_windows_analytic_height_and_width() -> None:
    bin_number, samples = 100, 8192
    angle = 2.0 * np.pi * bin_number * np.arange(samples) / SPEC.n_fft
    frame = stft(torch.from_numpy(np.cos(angle)).float())[:, 8].abs()
    # A periodic Hann window sums to n_fft / 2 and its transform is 1, -1/2, -1/2 on three bins.
    assert frame[bin_number] == pytest.approx(SPEC.n_fft / 4, rel=1e-4)
    assert frame[bin_number + 1] == pytest.approx(SPEC.n_fft / 8, rel=1e-4)
    assert frame[bin_number + 3 :].max() < 1e-2


def test_a_click_has_linear_phase_and_the_windows_weight() -> None:
    audio = torch.zeros(8192)
    audio[4096 + 10] = 1.0  # ten samples after the middle of frame 8
    frame = stft(audio)[:, 8]
    weight = 0.5 + 0.5 * np.cos(2.0 * np.pi * 10 / SPEC.n_fft)
    place = SPEC.n_fft / 2 + 10
    expected = weight * np.exp(-2j * np.pi * np.arange(SPEC.n_bins) * place / SPEC.n_fft)
    assert np.allclose(frame.numpy(), expected, atol=1e-4)


def test_agrees_with_scipy() -> None:
    audio = noise(20_000)
    other = ShortTimeFFT(hann(SPEC.n_fft, sym=False), SPEC.hop, SPEC.sample_rate, phase_shift=None)
    spectrum = stft(audio)
    reference = other.stft(audio.double().numpy(), p0=0, p1=spectrum.shape[-1])
    assert np.allclose(spectrum.numpy(), reference, atol=2e-3)


def test_energy_is_kept() -> None:
    audio = noise(40_960)
    audio[:2048] = audio[-2048:] = 0.0
    energy = power(stft(audio))
    weights = torch.full((SPEC.n_bins, 1), 2.0)
    weights[0] = weights[-1] = 1.0
    total = float((weights * energy).sum()) / SPEC.n_fft
    # Four-fold overlap of squared periodic Hann windows adds up to 3/2.
    assert total == pytest.approx(1.5 * float(audio.square().sum()), rel=1e-4)
