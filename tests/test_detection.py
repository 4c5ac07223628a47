"""Detection: cell features on signals with known answers, adaptive thresholds, regions."""

from __future__ import annotations

import dataclasses
import subprocess
import sys

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from stemprover.detection import (
    AnalysisBlock,
    CellScores,
    Detection,
    ThresholdRule,
    block_levels,
    cell_features,
    concatenate_scores,
    detect_cells,
    feature_digest,
    feature_names,
    n_cells,
    source_of,
)
from stemprover.detection.thresholds import DEFAULT_RULES, adaptive_threshold, audible_cells, rule_for
from stemprover.errors import OptionError
from stemprover.spectral.bands import cell_band_edges_hz
from stemprover.spectral.spec import SPEC
from stemprover.spectral.stft import istft, stft

CELL = SPEC.cell_frames * SPEC.hop
CELL_S = CELL / SPEC.sample_rate
BANDS = SPEC.n_cell_bands
RULES = {"bleed": ThresholdRule(base=0.5, ceiling=0.9, min_cells=2)}


def noise(cells: int, channels: int = 2, seed: int = 0) -> torch.Tensor:
    return 0.1 * torch.randn(channels, cells * CELL, generator=torch.Generator().manual_seed(seed))


def tone(hertz: float, cells: int, channels: int = 1) -> torch.Tensor:
    time = torch.arange(cells * CELL, dtype=torch.float64) / SPEC.sample_rate
    return (0.5 * torch.sin(2 * torch.pi * hertz * time)).float().expand(channels, -1)


def bursts(cells: int, seed: int) -> torch.Tensor:
    """Noise hits at irregular times, like a hi-hat."""
    rng = np.random.default_rng(seed)
    envelope = np.zeros(cells * CELL)
    for start in rng.integers(0, cells * CELL - 4000, 4 * cells):
        envelope[start : start + 4000] += np.exp(-np.arange(4000) / 800)
    return noise(cells, seed=seed) * torch.from_numpy(envelope).float()


def band_of(hertz: float) -> int:
    return int(np.searchsorted(cell_band_edges_hz(), hertz)) - 1


def feature(block: AnalysisBlock, name: str) -> np.ndarray:
    return cell_features(block).values[..., feature_names().index(name)]


def alone(audio: torch.Tensor) -> AnalysisBlock:
    return AnalysisBlock(audio, {}, "vocals")


def scores(probability: np.ndarray, severity: float = 0.6) -> CellScores:
    return CellScores(probability.astype(np.float32), np.full(probability.shape, severity, np.float32))


def grid(cells: int = 20, **areas: tuple[slice, slice]) -> np.ndarray:
    result = np.full((cells, BANDS), 0.01)
    for area in areas.values():
        result[area] = 0.95
    return result


def loud(cells: int = 20) -> np.ndarray:
    return np.full((cells, BANDS), -20.0)


def test_import_needs_no_torch() -> None:
    code = "import sys, stemprover.detection; assert 'torch' not in sys.modules and 'scipy' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True)


def test_full_scale_sine_reads_0_db_in_its_band() -> None:
    hertz = 120 * SPEC.sample_rate / SPEC.n_fft
    levels = block_levels(alone(2 * tone(hertz, 3)))
    assert levels.shape == (3, BANDS)
    assert levels[1, band_of(hertz)] == pytest.approx(0.0, abs=0.05)
    assert levels[1, BANDS - 1] < -80


def test_levels_of_blocks_join_to_those_of_the_whole() -> None:
    audio = noise(6)
    whole = block_levels(alone(audio))
    parts = [block_levels(alone(audio[:, start : start + 2 * CELL])) for start in range(0, 6 * CELL, 2 * CELL)]
    np.testing.assert_allclose(np.concatenate(parts), whole, atol=1.5)  # noise: ends of blocks see mirrored audio


@pytest.mark.parametrize("samples", [1, 2000, CELL, CELL + 1, 3 * CELL])
@pytest.mark.parametrize("channels", [1, 2, 6])
def test_features_are_finite_for_any_shape(samples: int, channels: int) -> None:
    audio = noise(3, channels)[:, :samples]
    for siblings in ({}, {"residual": audio.flip(1)}, {"drums": audio[:1], "piano": audio}):
        values = cell_features(AnalysisBlock(audio, siblings, "bass")).values
        assert values.shape == (n_cells(samples), BANDS, len(feature_names()))
        assert np.isfinite(values).all()


