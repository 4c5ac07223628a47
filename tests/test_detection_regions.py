"""From scores of cells to detections: thresholds of each file, and rectangles in time and frequency."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from stemprover.detection import (
    CellScores,
    Detection,
    ThresholdRule,
    concatenate_scores,
    detect_cells,
)
from stemprover.detection.thresholds import DEFAULT_RULES, adaptive_threshold, audible_cells, rule_for
from stemprover.errors import OptionError
from stemprover.spectral.bands import cell_band_edges_hz
from stemprover.spectral.spec import SPEC

CELL = SPEC.cell_frames * SPEC.hop
CELL_S = CELL / SPEC.sample_rate
BANDS = SPEC.n_cell_bands
RULES = {"bleed": ThresholdRule(base=0.5, ceiling=0.9, min_cells=2)}


def scores(probability: np.ndarray, severity: float = 0.6) -> CellScores:
    return CellScores(probability.astype(np.float32), np.full(probability.shape, severity, np.float32))


def grid(cells: int = 20, **areas: tuple[slice, slice]) -> np.ndarray:
    result = np.full((cells, BANDS), 0.01)
    for area in areas.values():
        result[area] = 0.95
    return result


def loud(cells: int = 20) -> np.ndarray:
    return np.full((cells, BANDS), -20.0)


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
