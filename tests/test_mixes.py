"""What separators train on: mixtures of songs, kits, solos and synthesised notes, and scenes of one song."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
import torch

from stemprover.data.cuts import loudness
from stemprover.data.export import write_songs
from stemprover.data.library import Library, open_library
from stemprover.data.scenes import draw_scene
from stemprover.data.sources import Recording
from stemprover.errors import TrainingError
from stemprover.separation.layout import STEMS
from stemprover.training import mixes
from stemprover.training.mixes import RandomMixes, material, without

SECOND = 44_100


@pytest.fixture(scope="module")
def library(tmp_path_factory: pytest.TempPathFactory) -> Library:
    songs = tmp_path_factory.mktemp("songs")
    write_songs(songs, 2, seconds=8.0, seed=1)
    return open_library(songs, tmp_path_factory.mktemp("cache"), "train")


@pytest.fixture(autouse=True)
def _few_renderings(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(mixes, "_RENDERED", 1)  # rendering the usual number takes a quarter of a minute


def test_mixes_are_drawn_from_what_may_be_heard(library: Library):
    some = without(library, ["*1"])
    assert material(library) == ("000000", "000001")
    assert material(some) == ("000000",)
    with pytest.raises(TrainingError, match="lithum"):
        without(library, ["lithum"])
    batches = RandomMixes(some, 3, seed=4)
    first = batches.batch(7)
    assert first.stems.shape == (3, 4, 2, 3 * SECOND)
    torch.testing.assert_close(first.mixture, first.stems.sum(1))
    assert (first.mixture.square().mean((1, 2)) > 0).all()
    assert torch.equal(first.stems, RandomMixes(some, 3, seed=4).batch(7).stems)
    assert not torch.equal(first.stems, batches.batch(8).stems)


def test_solo_singing_is_heard_and_can_be_left_out(library: Library):
    """A solo of one tone: some of the voices are nothing but it."""
    track = dataclasses.replace(_tone(library, "vocals", 3_000.0, 16_000), name="singer")
    sung = dataclasses.replace(library, solos=(track,))
    assert material(sung) == ("000000", "000001", "singer")
    assert not without(sung, ["sing*"]).solos
    voices = torch.cat([RandomMixes(sung, 4, 3).batch(k).stems for k in range(4)])[:, STEMS.index("vocals")]
    spectra = torch.fft.rfft(voices[:, 0]).abs() ** 2
    alone = spectra[:, 3 * 3_000 - 3 : 3 * 3_000 + 4].sum(1) > 0.99 * spectra.sum(1)
    assert 0 < alone.sum() < len(alone)


_TONES = (("drums", 500.0, 8_000), ("other", 1_000.0, 4_000), ("vocals", 2_000.0, 8_000))


def _tone(library: Library, stem_class: str, hertz: float, level: int) -> Recording:
    """A track that is nothing but a tone."""
    tone = (level * np.sin(2 * np.pi * hertz * np.arange(9 * SECOND) / SECOND)).astype(np.int16)
    return dataclasses.replace(
        library.songs["000000"][0], name=stem_class, stem_class=stem_class, samples=np.stack([tone, tone]),
        loudness=np.full(tone.size // 1024 + 1, 0.1), first=0, last=tone.size,
    )  # fmt: skip


def test_varied_mixtures_have_one_speed_and_always_the_same(library: Library):
    """A song of tones an octave apart: they stay so at any speed."""
    song = Library({"song": tuple(_tone(library, *each) for each in _TONES)}, (), (), {}, None)
    plain, varied = (
        torch.cat([RandomMixes(song, 4, 5, varied_share=share).batch(k).stems for k in range(6)])
        for share in (0.0, 1.0)
    )
    assert varied.shape == plain.shape == (24, 4, 2, 3 * SECOND)
    again = torch.cat([RandomMixes(song, 4, 5, varied_share=1.0).batch(k).stems for k in range(6)])
    assert torch.equal(varied, again)
    places = [STEMS.index(name) for name in ("drums", "other", "vocals")]
    for mixes_of, varies in ((plain, False), (varied, True)):
        peaks = torch.fft.rfft(mixes_of[:, places, 0]).abs().argmax(-1) / 3
        sounding = (mixes_of[:, places].abs().amax((2, 3)) > 0) & (peaks > 0)
        own = sounding.all(1) & torch.isclose(peaks / peaks[:, :1], torch.tensor([1.0, 2.0, 4.0]), atol=0.02).all(1)
        found = {round(float(value), 2) for value in peaks[own][:, 2] / 2_000}
        assert (found == {1.0}) if not varies else (len(found) > 2 and 0.79 < min(found) < max(found) < 1.26)


def test_half_of_a_songs_scenes_keep_its_levels(library: Library):
    """Drums twice as loud as the rest: they stay so in half of the scenes that are the song's own, a quarter of all."""
    song = Library({"song": tuple(_tone(library, *each) for each in _TONES)}, (), (), {}, None)
    scenes = [draw_scene(song, SECOND, np.random.default_rng(seed), "drums") for seed in range(80)]
    ratios = [loudness(one.target) / loudness(one.siblings["other"]) for one in scenes if "other" in one.siblings]
    kept = np.isclose(ratios, 2.0, rtol=1e-3)
    assert 0.1 < kept.sum() / len(scenes) < 0.4
    assert len(np.unique(np.round(np.array(ratios)[~kept], 2))) > 10


def test_long_songs_are_heard_more_often_than_short_ones(library: Library):
    """Of two songs of one tone each, one of which has a ninth of the other's length, the first is one in ten."""
    names, tones = list(library.songs), {}
    for name, seconds, frequency in zip(names, (1.0, 9.0), (300.0, 2_000.0), strict=True):
        track = library.songs[name][0]
        time = np.arange(round(seconds * SECOND))
        tone = (16_000 * np.sin(2 * np.pi * frequency * time / SECOND)).astype(np.int16)
        loudness = np.full(time.size // 1024 + 1, 0.3)
        long = dataclasses.replace(
            track, stem_class="other", samples=np.stack([tone, tone]), loudness=loudness, first=0, last=time.size
        )
        tones[name] = (dataclasses.replace(long, last=1), long)
    mixes = RandomMixes(dataclasses.replace(library, songs=tones), 4, seed=1)
    draws = [mixes._song(np.random.default_rng(k), mixes.samples).get("other") for k in range(200)]
    heard = [np.argmax(np.abs(np.fft.rfft(audio[0]))) / 3.0 for audio in draws if audio is not None]
    assert 0.8 < np.mean(np.array(heard) > 1_000.0) < 0.97
