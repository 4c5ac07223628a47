"""Severity per cell from known errors."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import signal

from stemprover.data.labels import DISTORTION, RESIDUAL, cell_energy, cell_labels, sdr_db, severity_of
from stemprover.spectral.bands import cell_band_edges_hz
from stemprover.spectral.spec import SPEC

SAMPLES = 2 * SPEC.sample_rate


@pytest.fixture(scope="module")
def noise() -> np.ndarray:
    return (0.1 * np.random.default_rng(0).standard_normal((2, SAMPLES))).astype(np.float32)


def test_severity_is_linear_in_decibels_between_0_and_30():
    np.testing.assert_allclose(severity_of(np.array([-20.0, 0.0, 15.0, 30.0, 60.0])), [1, 1, 0.5, 0, 0])


def test_sdr_of_a_tenth_of_the_amplitude_is_20_db(noise: np.ndarray):
    assert sdr_db(noise, 1.1 * noise) == pytest.approx(20.0, abs=1e-3)
    assert sdr_db(noise, noise) is None


def test_every_cell_of_an_even_error_has_the_same_severity(noise: np.ndarray):
    labels = cell_labels(noise, {"phasiness": 0.1 * noise})
    assert list(labels) == ["phasiness"]
    cells = -(-(SAMPLES // SPEC.hop + 1) // SPEC.cell_frames)
    assert labels["phasiness"].shape == (cells, SPEC.n_cell_bands)
    np.testing.assert_allclose(labels["phasiness"], 1 / 3, atol=1e-4)


def test_an_error_in_one_second_and_band_is_labelled_there_only(noise: np.ndarray):
    edges = cell_band_edges_hz()
    band = int(np.searchsorted(edges, 3000)) - 1
    middle = (edges[band] + edges[band + 1]) / 2
    error = np.zeros_like(noise)
    time = np.arange(SPEC.sample_rate) / SPEC.sample_rate
    error[:, SPEC.sample_rate :] = 0.05 * np.sin(2 * np.pi * middle * time) * np.hanning(time.size)
    labelled = cell_labels(noise, {"bleed/vocals": error})["bleed/vocals"] > 0.2
    assert labelled[:, band].any()
    assert not labelled[:, [b for b in range(SPEC.n_cell_bands) if b != band]].any()
    assert not labelled[:2].any()  # 0.74 s


def test_errors_below_the_floor_are_not_labelled(noise: np.ndarray):
    clean = noise.copy()
    clean[:, SAMPLES // 2 :] = 0.0
    assert cell_labels(clean, {"phasiness": 1e-4 * noise}) == {}
    assert cell_labels(clean, {"phasiness": 1e-2 * noise})["phasiness"][-1].max() == 1.0


def test_distortion_is_phasiness_below_6_khz_and_hf_distortion_above(noise: np.ndarray):
    labels = cell_labels(noise, {DISTORTION: 0.3 * noise})
    high = cell_band_edges_hz()[:-1] >= 6000
    assert (labels["phasiness"] > 0).any(0).tolist() == (~high).tolist()
    assert (labels["hf-distortion"] > 0).any(0).tolist() == high.tolist()


def test_residual_is_no_distortion_where_the_stem_is_silent(noise: np.ndarray):
    low = signal.sosfilt(signal.butter(8, 500, fs=SPEC.sample_rate, output="sos"), noise).astype(np.float32)
    error = 0.1 * noise
    assert "hf-distortion" in cell_labels(low, {DISTORTION: error})
    assert "hf-distortion" not in cell_labels(low, {RESIDUAL: error})


def test_only_the_leading_sources_of_bleed_are_named(noise: np.ndarray):
    labels = cell_labels(noise, {"bleed/drums": 0.3 * noise, "bleed/bass": 0.25 * noise, "bleed/other": 0.05 * noise})
    assert set(labels) == {"bleed", "bleed/drums", "bleed/bass"}
    assert (labels["bleed"] >= labels["bleed/drums"]).all()


def test_cell_energy_is_the_energy_of_the_spectrum(noise: np.ndarray):
    assert cell_energy(2 * noise).sum() == pytest.approx(4 * cell_energy(noise).sum(), rel=1e-4)
    assert cell_energy(noise[:1]).sum() + cell_energy(noise[1:]).sum() == pytest.approx(
        cell_energy(noise).sum(), rel=1e-4
    )
