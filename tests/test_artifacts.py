"""Controlled artifacts: in their region, of their kind, and nothing else."""

from __future__ import annotations

import numpy as np
import pytest

from stemprover.data.artifacts import ARTIFACTS, Region, apply_artifacts, draw_artifacts, draw_region
from stemprover.data.cuts import add
from stemprover.data.scenes import Scene
from stemprover.spectral.spec import SPEC

RATE = SPEC.sample_rate
SECONDS = 3.0
EVERYWHERE = Region(-1.0, SECONDS + 1.0, 0.0, RATE)


def _noise(seed: int) -> np.ndarray:
    return (0.1 * np.random.default_rng(seed).standard_normal((2, int(SECONDS * RATE)))).astype(np.float32)


def _tone(hz: float) -> np.ndarray:
    return np.tile(0.3 * np.sin(2 * np.pi * hz * np.arange(int(SECONDS * RATE)) / RATE), (2, 1)).astype(np.float32)


@pytest.fixture(scope="module")
def scene() -> Scene:
    return Scene("noise", "vocals", _noise(0), {"drums": _noise(1), "bass": _noise(2)})


def _power(audio: np.ndarray) -> np.ndarray:
    """Power spectrum over the middle second, shape [22051]."""
    middle = audio[..., RATE : 2 * RATE]
    return np.square(np.abs(np.fft.rfft(middle * np.hanning(RATE)))).sum(0)


@pytest.mark.parametrize("name", ARTIFACTS)
def test_same_generator_same_error_and_never_nothing(name: str, scene: Scene):
    first = apply_artifacts(scene, (name,), np.random.default_rng(3), EVERYWHERE)
    second = apply_artifacts(scene, (name,), np.random.default_rng(3), EVERYWHERE)
    total = add(first.values())
    assert total.shape == scene.target.shape
    assert np.isfinite(total).all()
    assert np.square(total).mean() > 1e-7
    assert all(np.array_equal(first[cause], second[cause]) for cause in first)


@pytest.mark.parametrize("name", ARTIFACTS)
def test_nothing_changes_outside_the_time_of_the_region(name: str, scene: Scene):
    region = Region(1.0, 2.0, 0.0, RATE)
    error = add(apply_artifacts(scene, (name,), np.random.default_rng(4), region).values())
    frame = 8192  # the longest transform of any artifact
    assert np.abs(error[:, : RATE - frame]).max() < 1e-6
    assert np.abs(error[:, 2 * RATE + frame :]).max() < 1e-6
    assert np.abs(error[:, RATE : 2 * RATE]).max() > 1e-4


@pytest.mark.parametrize("name", sorted(set(ARTIFACTS) - {"cut-off"}))
def test_nothing_changes_outside_the_band_of_the_region(name: str, scene: Scene):
    region = Region(-1.0, SECONDS + 1.0, 9000.0, 14000.0)
    power = _power(add(apply_artifacts(scene, (name,), np.random.default_rng(5), region).values()))
    inside = power[8000:15500].sum()
    assert power[:8000].sum() + power[15500:].sum() < 0.02 * inside


@pytest.mark.parametrize(
    ("name", "causes"),
    [
        *(("leakage", {"bleed/drums", "bleed/bass"}), ("phase-noise", {"phasiness"})),
        *(("decorrelation", {"phasiness"}), ("smearing", {"phasiness"}), ("holes", {"hf-distortion"})),
        *(("cut-off", {"hf-distortion"}), ("aliasing", {"hf-distortion"})),
        *(("musical-noise", {"distortion"}), ("checkerboard", {"distortion"}), ("codec", {"distortion"})),
    ],
)
def test_errors_are_named_after_their_cause(name: str, causes: set[str], scene: Scene):
    assert set(apply_artifacts(scene, (name,), np.random.default_rng(6), EVERYWHERE)) <= causes


def test_cut_off_leaves_nothing_above_its_edge_and_everything_below(scene: Scene):
    damaged = scene.target + add(apply_artifacts(scene, ("cut-off",), np.random.default_rng(7), EVERYWHERE).values())
    before, after = _power(scene.target), _power(damaged)
    assert after[17_500:].sum() < 1e-6 * before[17_500:].sum()
    np.testing.assert_allclose(after[:5500], before[:5500], rtol=1e-2, atol=1e-4 * before.max())


def test_aliasing_mirrors_a_tone():
    tone = 6000.0
    scene = Scene("tone", "other", _tone(tone), {})
    edge = np.random.default_rng(8).uniform(5500, 11_025)  # the first number that the artifact draws
    assert edge > tone
    power = _power(add(apply_artifacts(scene, ("aliasing",), np.random.default_rng(8), EVERYWHERE).values()))
    peak = np.argmax(power)
    assert abs(peak - (2 * edge - tone)) < 2 * RATE / SPEC.n_fft
    assert power[peak - 5 : peak + 6].sum() > 0.99 * power.sum()  # still one tone


def test_decorrelation_lowers_coherence_and_keeps_level():
    mono = np.repeat(_noise(9)[:1], 2, axis=0)
    scene = Scene("mono", "other", mono, {})
    damaged = mono + add(apply_artifacts(scene, ("decorrelation",), np.random.default_rng(10), EVERYWHERE).values())
    assert np.corrcoef(damaged)[0, 1] < 0.95
    assert np.square(damaged).mean() == pytest.approx(np.square(mono).mean(), rel=0.3)


def test_smearing_puts_energy_before_an_onset():
    click = np.zeros((2, int(SECONDS * RATE)), np.float32)
    click[:, 60_000] = 0.9
    scene = Scene("click", "drums", click, {})
    error = add(apply_artifacts(scene, ("smearing",), np.random.default_rng(11), EVERYWHERE).values())
    assert np.square(error[:, 56_000:59_900]).sum() > 0.02 * np.square(error).sum()


def test_without_siblings_nothing_leaks():
    scene = Scene("alone", "vocals", _noise(12), {})
    assert apply_artifacts(scene, ("leakage",), np.random.default_rng(13)) == {}


def test_errors_of_several_artifacts_add_up_by_cause(scene: Scene):
    errors = apply_artifacts(scene, ("phase-noise", "smearing"), np.random.default_rng(14), EVERYWHERE)
    assert set(errors) == {"phasiness"}


def test_drawn_regions_lie_in_the_audible_range_and_drawn_artifacts_are_audible(scene: Scene):
    rng = np.random.default_rng(15)
    for _ in range(200):
        region = draw_region(rng, SECONDS, low_hz=5000.0)
        assert region.low_hz >= 4999.0
        assert region.end_s - region.start_s >= 0.4
    for _ in range(4):
        error = add(draw_artifacts(scene, rng).values())
        assert np.square(error).mean() > 1e-4 * np.square(scene.target).mean()
