"""Bands: a partition of unity, exact in the linear part, inverse in the mean."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
import torch

from stemprover.spectral.bands import (
    band_centres_hz,
    band_magnitude,
    band_matrix,
    cell_band_edges_hz,
    to_bands,
    to_bins,
)
from stemprover.spectral.spec import SPEC
from stemprover.spectral.stft import stft

SMALL = dataclasses.replace(SPEC, n_fft=512, n_bands=64)


@pytest.mark.parametrize("spec", [SPEC, SMALL])
def test_every_bin_is_shared_out_completely_between_neighbours(spec: type(SPEC)) -> None:
    matrix = band_matrix(spec)
    assert matrix.shape == (spec.n_bands, spec.n_bins)
    assert torch.allclose(matrix.sum(0), torch.ones(spec.n_bins))
    assert (matrix >= 0).all()
    assert ((matrix > 0).sum(0) <= 2).all()
    assert (matrix.sum(1) > 0).all()


@pytest.mark.parametrize("spec", [SPEC, SMALL])
def test_products_leave_out_nothing_but_zeros(spec: type(SPEC)) -> None:
    generator = torch.Generator().manual_seed(1)
    bins = torch.rand(2, 3, spec.n_bins, 7, generator=generator)
    assert torch.allclose(to_bands(bins, spec), band_matrix(spec) @ bins)
    bands = torch.rand(spec.n_bands, 7, generator=generator)
    assert torch.allclose(to_bins(bands, spec), band_matrix(spec).T @ bands)
    doubled = bands.double()
    assert torch.allclose(to_bins(doubled, spec), band_matrix(spec).double().T @ doubled, rtol=1e-12)


def test_a_flat_gain_stays_flat_and_a_linear_one_is_interpolated() -> None:
    flat = torch.full((3, SPEC.n_bands, 5), 0.7)
    assert torch.allclose(to_bins(flat), torch.full((3, SPEC.n_bins, 5), 0.7))
    ramp = torch.from_numpy(band_centres_hz()).float()[:, None]
    bins = torch.arange(SPEC.n_bins)[:, None] * SPEC.sample_rate / SPEC.n_fft
    assert torch.allclose(to_bins(ramp), bins, rtol=1e-4, atol=0.1)


def test_centres_rise_from_dc_to_nyquist_one_bin_apart_at_the_bottom() -> None:
    centres = band_centres_hz()
    steps = np.diff(centres)
    assert centres[0] == 0.0
    assert centres[-1] == pytest.approx(SPEC.sample_rate / 2)
    assert (steps > 0).all()
    assert np.allclose(steps[:50], SPEC.sample_rate / SPEC.n_fft)
    assert (np.diff(steps) > -1e-6).all()


def test_magnitude_of_flat_noise_is_flat_and_of_a_tone_local() -> None:
    flat = torch.full((1, SPEC.n_bins, 2), 4.0)
    assert torch.allclose(band_magnitude(flat), torch.full((1, SPEC.n_bands, 2), 2.0))
    tone = torch.zeros(1, SPEC.n_bins, 1)
    tone[0, 40] = 9.0
    bands = band_magnitude(tone)[0, :, 0]
    assert bands.argmax() == 40  # below 1.5 kHz a band is a bin
    assert bands[40] == pytest.approx(3.0)
    assert bands[42:].max() == 0.0


def test_cell_edges_cover_the_spectrum_at_band_borders() -> None:
    edges = cell_band_edges_hz()
    assert edges.shape == (SPEC.n_cell_bands + 1,)
    assert (edges[0], edges[-1]) == (0.0, SPEC.sample_rate / 2)
    inside = np.searchsorted(edges, band_centres_hz()[1:-1], side="right") - 1
    assert np.array_equal(inside, np.arange(1, SPEC.n_bands - 1) // SPEC.cell_bands)


def test_what_inference_cached_can_be_trained_through() -> None:
    spec = dataclasses.replace(SPEC, n_fft=1024, n_bands=80, hop=256)  # a spec that nothing has cached yet
    gain = torch.ones(1, spec.n_bins, 5, requires_grad=True)
    audio = torch.randn(1, 4 * spec.hop, requires_grad=True)
    with torch.inference_mode():
        to_bins(torch.ones(1, spec.n_bands, 5), spec)
        stft(torch.zeros(1, 4 * spec.hop), spec)
    bands = torch.ones(1, spec.n_bands, 5, requires_grad=True)
    (to_bins(bands, spec) * gain * stft(audio, spec).abs()).sum().backward()
    assert bands.grad is not None
    assert audio.grad is not None