def test_features_of_silence_and_of_opposite_channels_are_finite() -> None:
    left = noise(2, 1)
    for audio in (torch.zeros(2, 2 * CELL), torch.cat([left, -left])):
        block = AnalysisBlock(audio, {"residual": torch.zeros(2, 2 * CELL)}, "generic")
        assert np.isfinite(cell_features(block).values).all()


def test_features_do_not_depend_on_level() -> None:
    audio, other = noise(4), noise(4, seed=1)
    values = [
        cell_features(AnalysisBlock(gain * audio, {"residual": gain * other}, "drums")).values for gain in (1, 0.01)
    ]
    np.testing.assert_allclose(values[0], values[1], atol=0.02, rtol=0.02)


def test_mono_gives_the_features_of_two_equal_channels() -> None:
    mono = noise(3, 1)
    kept = [number for number, name in enumerate(feature_names()) if name != "is_stereo"]
    one, two = (cell_features(alone(audio)).values[..., kept] for audio in (mono, mono.expand(2, -1)))
    np.testing.assert_allclose(one, two, atol=1e-3)
    assert (feature(alone(mono), "stereo_coherence") > 0.999).all()


def test_independent_channels_are_incoherent() -> None:
    assert feature(alone(noise(3)), "stereo_coherence").mean() < 0.3


def test_frequency_deviation_of_a_tone_is_its_distance_from_the_bin() -> None:
    exact = 100 * SPEC.sample_rate / SPEC.n_fft
    shift = 0.3  # bins: the phase runs ahead by 0.3 * 2 pi * hop / n_fft per frame
    band = band_of(exact)
    on, off = (feature(alone(tone(exact * (1 + s / 100), 3)), "frequency_jitter")[1, band] for s in (0, shift))
    random = feature(alone(noise(3)), "frequency_jitter")[1, band]
    assert max(on, off) < 0.35 * random


def test_group_delay_of_a_click_in_the_middle_of_a_frame_does_not_deviate() -> None:
    click = torch.zeros(1, 2 * CELL)
    click[0, 40 * SPEC.hop] = 1.0
    jitter = feature(alone(click), "delay_jitter")[1]
    assert jitter.max() < 0.2 < feature(alone(noise(2)), "delay_jitter")[1].min()


def test_holes_are_counted() -> None:
    audio = noise(4)
    spectrum = stft(audio)
    mask = torch.rand(spectrum.shape[1:], generator=torch.Generator().manual_seed(5)) > 0.2
    holed = istft(spectrum * mask, audio.shape[1])
    before, after = (feature(alone(item), "fine_spread").mean() for item in (audio, holed))
    assert after > before
    assert feature(alone(holed), "hole_depth").mean() > feature(alone(audio), "hole_depth").mean()


def test_a_cut_off_shows_where_the_spectrum_ends() -> None:
    audio = noise(4)
    spectrum = stft(audio)
    spectrum[:, 512:] = 0
    cut = istft(spectrum, audio.shape[1])
    ends = feature(alone(cut), "ends_above")[1]
    assert ends[band_of(9000)] > 0 > ends[band_of(14000)]
    assert feature(alone(audio), "ends_above")[1, band_of(14000)] > 0


def test_bleed_resembles_its_source() -> None:
    hats = bursts(6, seed=3)
    stem = tone(440, 6, 2) + 0.1 * hats
    siblings = {"hihat": hats, "bass": noise(6, seed=9)}
    high = band_of(8000)
    with_bleed = feature(AnalysisBlock(stem, {"residual": hats}, "vocals"), "sibling_envelope_correlation")
    without = feature(AnalysisBlock(noise(6, seed=4), {"residual": hats}, "vocals"), "sibling_envelope_correlation")
    assert with_bleed[:, high].mean() > 0.8 > 0.4 > without[:, high].mean()
    affinity = cell_features(AnalysisBlock(stem, siblings, "vocals")).affinity
    assert set(affinity) == {"drums", "bass"}
    assert (affinity["drums"][:, high] > affinity["bass"][:, high]).all()


