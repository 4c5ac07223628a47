"""Adding a difference to native samples, limiting, and resampling."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from stemprover.errors import ModelError
from stemprover.stems import from_difference, limit_difference, resample

BITS = {"PCM_U8": 8, "PCM_16": 16, "PCM_24": 24, "PCM_32": 32}
SHAPE = (2, 16)

differences = hnp.arrays(
    np.float64, SHAPE, elements=st.one_of(st.just(0.0), st.floats(-3.0, 3.0), st.floats(-1e-9, 1e-9))
)
subtypes = st.sampled_from(sorted(BITS))


def integers(bits: int) -> st.SearchStrategy[np.ndarray]:
    values = st.integers(-(2 ** (bits - 1)), 2 ** (bits - 1) - 1)
    return hnp.arrays(np.int64, SHAPE, elements=values).map(lambda a: (a << (32 - bits)).astype(np.int32))


@given(st.data(), subtypes, differences)
def test_integers_stay_on_their_grid_and_within_half_a_step_or_the_limit(
    data: st.DataObject, subtype: str, difference: np.ndarray
) -> None:
    bits = BITS[subtype]
    native = data.draw(integers(bits))
    out = from_difference(native, difference, subtype)
    step = 2.0 ** (1 - bits)
    assert out.dtype == np.int32
    assert not (out.astype(np.int64) & (2 ** (32 - bits) - 1)).any()
    wanted = np.clip(native / 2.0**31 + difference, -1.0, 1.0 - step)
    assert np.abs(out / 2.0**31 - wanted).max() <= step / 2 + 1e-12
    np.testing.assert_array_equal(out[difference == 0], native[difference == 0])


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@given(data=st.data(), difference=differences)
def test_floats_never_leave_full_scale_further_than_the_input(
    dtype: type[np.floating], data: st.DataObject, difference: np.ndarray
) -> None:
    width = np.dtype(dtype).itemsize * 8
    native = data.draw(hnp.arrays(dtype, SHAPE, elements=st.floats(-4.0, 4.0, width=width)))
    out = from_difference(native, difference, "FLOAT")
    assert out.dtype == dtype
    assert (np.abs(out) <= np.maximum(1.0, np.abs(native))).all()
    same = difference == 0
    assert out[same].tobytes() == native[same].tobytes()  # minus zero included
    free = np.abs(native + difference) <= 1.0
    np.testing.assert_allclose(out[free], (native + difference)[free], atol=np.finfo(dtype).eps)


def test_an_input_at_full_scale_may_come_down_but_not_wrap_around() -> None:
    native = np.array([[2**31 - 65536, -(2**31)]], np.int32)
    np.testing.assert_array_equal(from_difference(native, np.array([[0.5, -0.5]]), "PCM_16"), native)
    lower = from_difference(native, np.array([[-0.5, 0.5]]), "PCM_16")
    np.testing.assert_allclose(lower / 2.0**31, [[0.5, -0.5]], atol=2**-15)


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_a_repair_that_is_not_finite_is_an_error(bad: float) -> None:
    with pytest.raises(ModelError, match="NaN or infinity"):
        from_difference(np.zeros((1, 2), np.int32), np.array([[0.0, bad]]), "PCM_16")


def test_rounding_error_of_a_sine_is_that_of_the_subtype() -> None:
    sine = 0.25 * np.sin(2 * np.pi * 997 * np.arange(44_100) / 44_100)[None]
    error = from_difference(np.zeros(sine.shape, np.int32), sine, "PCM_16") / 2.0**31 - sine
    assert 20 * np.log10(np.std(error)) == pytest.approx(20 * np.log10(2**-15 / math.sqrt(12)), abs=0.5)


@given(hnp.arrays(np.float64, (2, 400), elements=st.floats(-1.5, 1.5)), st.integers(0, 2**31), st.floats(0, 1.5))
def test_limited_difference_needs_no_clipping(audio: np.ndarray, seed: int, level: float) -> None:
    difference = np.random.default_rng(seed).uniform(-level, level, audio.shape)
    limited = limit_difference(audio, difference, window=20)
    assert (np.abs(audio + limited) <= np.maximum(1.0, np.abs(audio)) + 1e-9).all()
    assert (np.abs(limited) <= np.abs(difference) + 1e-12).all()


def test_limiting_dips_smoothly_locally_and_alike_in_all_channels() -> None:
    audio = np.full((2, 4000), 0.5)
    difference = np.full((2, 4000), 0.25)
    difference[0, 2000] = 1.0
    limited = limit_difference(audio, difference, window=400)
    gain = limited / difference
    np.testing.assert_allclose(gain[0], gain[1], rtol=1e-12)
    assert gain[0, 2000] == pytest.approx(0.5)
    assert np.abs(np.diff(gain[0])).max() < 0.01
    np.testing.assert_allclose(gain[:, :1500], 1.0, rtol=1e-12)
    np.testing.assert_allclose(gain[:, 2500:], 1.0, rtol=1e-12)


def test_a_difference_with_room_is_returned_as_it_is() -> None:
    difference = np.full((1, 100), 0.4)
    assert limit_difference(np.full((1, 100), 0.6), difference) is difference
    assert limit_difference(np.zeros((1, 0)), difference[:, :0]).shape == (1, 0)


@pytest.mark.parametrize("rates", [(48_000, 44_100), (44_100, 192_000), (8_000, 44_100), (44_100, 22_050)])
def test_a_resampled_tone_is_the_tone_at_the_new_rate(rates: tuple[int, int]) -> None:
    old, new = rates
    n = old // 2 + 7
    tone = np.sin(2 * np.pi * 1000 * np.arange(n) / old)[None]
    out = resample(tone, old, new)
    assert out.shape == (1, math.ceil(n * new / old))
    wanted = np.sin(2 * np.pi * 1000 * np.arange(out.shape[1]) / new)[None]
    middle = slice(new // 10, -new // 10)
    assert np.abs(out - wanted)[:, middle].max() < 1e-5  # no delay, -100 dB


@given(st.integers(1, 3000), st.sampled_from([8_000, 11_025, 44_100, 48_000, 96_000]), st.sampled_from([1, 2, 6]))
def test_resampled_length_is_exact_and_the_type_is_kept(n: int, rate: int, channels: int) -> None:
    out = resample(np.zeros((channels, n), np.float32), rate, 44_100)
    assert out.shape == (channels, math.ceil(n * 44_100 / rate))
    assert out.dtype == np.float32
    assert not out.any()
