"""Phase features against signals whose phase is known."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from stemprover.spectral.phase import (
    BandFeatures,
    band_features,
    group_delay_deviation,
    instantaneous_frequency_deviation,
    local_mean,
    unit,
)
from stemprover.spectral.stft import stft

SAMPLES = 64 * 512


def noise(seed: int) -> torch.Tensor:
    return torch.randn(1, SAMPLES, generator=torch.Generator().manual_seed(seed))


def tone(hz: float) -> torch.Tensor:
    return torch.from_numpy(np.sin(2 * np.pi * hz * np.arange(SAMPLES) / 44_100)).float()[None]


def features(stem: torch.Tensor, siblings: torch.Tensor | None = None) -> BandFeatures:
    return band_features(stft(stem), None if siblings is None else stft(siblings))


def test_unit_keeps_phase_and_silence() -> None:
    spectrum = torch.tensor([3.0 + 4.0j, 0.0, -1e-6j])
    assert torch.allclose(unit(spectrum), torch.tensor([0.6 + 0.8j, 0.0, -1.0j]))


@pytest.mark.parametrize("shape", [(2, 4, 40, 30), (3, 12, 9), (1, 1)])
def test_local_mean_is_what_pooling_gives(shape: tuple[int, ...]) -> None:
    values = torch.rand(shape, generator=torch.Generator().manual_seed(1))
    before = values.clone()
    planes = values.reshape(-1, 1, *shape[-2:])
    pooled = torch.nn.functional.avg_pool2d(planes, (3, 7), stride=1, padding=(1, 3)).reshape(shape)
    torch.testing.assert_close(local_mean(values), pooled)
    assert torch.equal(values, before)
    assert torch.autograd.gradcheck(local_mean, values.double().requires_grad_())


def test_a_steady_tone_has_no_frequency_deviation_and_a_sudden_phase_jump_has() -> None:
    deviation = instantaneous_frequency_deviation(unit(stft(tone(1000.0))))
    bin_number = round(1000 * 2048 / 44_100)
    assert deviation[0, bin_number, 8:-8].max() < 1e-3
    jumped = tone(1000.0)
    jumped[:, SAMPLES // 2 :] *= -1.0
    assert instantaneous_frequency_deviation(unit(stft(jumped)))[0, bin_number].max() > 0.2


def test_a_click_has_no_group_delay_deviation_and_noise_a_half() -> None:
    click = torch.zeros(1, SAMPLES)
    click[0, 32 * 512 + 77] = 1.0
    assert group_delay_deviation(unit(stft(click)))[0, 1:-1, 32].max() < 1e-3
    # Hann-windowed bins of noise correlate with their neighbours, so the mean is not exactly 1/2.
    assert 0.2 < float(group_delay_deviation(unit(stft(noise(1))))[0, 1:-1].mean()) < 0.7


def test_deviations_do_not_depend_on_level_or_polarity() -> None:
    first, louder, inverted = (features(factor * noise(1)) for factor in (1.0, 8.0, -1.0))
    for other in (louder, inverted):
        assert torch.allclose(first.group_delay, other.group_delay, atol=1e-5)
        assert torch.allclose(first.frequency, other.frequency, atol=1e-5)
        assert torch.allclose(first.image, other.image, atol=1e-5)


@pytest.mark.parametrize(("factor", "real"), [(0.5, 1.0), (-0.5, -1.0)])
def test_coherence_of_scaled_copies_is_one_with_their_sign(factor: float, real: float) -> None:
    found = features(noise(1), factor * noise(1))
    assert torch.allclose(found.coherence_real, torch.full_like(found.coherence_real, real), atol=1e-4)
    assert found.coherence_imag.abs().max() < 1e-4


def test_coherence_of_independent_noise_is_small_and_never_above_one() -> None:
    found = features(noise(1), noise(2))
    magnitude = torch.sqrt(found.coherence_real**2 + found.coherence_imag**2)
    assert float(magnitude.max()) <= 1.0 + 1e-5
    assert float(magnitude.mean()) < 0.35


def test_silence_gives_finite_features_and_absent_siblings_none() -> None:
    for stem, siblings in ((torch.zeros(1, SAMPLES), None), (torch.zeros(1, SAMPLES), torch.zeros(1, SAMPLES))):
        found = features(stem, siblings)
        for name in ("magnitude", "image", "coherence_real", "group_delay", "frequency", "has_siblings"):
            assert (getattr(found, name) == 0).all(), name
    assert (features(noise(1), noise(2)).has_siblings == 1).all()