def test_a_mask_locks_the_phase_of_stem_and_residual() -> None:
    mixture = noise(4, 1)
    gain = torch.rand(SPEC.n_bins, 1, generator=torch.Generator().manual_seed(1))
    stem = istft(stft(mixture) * gain, mixture.shape[1])
    masked = feature(AnalysisBlock(stem, {"residual": mixture - stem}, "other"), "phase_lock")
    independent = feature(AnalysisBlock(stem, {"residual": noise(4, 1, seed=8)}, "other"), "phase_lock")
    assert masked[1:-1].min() > 0.7
    assert np.abs(independent).mean() < 0.1


def test_siblings_are_summed_whatever_they_are_called() -> None:
    parts = {"drums": noise(2, seed=1), "bass": noise(2, seed=2)}
    stem = noise(2)
    separate = cell_features(AnalysisBlock(stem, parts, "vocals")).values
    together = cell_features(AnalysisBlock(stem, {"residual": sum(parts.values())}, "vocals")).values
    np.testing.assert_allclose(separate, together, atol=1e-3)


def test_parts_of_the_kit_are_drums() -> None:
    assert [source_of(name) for name in ("kick", "cymbals", "vocals", "piano")] == ["drums", "drums", "vocals", "other"]


def test_digest_is_stable_and_names_are_unique() -> None:
    assert len(set(feature_names())) == len(feature_names())
    assert feature_digest() == feature_digest()
    assert feature_digest() != feature_digest(dataclasses.replace(SPEC, hop=256))


def test_rules_are_inherited_along_the_tree() -> None:
    assert rule_for("bleed/drums") == DEFAULT_RULES["bleed"]
    assert rule_for("unheard-of") == ThresholdRule()


def test_silent_cells_are_not_audible_but_missing_energy_is() -> None:
    levels = loud(3)
    levels[1, 10], levels[2] = -95.0, -95.0
    heard = audible_cells(levels, ThresholdRule())
    assert not heard[1, 10]
    assert not heard[2].any()
    assert heard[0].all()
    missing = audible_cells(levels, ThresholdRule(missing_energy=True))
    assert missing[1, 10]
    assert not missing[2].any()


def test_nothing_is_audible_below_minus_80_db() -> None:
    assert not audible_cells(np.full((3, BANDS), -81.0), ThresholdRule()).any()


@given(arrays.arrays(np.float64, (6, BANDS), elements=st.floats(0, 1)))
def test_threshold_stays_between_base_and_ceiling(probability: np.ndarray) -> None:
    rule = ThresholdRule(base=0.4, ceiling=0.8)
    threshold = adaptive_threshold(probability, np.ones_like(probability, bool), rule)
    assert rule.base <= threshold.seed <= rule.ceiling
    assert threshold.extend == pytest.approx(threshold.seed * rule.extend_ratio)


def test_threshold_rises_in_a_file_that_is_suspicious_throughout() -> None:
    heard = np.ones((50, BANDS), bool)
    rng = np.random.default_rng(0)
    plain = adaptive_threshold(rng.uniform(0, 0.1, heard.shape), heard, ThresholdRule())
    odd = adaptive_threshold(rng.uniform(0.3, 0.5, heard.shape), heard, ThresholdRule())
    assert plain.seed == ThresholdRule().base < odd.seed


def test_threshold_without_audible_cells_is_the_base() -> None:
    assert adaptive_threshold(np.ones((2, BANDS)), np.zeros((2, BANDS), bool), ThresholdRule()).seed == 0.5


def test_a_rectangle_is_found_exactly() -> None:
    found = detect_cells({"bleed": scores(grid(a=(slice(4, 9), slice(2, 6))))}, loud(), RULES)
    edges = cell_band_edges_hz()
    assert len(found) == 1
    assert (found[0].start_s, found[0].end_s) == pytest.approx((4 * CELL_S, 9 * CELL_S))
    assert (found[0].low_hz, found[0].high_hz) == pytest.approx((edges[2], edges[6]))
    assert (found[0].confidence, found[0].severity) == pytest.approx((0.95, 0.6))


def test_neighbours_across_a_small_gap_are_joined_and_distant_ones_are_not() -> None:
    near = grid(a=(slice(2, 6), slice(0, 4)), b=(slice(7, 11), slice(0, 4)))
    far = grid(a=(slice(2, 6), slice(0, 4)), b=(slice(12, 16), slice(0, 4)))
    assert len(detect_cells({"bleed": scores(near)}, loud(), RULES)) == 1
    assert len(detect_cells({"bleed": scores(far)}, loud(), RULES)) == 2


