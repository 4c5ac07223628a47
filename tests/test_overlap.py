"""Crossfades and overlap-add: sums that are exact, in any block size."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from stemprover.spectral.overlap import OverlapAdd, SampleRange, fade

SEED = 5


@pytest.mark.parametrize("n", [1, 2, 7, 512, 2205])
def test_fades_are_complementary_in_amplitude_and_in_power(n: int) -> None:
    amplitude, power = fade(n, "amplitude"), fade(n, "power")
    np.testing.assert_allclose(amplitude + amplitude[::-1], 1.0, atol=1e-15)
    np.testing.assert_allclose(power**2 + power[::-1] ** 2, 1.0, atol=1e-15)
    np.testing.assert_allclose(power * power, amplitude, atol=1e-15)
    assert (np.diff(amplitude) > 0).all()


def test_an_empty_fade_is_empty() -> None:
    assert fade(0).shape == (0,)
    assert fade(0, "power").shape == (0,)


def test_fades_that_meet_multiply() -> None:
    weights = SampleRange(0, 10, 8, 8).weights()
    rising = np.append(fade(8), [1.0, 1.0])
    np.testing.assert_allclose(weights, rising * rising[::-1])


def test_the_power_law_would_bulge_where_repairs_agree() -> None:
    ranges = [SampleRange(0, 3000, 0, 1000), SampleRange(2000, 5000, 1000, 0)]
    bulge = {}
    for law in ("amplitude", "power"):
        total = OverlapAdd(1, law)
        for where in ranges:
            total.add(where, np.ones((1, where.samples)))
        bulge[law] = 20 * np.log10(total.take(5000).max())
    assert bulge["amplitude"] == pytest.approx(0.0, abs=1e-9)
    assert bulge["power"] == pytest.approx(3.01, abs=0.01)


def test_a_small_disagreement_at_a_join_is_crossfaded_without_a_step() -> None:
    total = OverlapAdd(1)
    total.add(SampleRange(0, 4000, 0, 2000), np.full((1, 4000), 1.0))
    total.add(SampleRange(2000, 6000, 2000, 0), np.full((1, 4000), 0.9))
    out = total.take(6000)[0]
    assert out[0] == 1.0
    assert out[-1] == pytest.approx(0.9)
    assert np.abs(np.diff(out)).max() < 1e-4


def test_outside_segments_the_sum_is_exactly_zero_and_memory_is_bounded() -> None:
    total = OverlapAdd(2)
    total.add(SampleRange(1000, 2000, 100, 100), np.ones((2, 1000)))
    assert not total.take(1000).any()
    out = total.take(10_000)
    assert out.shape == (2, 9000)
    assert out[:, :1000].all()
    assert not out[:, 1000:].any()
    for start in range(10_000, 500_000, 1000):
        total.add(SampleRange(start, start + 1100, 100, 100), np.ones((2, 1100)))
        total.take(start + 1000)
        assert total._pending.shape[1] <= 1100


@given(st.lists(st.integers(1, 5000), min_size=1, max_size=20))
def test_block_size_does_not_change_the_sum(blocks: list[int]) -> None:
    ranges = [SampleRange(300, 1700, 200, 300), SampleRange(1400, 3000, 300, 200), SampleRange(4000, 4500, 50, 50)]
    noise = np.random.default_rng(SEED).normal(size=(2, 5000))

    def run(stops: list[int]) -> np.ndarray:
        total, parts, waiting = OverlapAdd(2), [], list(ranges)
        for stop in stops:
            while waiting and waiting[0].start < stop:
                where = waiting.pop(0)
                total.add(where, noise[:, where.start : where.stop])
            parts.append(total.take(stop))
        return np.concatenate(parts, axis=1)

    stops = [min(5000, stop) for stop in itertools.accumulate(blocks)]
    np.testing.assert_array_equal(run([*stops, 5000]), run([5000]))


def test_wrong_use_of_the_accumulator_is_refused() -> None:
    total = OverlapAdd(1)
    with pytest.raises(ValueError, match="need shape"):
        total.add(SampleRange(0, 10, 0, 0), np.zeros((2, 10)))
    total.add(SampleRange(10, 20, 0, 0), np.zeros((1, 10)))
    with pytest.raises(ValueError, match="comes after"):
        total.add(SampleRange(5, 20, 0, 0), np.zeros((1, 15)))
    total.take(15)
    with pytest.raises(ValueError, match="comes after"):
        total.add(SampleRange(12, 20, 0, 0), np.zeros((1, 8)))
