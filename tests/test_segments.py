"""Segments: lengths, cover, places of cuts, and joins that cannot be measured."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from stemprover.spectral.segments import (
    OverlapAdd,
    SampleRange,
    Segment,
    envelope_db,
    fade,
    onset_strength,
    plan_segments,
)

RATE = 44_100
HOP = 512
HOP_S = HOP / RATE
SEED = 5


def plan(envelope: np.ndarray, regions: list[tuple[float, float]], **lengths: float) -> tuple[Segment, ...]:
    return plan_segments(envelope, onset_strength(envelope), regions, hop_s=HOP_S, **lengths)


def level_with(dips: list[int], hops: int, depth_db: float = -50.0) -> np.ndarray:
    """A steady -20 dB with quiet hops."""
    envelope = np.full(hops, -20.0)
    for dip in dips:
        envelope[dip - 3 : dip + 3] = -20.0 + depth_db
    return envelope


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


def test_envelope_of_a_sine_is_its_rms_level_over_all_channels() -> None:
    time = np.arange(RATE) / RATE
    tone = np.sin(2 * np.pi * 4410 * time)  # ten samples per period
    audio = np.stack([tone, np.zeros_like(tone)])
    level = envelope_db(audio, 440)
    np.testing.assert_allclose(level, 10 * np.log10(0.25), atol=1e-6)


def test_envelope_in_blocks_equals_envelope_of_the_whole() -> None:
    audio = np.random.default_rng(SEED).normal(size=(2, 10_000))
    whole = envelope_db(audio, 512)
    blocks = np.concatenate([envelope_db(audio[:, a : a + 2048], 512) for a in range(0, 10_000, 2048)])
    np.testing.assert_allclose(blocks, whole, rtol=1e-12)
    assert whole.shape == (20,)
    assert envelope_db(np.zeros((1, 600)), 512).tolist() == [-100.0, -100.0]


def test_onsets_are_rises_only() -> None:
    envelope = np.array([-60.0, -60, -20, -20, -20, -20, -50])
    np.testing.assert_allclose(onset_strength(envelope), [0, 0, 40, 40, 40, 0, 0])


def test_a_stretch_is_cut_in_its_pauses() -> None:
    envelope = level_with([220, 445, 660], 900)
    segments = plan(envelope, [(0.0, 900 * HOP_S)])
    joins = [(a.release_s + a.stop_s) / 2 / HOP_S for a in segments[:-1]]
    assert len(segments) == 4
    np.testing.assert_allclose(joins, [220, 445, 660], atol=3)


def test_a_stretch_without_pauses_is_cut_at_a_transient() -> None:
    envelope = np.full(400, -30.0)
    envelope[195:] = -20.0
    segments = plan(envelope, [(0.0, 400 * HOP_S)])
    assert len(segments) == 2
    assert (segments[0].release_s + segments[0].stop_s) / 2 / HOP_S == pytest.approx(195, abs=3)


def test_edges_of_a_region_move_outwards_to_a_pause() -> None:
    envelope = level_with([180, 420], 600)
    (segment,) = plan(envelope, [(200 * HOP_S, 400 * HOP_S)])
    assert segment.start_s / HOP_S == pytest.approx(180, abs=3)
    assert segment.stop_s / HOP_S == pytest.approx(420, abs=3)


def test_the_flagged_region_is_repaired_at_full_weight() -> None:
    (segment,) = plan(np.full(600, -20.0), [(3.0, 4.0)])
    assert segment.full_s <= 3.0
    assert segment.release_s >= 4.0


def test_there_is_no_fade_where_the_file_begins_or_ends() -> None:
    envelope = np.full(200, -20.0)
    (segment,) = plan(envelope, [(0.0, 200 * HOP_S)])
    where = segment.at(RATE, 200 * HOP)
    assert (where.start, where.stop, where.fade_in, where.fade_out) == (0, 200 * HOP, 0, 0)


def test_a_file_shorter_than_the_shortest_segment_is_one_segment() -> None:
    (segment,) = plan(np.full(40, -20.0), [(0.1, 0.2)])
    assert segment.start_s == 0.0
    assert segment.at(RATE, 40 * HOP - 100).stop == 40 * HOP - 100


def test_silence_and_no_regions() -> None:
    silence = np.full(1000, -100.0)
    assert plan(silence, []) == ()
    assert plan(silence, [(-2.0, -1.0), (100.0, 120.0), (3.0, 3.0)]) == ()
    assert len(plan(silence, [(1.0, 9.0)])) >= 3
    assert plan(np.zeros(0), [(0.0, 1.0)]) == ()


def test_lengths_that_let_three_segments_overlap_are_refused() -> None:
    with pytest.raises(ValueError, match="two overlaps"):
        plan(np.zeros(100), [(0.0, 1.0)], overlap_s=1.0)
    with pytest.raises(ValueError, match="one onset strength per hop"):
        plan_segments(np.zeros(5), np.zeros(6), [], hop_s=HOP_S)


def test_the_longest_length_goes_before_the_shortest() -> None:
    segments = plan(np.full(260, -20.0), [(0.0, 260 * HOP_S)], min_s=2.9)
    assert len(segments) == 2
    assert max(segment.duration_s for segment in segments) <= 2.97


regions_strategy = st.lists(
    st.tuples(st.floats(-1.0, 30.0), st.floats(0.01, 12.0)).map(lambda pair: (pair[0], pair[0] + pair[1])), max_size=8
)


@given(
    regions=regions_strategy,
    hops=st.integers(1, 2500),
    seed=st.integers(0, 2**32 - 1),
    overlap_s=st.floats(0.0, 0.1),
    search_s=st.floats(0.0, 1.0),
)
def test_segments_cover_respect_lengths_and_overlap_neighbours_only(
    regions: list[tuple[float, float]], hops: int, seed: int, overlap_s: float, search_s: float
) -> None:
    envelope = np.random.default_rng(seed).uniform(-90, 0, hops)
    segments = plan(envelope, regions, overlap_s=overlap_s, search_s=search_s)
    total = hops * HOP_S
    for segment in segments:
        assert 0 <= segment.start_s <= segment.full_s <= segment.release_s <= segment.stop_s <= total
        assert min(128 * HOP_S, total) - 1e-9 <= segment.duration_s <= 2.97 + 1e-9
    for first, second in itertools.pairwise(segments):
        assert first.start_s < second.start_s
        if second.start_s < first.stop_s:  # a crossfade: the same four numbers
            assert (first.release_s, first.stop_s) == (second.start_s, second.full_s)
    for first, third in zip(segments, segments[2:], strict=False):
        assert first.stop_s <= third.start_s
    weight = np.zeros(hops * HOP)
    for segment in segments:
        where = segment.at(RATE, weight.size)
        weight[where.start : where.stop] += where.weights()
    assert weight.max(initial=0.0) <= 1 + 1e-12
    for start, stop in regions:
        inside = weight[max(0, round(start * RATE)) : max(0, round(stop * RATE))]
        np.testing.assert_allclose(inside, 1.0, atol=1e-12)


@given(st.sampled_from([8_000, 11_025, 22_050, 32_000, 44_100, 48_000, 96_000, 192_000]), st.integers(300, 900))
def test_crossfades_fit_at_every_sample_rate(sample_rate: int, hops: int) -> None:
    segments = plan(np.random.default_rng(hops).uniform(-60, 0, hops), [(0.0, hops * HOP_S)])
    ranges = [segment.at(sample_rate, 10**9) for segment in segments]
    for first, second in itertools.pairwise(ranges):
        assert first.stop - second.start == first.fade_out == second.fade_in > 0


def repaired_tone(frequency: float, n: int, ranges: list[SampleRange], block: int) -> np.ndarray:
    tone = np.sin(2 * np.pi * frequency * np.arange(n) / RATE)[None]
    total, out, waiting = OverlapAdd(1), [], list(ranges)
    for start in range(0, n, block):
        while waiting and waiting[0].start < start + block:
            where = waiting.pop(0)
            total.add(where, tone[:, where.start : where.stop])
        out.append(total.take(min(start + block, n)))
    return np.concatenate(out, axis=1)


@pytest.mark.parametrize("frequency", [55.0, 997.0, 9973.0])
def test_joins_on_a_tone_leave_no_click(frequency: float) -> None:
    hops = 1000
    segments = plan(np.full(hops, -3.0), [(0.0, hops * HOP_S)])
    ranges = [segment.at(RATE, hops * HOP) for segment in segments]
    assert len(ranges) >= 4
    out = repaired_tone(frequency, hops * HOP, ranges, block=70_000)
    tone = np.sin(2 * np.pi * frequency * np.arange(hops * HOP) / RATE)[None]
    assert np.abs(out - tone).max() < 1e-12  # -240 dB re the tone
    step = 2 * np.pi * frequency / RATE
    assert np.abs(np.diff(out, 2)).max() <= (2 * np.sin(step / 2)) ** 2 + 1e-9


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


def test_edges_of_a_repaired_tone_splatter_below_minus_80_db() -> None:
    n = 4 * RATE
    (segment,) = plan(np.full(n // HOP, -3.0), [(1.0, 2.5)])
    out = repaired_tone(1000.0, n, [segment.at(RATE, n)], block=n)[0]
    spectrum = np.abs(np.fft.rfft(out))
    hz = np.fft.rfftfreq(n, 1 / RATE)
    far = np.abs(hz - 1000.0) > 500.0
    assert 20 * np.log10(spectrum[far].max() / spectrum.max()) < -80.0


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
