"""Simulated and real separators: their errors split exactly into known parts."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
import torch

from stemprover.data.classical import CLASSICAL, separate_classically
from stemprover.data.cuts import add
from stemprover.data.labels import DISTORTION, RESIDUAL, sdr_db
from stemprover.data.scenes import Scene
from stemprover.data.separators import (
    MaskStyle,
    draw_style,
    errors_of_estimate,
    errors_of_mask,
    noise_field,
    simulate_mask,
    simulate_waveform,
    spectra,
)
from stemprover.data.songs import render_stem
from stemprover.spectral.spec import SPEC

SAMPLES = 2 * SPEC.sample_rate
PERFECT = MaskStyle(2048, 512, 2.0, False, 1, 1, (), 0.0, 0, 0.0, 1.0, None, 0, 0.0)


@pytest.fixture(scope="module")
def scene() -> Scene:
    stems = {name: render_stem(name, SAMPLES, np.random.default_rng(k)) for k, name in enumerate(("bass", "drums"))}
    return Scene("synth", "bass", stems["bass"], {"drums": stems["drums"]})


def _sdr(scene: Scene, errors: dict[str, np.ndarray]) -> float:
    sdr = sdr_db(scene.target, scene.target + add(errors.values()))
    assert sdr is not None
    return sdr


def test_an_open_mask_lets_everything_through(scene: Scene):
    target, siblings = spectra(scene, SPEC)
    errors = errors_of_mask(torch.ones_like(target), target, siblings, SAMPLES)
    np.testing.assert_allclose(errors[DISTORTION], 0.0, atol=1e-6)
    np.testing.assert_allclose(errors["bleed/drums"], scene.siblings["drums"], atol=1e-5)


def test_a_closed_mask_loses_the_stem(scene: Scene):
    target, siblings = spectra(scene, SPEC)
    errors = errors_of_mask(torch.zeros_like(target), target, siblings, SAMPLES)
    np.testing.assert_allclose(errors[DISTORTION], -scene.target, atol=1e-5)
    np.testing.assert_allclose(errors["bleed/drums"], 0.0, atol=1e-6)


def test_siblings_of_one_kind_share_a_cause(scene: Scene):
    half = scene.siblings["drums"] / 2
    kit = Scene("kit", "toms", scene.target, {"kick": half, "snare": half})
    target, siblings = spectra(kit, SPEC)
    errors = errors_of_mask(torch.ones_like(target), target, siblings, SAMPLES)
    np.testing.assert_allclose(errors["bleed/drums"], 2 * half, atol=1e-5)


@pytest.mark.parametrize(
    "change",
    [
        {"noise": ((3.0, 2, 8),)},
        {"bias": 3.0},
        {"bias": -3.0},
        {"patches": 6},
        {"floor": 0.3},
        {"cutoff_hz": 300.0},
        {"n_bands": 32},
        {"phase": 1.2},
        {"blur_bins": 9, "blur_frames": 11},
    ],
    ids=lambda change: "-".join(change),
)
def test_every_weakness_costs_quality(change: dict[str, object], scene: Scene):
    best = _sdr(scene, simulate_mask(scene, PERFECT, np.random.default_rng(0)))
    worse = _sdr(scene, simulate_mask(scene, dataclasses.replace(PERFECT, **change), np.random.default_rng(0)))
    assert worse < best - 0.1


def test_bias_trades_bleed_for_loss(scene: Scene):
    def energies(bias: float) -> tuple[float, float]:
        errors = simulate_mask(scene, dataclasses.replace(PERFECT, bias=bias), np.random.default_rng(0))
        return float(np.square(errors["bleed/drums"]).sum()), float(np.square(errors[DISTORTION]).sum())

    open_bleed, open_loss = energies(2.0)
    shut_bleed, shut_loss = energies(-2.0)
    assert open_bleed > 2 * shut_bleed
    assert shut_loss > 2 * open_loss


def test_a_cut_off_mask_passes_nothing_above(scene: Scene):
    style = dataclasses.replace(PERFECT, cutoff_hz=2000.0)
    estimate = scene.target + add(simulate_mask(scene, style, np.random.default_rng(0)).values())
    spectrum = np.square(np.abs(np.fft.rfft(estimate * np.hanning(SAMPLES)))).sum(0)
    assert spectrum[2 * 2200 :].sum() < 1e-4 * spectrum.sum()


def test_drawn_styles_vary_and_are_repeatable(scene: Scene):
    styles = [draw_style(np.random.default_rng(k)) for k in range(40)]
    assert len({style.n_fft for style in styles}) == 3
    assert {bool(style.cutoff_hz) for style in styles} == {True, False}
    first, second = (simulate_mask(scene, styles[3], np.random.default_rng(5)) for _ in range(2))
    assert all(np.array_equal(first[cause], second[cause]) for cause in first)


@pytest.mark.parametrize(("bins", "frames"), [(1, 1), (8, 3), (96, 64)])
def test_noise_has_unit_deviation_and_the_asked_smoothness(bins: int, frames: int):
    field = noise_field(np.random.default_rng(0), (1, 1025, 345), bins, frames)[0].numpy()
    assert field.shape == (1025, 345)
    assert field.std() == pytest.approx(1.0, abs=0.35)
    step = np.abs(np.diff(field, axis=0)).mean()
    assert step < 3.0 / bins


def test_waveform_errors_name_their_sources(scene: Scene):
    errors = simulate_waveform(scene, np.random.default_rng(1))
    assert set(errors) == {DISTORTION, "bleed/drums"}
    assert np.isfinite(add(errors.values())).all()


@pytest.mark.parametrize("method", CLASSICAL)
def test_classical_separators_beat_the_mixture(method: str, scene: Scene):
    nothing = sdr_db(scene.target, scene.mixture)
    assert nothing is not None
    assert _sdr(scene, separate_classically(method, scene, np.random.default_rng(2))) > nothing + 1.0


def test_errors_of_an_estimate_sum_to_it_and_find_the_leak(scene: Scene):
    known = simulate_mask(scene, dataclasses.replace(PERFECT, noise=((1.0, 8, 8),)), np.random.default_rng(3))
    estimate = scene.target + add(known.values())
    found = errors_of_estimate(scene, estimate, scene.mixture)
    np.testing.assert_allclose(scene.target + add(found.values()), estimate, atol=1e-5)
    missed = np.square(found["bleed/drums"] - known["bleed/drums"]).sum()
    assert missed < 0.1 * np.square(known["bleed/drums"]).sum()
    assert np.square(found[RESIDUAL]).sum() < 0.2 * np.square(add(known.values())).sum()
