"""Segments: lengths, cover, places of cuts, and joins that cannot be measured."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from stemprover.spectral.envelope import envelope_db, onset_strength
from stemprover.spectral.overlap import OverlapAdd, SampleRange
from stemprover.spectral.segments import Segment, plan_segments

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
    envelope = np.full(400, -20.0)
    envelope[185:205] = -10.0  # arithmetic would cut at 200
    first, _ = plan(envelope, [(0.0, 400 * HOP_S)])
    assert (first.release_s + first.stop_s) / 2 / HOP_S == pytest.approx(185, abs=3)


@given(st.integers(256, 3000), st.integers(0, 2**32 - 1))
def test_a_stretch_is_cut_no_more_often_than_needed(hops: int, seed: int) -> None:
    segments = plan(np.random.default_rng(seed).uniform(-90, 0, hops), [(0.0, hops * HOP_S)], search_s=1.0)
    overlap = round((segments[0].stop_s - segments[0].release_s) / HOP_S)
    assert len(segments) == math.ceil((hops - overlap) / (255 - overlap))


def test_segments_at_the_ends_of_a_file_may_be_longer() -> None:
    def of_file(hops: int) -> list[int]:
        lengths = {"max_s": 200 * HOP_S, "longer_at_ends_s": 20 * HOP_S, "overlap_s": 4 * HOP_S, "search_s": 0.0}
        segments = plan(np.full(hops, -20.0), [(0.0, hops * HOP_S)], **lengths)
        return [round(segment.duration_s / HOP_S) for segment in segments]

    assert of_file(240) == [240]
    assert of_file(241) == [123, 122]
    assert of_file(3 * 200 + 40 - 2 * 4) == [220, 200, 220]
    assert len(of_file(3 * 200 + 40 - 2 * 4 + 1)) == 4


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
    longer=st.integers(0, 30),
)
def test_segments_cover_respect_lengths_and_overlap_neighbours_only(
    regions: list[tuple[float, float]], hops: int, seed: int, overlap_s: float, search_s: float, longer: int
) -> None:
    envelope = np.random.default_rng(seed).uniform(-90, 0, hops)
    segments = plan(envelope, regions, overlap_s=overlap_s, search_s=search_s, longer_at_ends_s=longer * HOP_S)
    total = hops * HOP_S
    for segment in segments:
        assert 0 <= segment.start_s <= segment.full_s <= segment.release_s <= segment.stop_s <= total
        longest = 2.97 + longer * HOP_S * ((segment.start_s == 0) + (segment.stop_s == total))
        assert min(128 * HOP_S, total) - 1e-9 <= segment.duration_s <= longest + 1e-9
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


def test_edges_of_a_repaired_tone_splatter_below_minus_80_db() -> None:
    n = 4 * RATE
    (segment,) = plan(np.full(n // HOP, -3.0), [(1.0, 2.5)])
    out = repaired_tone(1000.0, n, [segment.at(RATE, n)], block=n)[0]
    spectrum = np.abs(np.fft.rfft(out))
    hz = np.fft.rfftfreq(n, 1 / RATE)
    far = np.abs(hz - 1000.0) > 500.0
    assert 20 * np.log10(spectrum[far].max() / spectrum.max()) < -80.0