def test_an_l_shape_is_cut_instead_of_boxed() -> None:
    found = detect_cells(
        {"bleed": scores(grid(a=(slice(0, 18), slice(0, 2)), b=(slice(0, 2), slice(0, 15))))}, loud(), RULES
    )
    area = sum((item.end_s - item.start_s) / CELL_S * _bands(item) for item in found)
    assert len(found) == 2
    assert area <= 18 * 2 + 2 * 15


def _bands(item: Detection) -> int:
    low, high = np.searchsorted(cell_band_edges_hz(), (item.low_hz, item.high_hz))
    return int(high - low)


def test_hysteresis_extends_from_seeds_only() -> None:
    probability = np.full((10, BANDS), 0.01)
    probability[2:5, 3], probability[3, 3] = 0.4, 0.6  # a seed with a slope at its sides
    probability[8, 8:12] = 0.45  # a slope without a seed
    found = detect_cells({"bleed": scores(probability)}, loud(10), RULES)
    assert [(item.start_s, item.end_s) for item in found] == [pytest.approx((2 * CELL_S, 5 * CELL_S))]


def test_lone_cells_and_silence_are_not_reported() -> None:
    probability = grid(a=(slice(3, 4), slice(3, 4)), b=(slice(10, 15), slice(5, 9)))
    levels = loud()
    levels[10:15] = -100.0
    assert detect_cells({"bleed": scores(probability)}, levels, RULES) == ()


def test_members_of_a_family_share_a_region_and_keep_their_names() -> None:
    drums, vocals = grid(a=(slice(0, 5), slice(0, 4))), grid(a=(slice(5, 10), slice(0, 4)))
    found = detect_cells({"bleed/drums": scores(drums), "bleed/vocals": scores(vocals)}, loud(), RULES)
    assert [(item.artifact, round(item.start_s / CELL_S)) for item in found] == [
        ("bleed/drums", 0),
        ("bleed/vocals", 5),
    ]


def test_detections_end_with_the_stem() -> None:
    found = detect_cells({"bleed": scores(np.full((3, BANDS), 0.95))}, loud(3), RULES, duration_s=1.0)
    assert [item.end_s for item in found] == [1.0]


def test_severity_counts_loud_cells_more() -> None:
    score = scores(np.full((4, BANDS), 0.95))
    score.severity[2:], levels = 0.2, loud(4)
    levels[2:] += 20
    assert detect_cells({"bleed": score}, levels, RULES)[0].severity == pytest.approx((0.6 + 100 * 0.2) / 101)


@pytest.mark.parametrize("bad", [np.zeros((3, BANDS)), np.full((4, BANDS), np.nan)])
def test_bad_scores_are_refused(bad: np.ndarray) -> None:
    with pytest.raises(OptionError):
        detect_cells({"bleed": scores(bad)}, loud(4), RULES)


def test_scores_of_blocks_join_in_time() -> None:
    parts = [{"bleed": scores(np.full((cells, BANDS), cells / 10))} for cells in (2, 3)]
    joined = concatenate_scores(parts)["bleed"]
    np.testing.assert_allclose(joined.probability[:, 0], [0.2, 0.2, 0.3, 0.3, 0.3])
    assert concatenate_scores([]) == {}


@settings(max_examples=60, deadline=None)
@given(arrays.arrays(np.bool_, (12, BANDS)))
def test_rectangles_cover_every_flagged_cell_and_stay_on_the_grid(mask: np.ndarray) -> None:
    rule = {"bleed": ThresholdRule(min_cells=1, spread_factor=0)}
    found = detect_cells({"bleed": scores(np.where(mask, 0.95, 0.01))}, loud(12), rule)
    covered, edges = np.zeros_like(mask), cell_band_edges_hz()
    for item in found:
        low, high = np.searchsorted(edges, (item.low_hz, item.high_hz))
        covered[round(item.start_s / CELL_S) : round(item.end_s / CELL_S), low:high] = True
        assert 0 <= item.start_s < item.end_s <= 12 * CELL_S + 1e-9
        assert 0 <= item.low_hz < item.high_hz <= SPEC.sample_rate / 2
    assert covered[mask].all()


def test_random_scores_of_a_long_file_give_rectangles_inside_it() -> None:
    probability = np.random.default_rng(0).uniform(0, 1, (500, BANDS))
    found = detect_cells({"bleed": scores(probability)}, loud(500), RULES)
    assert all(item.end_s <= 500 * CELL_S + 1e-6 for item in found)
