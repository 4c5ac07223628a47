"""Blending: exact wet and dry, regions that stay in their place, no comb filtering in between."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from stemprover.spectral.bands import band_centres_hz
from stemprover.spectral.spec import SPEC
from stemprover.spectral.stft import istft, stft
from stemprover.synthesis.blend import change_of, region_map, silence_gate

FRAMES = 64
SAMPLES = (FRAMES - 1) * SPEC.hop
SECONDS = FRAMES / SPEC.frame_rate
TOP = SPEC.sample_rate / 2


def noise(seed: int) -> torch.Tensor:
    return torch.randn(2, SAMPLES, generator=torch.Generator().manual_seed(seed))


def blend(stem: torch.Tensor, repaired: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
    return istft(change_of(stft(stem), stft(repaired), mask), SAMPLES)


def wet(value: float) -> torch.Tensor:
    return torch.full((2, SPEC.n_bands, FRAMES), value)


@pytest.mark.parametrize("amount", [0.0, 0.25, 0.5, 1.0])
def test_a_constant_mask_is_a_wet_dry_mix(amount: float) -> None:
    stem, repaired = noise(1), noise(2)
    difference = blend(stem, repaired, wet(amount))
    assert torch.allclose(stem + difference, (1 - amount) * stem + amount * repaired, atol=2e-5)


def test_half_strength_does_not_filter_what_was_not_changed() -> None:
    stem = noise(1)
    assert (blend(stem, stem, wet(0.5)) == 0).all()


def test_a_band_is_changed_in_its_place_only() -> None:
    stem, repaired = noise(1), noise(2)
    mask = region_map([(0.0, SECONDS, 2000.0, 4000.0, 1.0)], FRAMES)
    out = stft(stem + blend(stem, repaired, mask.expand(2, -1, -1)))
    hz = torch.arange(SPEC.n_bins) * SPEC.sample_rate / SPEC.n_fft
    inside, outside = (hz > 2100) & (hz < 3900), (hz < 1500) | (hz > 5000)
    middle = slice(4, -4)
    assert torch.allclose(out[:, inside, middle], stft(repaired)[:, inside, middle], atol=1.0, rtol=0.05)
    assert torch.allclose(out[:, outside, middle], stft(stem)[:, outside, middle], atol=0.05)


def test_regions_fade_and_the_stronger_counts() -> None:
    centres = torch.from_numpy(band_centres_hz())
    both = region_map([(0.2, 0.5, 500.0, 6000.0, 0.4), (0.3, 0.4, 1000.0, 3000.0, 0.9)], FRAMES)
    band = int((centres - 2000).abs().argmin())
    frame = round(0.35 * SPEC.frame_rate)
    assert both[band, frame] == pytest.approx(0.9)
    assert both[int((centres - 5000).abs().argmin()), frame] == pytest.approx(0.4)
    assert both[:, 0].max() < 1e-12
    assert both[band].diff().abs().max() < 0.4
    assert ((both >= 0) & (both <= 0.9)).all()


def test_a_region_up_to_the_edge_of_the_spectrum_has_no_slope_there() -> None:
    full = region_map([(0.0, SECONDS, 0.0, TOP, 1.0)], FRAMES)
    assert (full[:, 1:-1] == 1).all()
    assert (region_map([], FRAMES) == 0).all()


def test_long_silence_is_shut_and_short_gaps_are_not() -> None:
    audio = np.ones((2, 1000))
    audio[0, 300:500] = 0.0
    audio[0, 700:780] = 0.0
    audio[1, :100] = audio[1, -100:] = 0.0
    gate = silence_gate(audio, 100)
    assert (gate[0, 300:500] == 0).all()
    assert (gate[0, 510:] == 1).all()
    assert (gate[0, :290] == 1).all()
    assert (np.diff(gate[0, 289:301]) < 0).all()
    assert (np.diff(gate[0, 499:511]) > 0).all()
    assert (gate[1, :100] == 0).all()
    assert (gate[1, -100:] == 0).all()
    assert (gate[1, 110:-110] == 1).all()
    assert (silence_gate(np.zeros((1, 500)), 100) == 0).all()
