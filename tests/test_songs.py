"""Synthesised stems and songs."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import soundfile

from stemprover.data.export import write_songs
from stemprover.data.songs import SYNTH_CLASSES, render_song, render_stem, spread
from stemprover.data.synth import RATE


@pytest.mark.parametrize("stem_class", SYNTH_CLASSES)
def test_stems_are_audible_finite_and_repeatable(stem_class: str):
    for seed in range(3):
        first, second = (render_stem(stem_class, RATE, np.random.default_rng(seed)) for _ in range(2))
        assert first.shape == (2, RATE)
        assert first.dtype == np.float32
        assert np.array_equal(first, second)
        assert np.sqrt(np.mean(np.square(first))) == pytest.approx(0.1, rel=0.01)


def test_basses_are_low_and_melodies_are_not():
    def share_below(hz: int, stem_class: str) -> float:
        audio = [render_stem(stem_class, 2 * RATE, np.random.default_rng(seed)) for seed in range(5)]
        power = sum(np.square(np.abs(np.fft.rfft(stem))).sum(0) for stem in audio)
        return float(power[: 2 * hz].sum() / power.sum())

    assert share_below(400, "bass") > 0.6
    assert share_below(150, "other") < 0.3


def test_songs_are_repeatable_and_differ():
    first, second, other = render_song(1, 1.0), render_song(1, 1.0), render_song(2, 1.0)
    assert set(first) == set(SYNTH_CLASSES)
    for name in SYNTH_CLASSES:
        assert np.array_equal(first[name], second[name])
        assert not np.array_equal(first[name], other[name])


@pytest.mark.parametrize("position", [-1.0, -0.3, 0.0, 1.0])
def test_panning_keeps_power(position: float):
    mono = np.ones(10, np.float32)
    left, right = spread(mono, position)
    np.testing.assert_allclose(left**2 + right**2, 1.0, rtol=1e-6)
    assert (left > right).all() == (position < 0)


def test_written_songs_sum_to_their_mixture_and_are_kept(tmp_path: Path):
    assert write_songs(tmp_path, 1, seconds=1.0) == 1
    (folder,) = (path for path in tmp_path.iterdir() if path.is_dir())
    stems = [soundfile.read(folder / f"{name}.flac", dtype="int32")[0] for name in SYNTH_CLASSES]
    mixture = soundfile.read(folder / "mixture.flac", dtype="int32")[0]
    np.testing.assert_array_equal(np.sum(stems, axis=0), mixture)
    assert write_songs(tmp_path, 2, seconds=1.0) == 1
