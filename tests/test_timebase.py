"""Reading at the internal rate and going back: aligned to the sample, at any rate and place."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from stemprover.spectral.spec import SPEC
from stemprover.stems import Stem
from stemprover.timebase import Timebase, match_channels

RATES = (8_000, 11_127, 44_056, 44_100, 44_101, 48_000, 192_000)


def chirp(rate: int, seconds: float = 2.5) -> np.ndarray:
    """A sweep from 100 Hz to 2.5 kHz and a slower one in the other channel."""
    time = np.arange(round(rate * seconds)) / rate
    sweeps = [np.sin(2 * np.pi * (100 * time + slope * time**2)) for slope in (480.0, 240.0)]
    return 0.5 * np.stack(sweeps)


@pytest.mark.parametrize("rate", RATES)
def test_read_and_back_give_the_same_samples_at_the_same_place(rate: int) -> None:
    audio = chirp(rate)
    timebase = Timebase(rate)
    start, stop = 30_011, 30_011 + 60_000
    inside = timebase.read(Stem.from_array(audio, rate), start, stop)
    assert inside.shape == (2, stop - start)
    first = -(-(start + 4096) * rate // SPEC.sample_rate)
    last = (stop - 4096) * rate // SPEC.sample_rate
    assert np.abs(timebase.back(inside, start, first, last) - audio[:, first:last]).max() < 1e-3


@pytest.mark.parametrize("rate", RATES)
def test_stretches_join_without_a_seam(rate: int) -> None:
    stem = Stem.from_array(chirp(rate), rate)
    timebase = Timebase(rate)
    whole = timebase.read(stem, 10_000, 50_000)
    parts = [timebase.read(stem, a, b) for a, b in ((10_000, 23_456), (23_456, 50_000))]
    assert torch.allclose(torch.cat(parts, dim=1), whole, atol=2e-5)


@pytest.mark.parametrize("rate", RATES)
def test_grids_meet_where_they_say(rate: int) -> None:
    timebase = Timebase(rate)
    assert timebase.step * rate == timebase.file_step * SPEC.sample_rate
    for sample in (0, 1, 12_345, 1_000_000, -1, -12_345):
        floor = timebase.floor(sample)
        assert floor <= sample < floor + timebase.step
        assert timebase.to_file(floor) * SPEC.sample_rate == floor * rate
    assert timebase.length(rate) == SPEC.sample_rate


def test_internal_rate_is_read_exactly_and_zeros_surround_the_file() -> None:
    audio = chirp(44_100)[:, :5000].astype(np.float32)
    timebase = Timebase(44_100)
    around = timebase.read(Stem.from_array(audio, 44_100), -100, 5100).numpy()
    assert np.array_equal(around[:, 100:-100], audio)
    assert (around[:, :100] == 0).all()
    assert (around[:, -100:] == 0).all()


def test_back_is_zero_where_the_difference_does_not_reach() -> None:
    back = Timebase(48_000).back(torch.ones(1, 44_100), 44_100, 0, 3 * 48_000)
    assert back.shape == (1, 3 * 48_000)
    assert np.abs(back[:, :47_000]).max() < 1e-3
    assert np.abs(back[:, 49_000:95_000] - 1.0).max() < 1e-2
    assert (back[:, 97_000:] == 0).all()


def test_channels_are_spread_or_averaged() -> None:
    stereo = torch.tensor([[1.0, 2.0], [3.0, 6.0]])
    assert torch.equal(match_channels(stereo, 2), stereo)
    assert torch.equal(match_channels(stereo, 1), torch.tensor([[2.0, 4.0]]))
    assert torch.equal(match_channels(stereo[:1], 6), stereo[:1].expand(6, -1))
