"""Stem sets: folders, mixtures, siblings."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import soundfile

from stemprover.errors import AudioError, OptionError, StemSetError
from stemprover.stems import Stem, StemSet, guess_stem_class
from stemprover.stems.sets import members

RATE = 44_100


def folder(path: Path, *names: str, samples: int = 1000, rate: int = RATE) -> Path:
    path.mkdir(exist_ok=True)
    for name in names:
        soundfile.write(path / name, np.full((samples, 2), 0.1), rate)
    return path


def siblings(classes: list[str], of: str) -> set[str]:
    stems = tuple(Stem.from_array(np.zeros((1, 10)), RATE, name) for name in classes)
    return set(StemSet(stems).siblings(stems[classes.index(of)]))


def test_a_folder_is_a_set_in_the_order_of_names(tmp_path: Path) -> None:
    folder(tmp_path, "vocals.wav", "bass.flac", "drums.wav", "other.wav", "mixture.wav")
    folder(tmp_path, "._vocals.wav", "vocals.enhanced.wav", samples=7)
    (tmp_path / "readme.txt").write_text("no audio")
    with StemSet.open(tmp_path) as stems:
        assert [stem.stem_class for stem in stems.stems] == ["bass", "drums", "other", "vocals"]
        assert stems.mixture is not None
        assert stems.mixture.name == "mixture"


@pytest.mark.parametrize(
    ("names", "classes", "mixture"),
    [
        (["vocals.wav", "drums.wav", "bass.wav", "other.wav"], {"vocals", "drums", "bass", "other"}, None),
        (["vocals.wav", "no_vocals.wav"], {"vocals", "instrumental"}, None),
        (
            ["vocals.wav", "drums.wav", "bass.wav", "piano.wav", "other.wav"],
            {"vocals", "drums", "bass", "piano", "other"},
            None,
        ),
        (
            [f"song_({stem})_htdemucs_6s.flac" for stem in ("Vocals", "Drums", "Bass", "Guitar", "Piano", "Other")],
            {"vocals", "drums", "bass", "guitar", "piano", "other"},
            None,
        ),
        (["1_song_(Vocals).wav", "1_song_(Instrumental).wav", "song.wav"], {"vocals", "instrumental"}, "song"),
        (
            ["Drum and Bass.wav", "Drum and Bass_(Vocals)_m.wav", "Drum and Bass_(Instrumental)_m.wav"],
            {"vocals", "instrumental"},
            "Drum and Bass",
        ),
        (
            ["song (Live).flac", "song (Live)_(Vocals)_m.flac", "song (Live)_(Other)_m.flac"],
            {"vocals", "other"},
            "song (Live)",
        ),
        (["song.wav", "song_vocals.wav", "song_drums.wav", "song_bass.wav"], {"vocals", "drums", "bass"}, "song"),
        (["set.wav", "vocals.wav", "drums.wav", "no_drums.wav"], {"vocals", "drums", "generic"}, None),
        (["set.wav", "vocals.wav", "drums.wav", "other.wav"], {"vocals", "drums", "other"}, "set"),
        (["song_mix.wav", "song_vocals.wav", "song_other.wav"], {"vocals", "other"}, "song_mix"),
        (["song.wav", "song_(Vocals)_m.wav", "song_(Synth)_m.wav"], {"vocals", "generic"}, "song"),
        (["take.wav", "take 2.wav"], {"generic"}, None),
        (["vocals.wav", "vocals_2.wav"], {"vocals"}, None),
    ],
)
def test_folders_of_every_separator_are_understood(
    tmp_path: Path, names: list[str], classes: set[str], mixture: str | None
) -> None:
    paths = [tmp_path / "Set" / name for name in names]
    (tmp_path / "Set").mkdir()
    for seed, path in enumerate(paths):
        soundfile.write(path, 0.1 * np.random.default_rng(seed).standard_normal((1000, 2)), RATE)
    with StemSet.open(tmp_path / "Set") as stems:
        assert {stem.stem_class for stem in stems.stems} == classes
        assert (stems.mixture and stems.mixture.name) == mixture


def voices(path: Path, **takes: np.ndarray) -> Path:
    path.mkdir()
    for name, audio in takes.items():
        soundfile.write(path / f"{name}.wav", audio, RATE, "FLOAT")
    return path


def test_a_stem_that_is_there_twice_is_refused(tmp_path: Path) -> None:
    """Each would be what bled into the other."""
    voice, second, rest = 0.1 * np.random.default_rng(0).standard_normal((3, 20_000, 2))
    twice = voices(tmp_path / "twice", vocals=voice, **{"song_(Vocals)_other": voice + 0.3 * second})
    with pytest.raises(StemSetError, match=r"song_\(Vocals\)_other\.wav' and '.*vocals\.wav', which hold the same"):
        StemSet.open(twice)
    takes = {"lead vocals": voice, "backing vocals": second + 0.3 * voice, "drums": rest, "other": rest}
    with StemSet.open(voices(tmp_path / "choir", **takes, **{"toms": 0 * rest, "toms_2": 0 * rest})) as stems:
        assert len(stems.stems) == 6


def test_the_song_among_its_stems_is_refused_unless_named(tmp_path: Path) -> None:
    """Its name may say nothing, its sound does; separators leave something of every song."""
    vocals, drums, bass, more = 0.1 * np.random.default_rng(0).standard_normal((4, 20_000, 2))
    takes = {"vocals": vocals, "drums": drums, "bass": bass, "Evening": vocals + drums + bass + 0.2 * more}
    song = voices(tmp_path / "stems", **takes)
    with pytest.raises(StemSetError, match=r"Evening\.wav', which holds what the others sum to; .*--mixture"):
        StemSet.open(song)
    with StemSet.open(song, mixture=song / "Evening.wav") as stems:
        assert len(stems.stems) == 3
    with StemSet.open(voices(tmp_path / "strings", **takes | {"Evening": more + 0.3 * vocals})) as stems:
        assert len(stems.stems) == 4


@pytest.mark.parametrize(
    "names",
    [
        (
            "one_(Vocals)_htdemucs",
            "one_(Instrumental)_htdemucs",
            "two_(Vocals)_htdemucs",
            "two_(Instrumental)_htdemucs",
        ),
        ("one_(Vocals)_htdemucs", "two_(Vocals)_htdemucs"),
        ("1_one_(Vocals)", "1_one_(Instrumental)", "2_two_(Instrumental)"),
        ("one_vocals", "one_drums", "two_vocals", "two_drums"),
    ],
)
def test_two_songs_in_one_folder_are_refused(tmp_path: Path, names: tuple[str, ...]) -> None:
    folder(tmp_path, *(f"{name}.wav" for name in names))
    with pytest.raises(StemSetError, match="2 songs \\('one' and 'two'\\); give each song a folder"):
        StemSet.open(tmp_path)


def test_what_a_name_says_about_a_stem_is_no_song(tmp_path: Path) -> None:
    names = ("lead vocals", "backing vocals", "lead guitar", "rhythm guitar", "02 kick", "03 snare", "song_(Drums)_x")
    folder(tmp_path, *(f"{name}.wav" for name in names))
    assert len(members(sorted(tmp_path.iterdir()))[0]) == len(names)


def test_a_given_mixture_overrules_the_folder_s(tmp_path: Path) -> None:
    folder(tmp_path, "vocals.wav", "mix.wav", "original.wav")
    with pytest.raises(StemSetError, match="--mixture"):
        StemSet.open(tmp_path)
    with StemSet.open(tmp_path, mixture=tmp_path / "original.wav") as stems:
        assert [stem.name for stem in stems.stems] == ["vocals"]
        assert stems.mixture is not None
        assert stems.mixture.name == "original"


def test_one_file_with_and_without_mixture(tmp_path: Path) -> None:
    folder(tmp_path, "take.wav", "song.wav")
    with StemSet.open(tmp_path / "take.wav", tmp_path / "song.wav", "Guitar") as stems:
        (stem,) = stems.stems
        assert stem.stem_class == "guitar"
        assert stems.siblings(stem) == {}
    with StemSet.open([tmp_path / "take.wav"]) as stems:
        assert stems.mixture is None


def test_a_file_called_original_alone_is_a_stem(tmp_path: Path) -> None:
    folder(tmp_path, "original.wav")
    with StemSet.open(tmp_path / "original.wav") as stems:
        assert len(stems.stems) == 1


@pytest.mark.parametrize(("samples", "rate", "words"), [(999, RATE, "1000 samples"), (1000, 48_000, "44100 Hz")])
def test_stems_of_other_length_or_rate_are_refused(tmp_path: Path, samples: int, rate: int, words: str) -> None:
    folder(tmp_path, "bass.wav", "drums.wav")
    folder(tmp_path, "vocals.wav", samples=samples, rate=rate)
    with pytest.raises(StemSetError, match=words) as caught:
        StemSet.open(tmp_path)
    assert "vocals.wav" in str(caught.value)
    with pytest.raises(StemSetError, match=words):
        StemSet.open(tmp_path / "bass.wav", mixture=tmp_path / "vocals.wav")


def test_folders_without_stems_and_damaged_files(tmp_path: Path) -> None:
    with pytest.raises(StemSetError, match="audio files in the folder"):
        StemSet.open(tmp_path)
    folder(tmp_path, "mix.wav", "mixture.wav")
    with pytest.raises(StemSetError):
        StemSet.open(tmp_path)
    folder(tmp_path, "vocals.wav")
    (tmp_path / "drums.wav").write_text("not audio")
    with pytest.raises(AudioError, match=r"drums\.wav"):
        StemSet.open(tmp_path, mixture=tmp_path / "mix.wav")
    with pytest.raises(StemSetError, match="at least one stem"):
        StemSet.open([])


def test_a_folder_with_a_stem_that_cannot_be_read_is_refused(tmp_path: Path) -> None:
    """Without it the set would be another: siblings and sums would miss what it holds."""
    folder(tmp_path, "drums.wav", "vocals.wav")
    for ignored in ("._bass.m4a", "bass.enhanced.m4a", "cover.jpg"):
        (tmp_path / ignored).touch()
    StemSet.open(tmp_path).close()
    for name in ("bass.m4a", "other.WMA"):
        (tmp_path / name).touch()
    for given in (tmp_path, str(tmp_path)):
        with pytest.raises(StemSetError, match=r"got 'bass\.m4a', 'other\.WMA'; convert"):
            StemSet.open(given)
    with StemSet.open([tmp_path / "drums.wav", tmp_path / "vocals.wav"]) as stems:
        assert len(stems.stems) == 2


def test_one_class_for_several_stems_is_refused(tmp_path: Path) -> None:
    folder(tmp_path, "a.wav", "b.wav")
    with pytest.raises(OptionError, match="2 stems"):
        StemSet.open(tmp_path, stem_class="vocals")


@pytest.mark.parametrize(
    ("classes", "of", "wanted"),
    [
        (["vocals", "drums", "bass", "other"], "vocals", {"drums", "bass", "other"}),
        (["vocals", "instrumental"], "instrumental", {"vocals"}),
        (["vocals", "drums", "bass", "other", "instrumental"], "vocals", {"drums", "bass", "other"}),
        (["vocals", "drums", "bass", "other", "instrumental"], "drums", {"vocals", "bass", "other"}),
        (["vocals", "drums", "bass", "other", "instrumental"], "instrumental", {"vocals"}),
        (["vocals", "instrumental", "drums"], "vocals", {"instrumental"}),
        (["drums", "kick", "snare", "toms", "hihat", "cymbals"], "kick", {"snare", "toms", "hihat", "cymbals"}),
        (["vocals", "drums", "kick"], "vocals", {"drums"}),
        (["vocals", "vocals", "bass"], "bass", {"vocals", "vocals-2"}),
        (["vocals"], "vocals", set()),
    ],
)
def test_siblings_hold_each_part_of_the_song_once(classes: list[str], of: str, wanted: set[str]) -> None:
    assert siblings(classes, of) == wanted


@pytest.mark.parametrize(
    ("names", "of", "wanted", "cover"),
    [
        (["drums", "no_drums"], "drums", {"no_drums"}, {"drums", "no_drums"}),
        (["drums", "no_drums"], "no_drums", {"drums"}, {"drums", "no_drums"}),
        (["vocals", "no_vocals", "drums", "no_drums"], "vocals", {"no_vocals"}, {"vocals", "no_vocals"}),
        (["vocals", "no_vocals", "drums", "no_drums"], "no_drums", {"drums"}, {"vocals", "no_vocals"}),
        (["song_(Vocals)_m", "song_(Bass)_m", "song_(No Bass)_m"], "song_(Vocals)_m", {"song_(Bass)_m"}, None),
        (["no_drums", "no_bass"], "no_bass", set(), {"no_drums", "no_bass"}),
    ],
)
def test_a_stem_without_another_holds_all_the_rest(
    names: list[str], of: str, wanted: set[str], cover: set[str] | None
) -> None:
    stems = {name: Stem.from_array(np.zeros((1, 10)), RATE, guess_stem_class(name), name) for name in names}
    made = StemSet(tuple(stems.values()))
    assert {stem.name for stem in made.siblings(stems[of]).values()} == wanted
    assert cover is None or {stem.name for stem in made.cover()} == cover


def test_closing_a_set_closes_its_stems(tmp_path: Path) -> None:
    with StemSet.open(folder(tmp_path, "vocals.wav", "mix.wav")) as stems:
        vocals, mixture = stems.stems[0], stems.mixture
    assert mixture is not None
    for stem in (vocals, mixture):
        with pytest.raises(AudioError, match="after close"):
            stem.read(0, 1)
