"""Composed songs, what FluidSynth makes of them, and data folders that are put together."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import soundfile
from hypothesis import given, settings
from hypothesis import strategies as st

from stemprover.data import fluidsynth
from stemprover.data.build import build_pairs
from stemprover.data.compose import compose
from stemprover.data.degrade import Recipe
from stemprover.data.export import write_songs
from stemprover.data.fluidsynth import find_soundfont, render_midi_song, write_midi
from stemprover.data.library import open_libraries, open_library
from stemprover.data.score import SUNG, Harmony, Hit, Part, draw_sections
from stemprover.data.songs import SYNTH_CLASSES
from stemprover.data.synth import RATE
from stemprover.errors import OptionError, TrainingError


def _can_render() -> bool:
    try:
        find_soundfont()
    except TrainingError:
        return False
    return True


renders = pytest.mark.skipif(not _can_render(), reason="needs fluidsynth and a SoundFont (fluid-soundfont-gm)")


@settings(max_examples=20, deadline=None)
@given(seed=st.integers(0, 10**6), seconds=st.sampled_from([1.0, 7.5, 40.0]))
def test_every_stem_of_a_song_has_notes_that_a_synthesiser_can_play(seed: int, seconds: float):
    score = compose(seed, seconds)
    assert score == compose(seed, seconds)
    assert set(score.stems) == set(SYNTH_CLASSES)
    assert 60 <= score.tempo <= 180
    for name, parts in score.stems.items():
        assert any(0 <= hit.start * 60 / score.tempo < seconds for part in parts for hit in part.hits)
        assert len(parts) <= 15  # pitched channels of a MIDI file
        for part in parts:
            assert part.is_drums == (name == "drums")
            assert part.program in range(128) or (name, part.program) == ("vocals", SUNG)
            assert all(0 <= value <= 127 for value in part.controls.values())
            for hit in part.hits:
                assert 0 <= hit.key <= 127
                assert 1 <= hit.velocity <= 127
                assert hit.start >= 0
                assert hit.length > 0


def test_songs_differ_in_tempo_instruments_and_number_of_parts():
    scores = [compose((0, number), 20.0) for number in range(60)]
    programs = {name: {part.program for score in scores for part in score.stems[name]} for name in SYNTH_CLASSES}
    assert programs["bass"] == set(range(32, 40))
    assert len(programs["other"]) > 40
    assert len(programs["drums"]) > 4
    assert {SUNG, 52, 53, 54} <= programs["vocals"]
    assert np.ptp([score.tempo for score in scores]) > 90
    assert {len(score.stems["other"]) for score in scores} >= {1, 2, 3, 4}


@given(seed=st.integers(0, 10**6), bars=st.integers(1, 60))
def test_sections_cover_every_bar_once(seed: int, bars: int):
    sections = draw_sections(bars, 4, np.random.default_rng(seed))
    starts = [start for section in sections for start, _ in section.bars()]
    assert starts == [4.0 * bar for bar in range(bars)]


@given(degree=st.integers(0, 12), near=st.integers(30, 90), seed=st.integers(0, 99))
def test_chords_stay_in_the_key_and_near_the_hand(degree: int, near: int, seed: int):
    harmony = Harmony.draw(np.random.default_rng(seed))
    chord = harmony.chord(degree, 3, near)
    assert len(chord) == 3
    assert set(chord) <= set(harmony.ladder(near - 6, near + 6))


def test_midi_files_hold_the_notes_at_their_times(tmp_path: Path):
    mido = pytest.importorskip("mido")
    hits = (Hit(1.0, 0.5, 60, 90), Hit(0.0, 1.0, 60, 80), Hit(2.0, 1.0, 67, 70))
    parts = (Part(52, False, hits, {7: 100, 10: 20}), Part(0, True, (Hit(0.0, 0.2, 36, 110),), {}))
    write_midi(parts, 120.0, 4.0, tmp_path / "song.mid")
    file = mido.MidiFile(tmp_path / "song.mid")
    assert file.length == pytest.approx(4.0)
    time, starts, sounding = 0.0, [], set()
    for message in file:
        time += message.time
        key = (getattr(message, "channel", None), getattr(message, "note", None))
        if message.type == "note_on":
            assert key not in sounding  # the first C ends before the second begins
            sounding.add(key)
            starts.append((round(time, 3), *key, message.velocity))
        elif message.type == "note_off":
            sounding.remove(key)
    assert sorted(starts) == [(0.0, 0, 60, 80), (0.0, 9, 36, 110), (0.5, 0, 60, 90), (1.0, 0, 67, 70)]
    assert not sounding


def test_what_is_missing_is_named(monkeypatch: pytest.MonkeyPatch, tmp_path: Path):
    with pytest.raises(OptionError, match="builtin, fluidsynth"):
        write_songs(tmp_path, 1, renderer="timidity")
    program = tmp_path / "fluidsynth"
    program.touch(0o755)
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(TrainingError, match=r"no file .*absent\.sf2"):
        find_soundfont(tmp_path / "absent.sf2")
    monkeypatch.setattr(fluidsynth, "_FOLDERS", (str(tmp_path),))
    with pytest.raises(TrainingError, match="fluid-soundfont-gm"):
        find_soundfont()
    (tmp_path / "b.sf2").touch()
    (tmp_path / "FluidR3_GM.sf2").touch()
    assert find_soundfont().name == "FluidR3_GM.sf2"
    program.unlink()
    with pytest.raises(TrainingError, match="apt install fluidsynth fluid-soundfont-gm"):
        find_soundfont()


@pytest.mark.skipif(shutil.which("fluidsynth") is None, reason="needs fluidsynth")
def test_a_broken_soundfont_is_one_clear_line(tmp_path: Path):
    (tmp_path / "broken.sf2").write_bytes(b"no SoundFont")
    with pytest.raises(TrainingError, match="another --soundfont"):
        render_midi_song(0, 1.0, tmp_path / "broken.sf2")


@pytest.fixture(scope="module")
def songs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("songs")
    assert write_songs(folder, 2, seconds=3.0, seed=4, renderer="fluidsynth", jobs=2) == 2
    return folder


@renders
def test_rendered_songs_sum_exactly_and_no_stem_is_silent(songs: Path):
    for number in range(2):
        folder = songs / f"{number:06d}"
        stems = {name: soundfile.read(folder / f"{name}.flac", dtype="int32")[0] for name in SYNTH_CLASSES}
        mixture = soundfile.read(folder / "mixture.flac", dtype="int32")[0]
        np.testing.assert_array_equal(np.sum(list(stems.values()), axis=0), mixture)
        assert 0.85 * 2**31 < np.abs(mixture.astype(np.int64)).max() < 0.95 * 2**31
        for audio in stems.values():
            assert audio.shape == (3 * RATE, 2)
            assert np.sqrt(np.mean((audio / 2**31) ** 2)) > 1e-3
            assert np.abs(np.mean(audio / 2**31)) < 3e-3  # SoundFonts hold samples with an offset


@renders
def test_rendered_songs_depend_on_seed_and_number_only(songs: Path):
    again = render_midi_song((4, 1), 3.0, find_soundfont())
    other = render_midi_song((4, 2), 3.0, find_soundfont())
    level = None
    for name in SYNTH_CLASSES:
        written = soundfile.read(songs / "000001" / f"{name}.flac")[0].T
        level = level or np.abs(again[name]).max() / np.abs(written).max()
        np.testing.assert_allclose(again[name] / level, written, atol=2e-4)
        assert not np.array_equal(again[name], other[name])
    assert write_songs(songs, 2, seconds=3.0, seed=4, renderer="fluidsynth") == 0


@renders
def test_basses_of_rendered_songs_are_low(songs: Path):
    for number in range(2):
        audio = soundfile.read(songs / f"{number:06d}" / "bass.flac")[0].mean(1)
        power = np.square(np.abs(np.fft.rfft(audio)))
        frequency = np.fft.rfftfreq(audio.size, 1 / RATE)
        assert power[frequency < 400].sum() > 0.5 * power.sum()


def test_several_folders_become_one_library(tmp_path: Path):
    write_songs(tmp_path / "a", 2, seconds=4.0, seed=1)
    write_songs(tmp_path / "b", 1, seconds=4.0, seed=2)
    folders = [tmp_path / "a", tmp_path / "b"]
    both = open_libraries(folders, tmp_path / "cache", "train")
    assert set(both.songs) == {"000000", "000001", "000000~2"}
    for name, folder in (("000000", "a"), ("000000~2", "b")):
        alone = open_library(tmp_path / folder, tmp_path / "cache", "train").songs["000000"]
        for track, source in zip(both.songs[name], alone, strict=True):
            assert (track.song, track.stem_class) == (name, source.stem_class)
            assert np.array_equal(track.samples, source.samples)
            assert track.last == round(0.85 * 4 * RATE)
    built = build_pairs(folders, tmp_path / "pairs", 8, "validation", recipe=Recipe.only("none"))
    assert built.written == 8
    lines = (tmp_path / "pairs" / "manifest.jsonl").read_text().splitlines()
    assert len({json.loads(line)["song"] for line in lines} & set(both.songs)) > 0
