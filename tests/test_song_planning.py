"""Which songs there are, and where their stems go: albums, equal names, results of earlier runs."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import pytest
from separation_songs import Shares, read, song
from test_cli import run

from stemprover.batch.song_planning import find_songs, plan_songs


def touched(folder: Path, *names: str) -> list[Path]:
    paths = [folder / name for name in names]
    for path in paths:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    return paths


def ways(named: list[Path], results: Path = Path("out")) -> list[str]:
    """Every song's folder below the results."""
    found = find_songs([str(path) for path in named], results)
    assert not found.failures
    return [f"{below}/{path.stem}".lstrip("/") for path, below in found.places.items()]


def test_songs_with_different_names_need_no_folders(tmp_path: Path) -> None:
    assert ways(touched(tmp_path, "a/one.mp3", "b/two.mp3")) == ["one", "two"]
    assert ways([tmp_path / "a", tmp_path / "b" / "two.mp3"]) == ["one", "two"]


def test_a_folder_of_albums_keeps_its_folders(tmp_path: Path) -> None:
    touched(tmp_path / "music", "a/01.mp3", "a/cover.jpg", "b/cd1/01.mp3", "b/cd2/01.flac", "c/02.mp3", ".trash/03.mp3")
    wanted = ["a/01", "b/cd1/01", "b/cd2/01", "c/02"]
    assert ways([tmp_path / "music"]) == wanted
    assert ways([tmp_path / "music", tmp_path / "music" / "a" / "01.mp3"]) == wanted, "each song once"
    (tmp_path / "music" / "c" / "02.mp3").unlink()
    assert ways([tmp_path / "music"]) == wanted[:3], "a song's place does not depend on the others"


@pytest.mark.parametrize(
    ("names", "wanted"),
    [
        (["a/01.mp3", "b/01.mp3", "b/02.mp3"], ["a/01", "b/01", "b/02"]),
        (["01.mp3", "a/01.mp3"], ["01", "a/01"]),
        (["a/cd1/01.mp3", "a/cd2/01.mp3"], ["cd1/01", "cd2/01"]),
    ],
)
def test_songs_that_are_called_alike_are_told_apart_by_their_folders(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, names: list[str], wanted: list[str]
) -> None:
    assert ways(touched(tmp_path, *names)) == wanted
    monkeypatch.chdir(tmp_path)
    assert ways(list(map(Path, names))) == wanted
    assert sorted(ways([Path("**/*.mp3")])) == wanted
    assert ways([*map(Path, names), tmp_path / names[0]]) == wanted, "one file, two spellings"


def test_albums_that_are_named_are_told_apart(tmp_path: Path) -> None:
    touched(tmp_path, "a/01.mp3", "b/01.mp3", "x/c/01.mp3", "y/c/01.mp3")
    assert ways([tmp_path / "a", tmp_path / "b"]) == ["a/01", "b/01"]
    assert ways([tmp_path / "x", tmp_path / "y"]) == ["x/c/01", "y/c/01"]


def test_a_song_s_place_does_not_depend_on_the_order_of_what_is_named(tmp_path: Path) -> None:
    first, _ = touched(tmp_path / "music", "a/01.mp3", "b/02.mp3")
    for named in ([tmp_path / "music", first], [first, tmp_path / "music"]):
        assert sorted(ways(named)) == ["a/01", "b/02"]


def test_names_that_differ_in_capitals_get_folders(tmp_path: Path) -> None:
    """They are one name on the disks of most people."""
    assert ways(touched(tmp_path, "a/Intro.mp3", "b/intro.wav")) == ["a/Intro", "b/intro"]


def test_folders_of_which_songs_are_taken_are_told(tmp_path: Path) -> None:
    touched(tmp_path, "demo.mp3", "a/01.mp3", "x/b/01.mp3")
    assert find_songs([str(tmp_path)], Path("out")).folders == (str(tmp_path),)
    assert find_songs([str(tmp_path / "x"), str(tmp_path / "a")], Path("out")).folders == (
        *(str(tmp_path / name) for name in ("x/b", "a")),
    )


@pytest.mark.parametrize("command", ["separate", "clean"])
def test_folders_beside_songs_are_named_but_not_those_of_results(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, command: str
) -> None:
    monkeypatch.chdir(tmp_path)
    song(Path("demo.wav"), 1, 8_000)
    touched(tmp_path, "album/01.mp3")
    fix = "a folder with songs in it stands for these alone; name the others too if they count"
    for options in (["-o", "stems"], ["-o", "stems", "--resume"], ["-o", ".", "--overwrite"]):
        code, _, err = run(capsys, command, ".", *options)
        assert (code, err) == (0, f"stemprover: . without its folders 'album': {fix}\n"), options
    touched(tmp_path, "phone.m4a")
    left = "stemprover: . without 'phone.m4a': convert what is no WAV, FLAC, AIFF, OGG or MP3\n"
    assert run(capsys, command, ".", "-o", "stems", "--resume")[2].startswith(left)
    (tmp_path / "phone.m4a").unlink()
    touched(tmp_path, "broken.wav")
    assert "without" not in run(capsys, command, ".", "album", "-o", "other")[2], "it is named"


@pytest.mark.parametrize("clean", [False, True])
def test_of_two_songs_for_one_place_the_second_fails(tmp_path: Path, clean: bool) -> None:
    touched(tmp_path, "a/01.mp3", "a/01.wav", "b/02.mp3")
    found = find_songs([str(tmp_path)], tmp_path / "out")
    jobs, (failure,) = plan_songs(found.places, Shares(), tmp_path / "out", clean=clean)
    assert [job.song.name for job in jobs] == ["01.mp3", "02.mp3"]
    assert failure.source.place == str(tmp_path / "a" / "01.wav")
    told = str(failure.error)
    assert "a different output for every song" in told
    assert "01.mp3' and '" in told


def test_a_song_called_like_the_folder_of_separated_stems(tmp_path: Path) -> None:
    songs: Mapping[Path, str] = {tmp_path / "a.wav": "", tmp_path / "a" / "separated.wav": "a"}
    assert len(plan_songs(songs, Shares(), tmp_path / "out")[0]) == 2
    assert len(plan_songs(songs, Shares(), tmp_path / "out", clean=True)[1]) == 1


@pytest.fixture(autouse=True)
def _quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("stemprover.separation.choose.choose_separator", lambda name: Shares())


@pytest.mark.parametrize("command", ["separate", "clean"])
def test_albums_keep_their_folders_and_every_song_its_own_stems(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], command: str
) -> None:
    songs = [tmp_path / "music" / name for name in ("a/01.wav", "b/01.wav")]
    for seed, path in enumerate(songs):
        path.parent.mkdir(parents=True)
        song(path, 1, 8_000, seed=seed)
    out = tmp_path / "out"
    assert run(capsys, command, str(tmp_path / "music"), "-o", str(out), "--quiet")[0] == 0
    inner = "separated" if command == "clean" else ""
    for album, path in zip("ab", songs, strict=True):
        assert abs(read(out / album / "01" / inner / "vocals.wav") - 0.75 * read(path)).max() < 1e-6
    code, printed, _ = run(capsys, command, *map(str, songs), "-o", str(out), "--resume")
    assert (code, printed.count("done before")) == (0, 2), "named one by one they go to the same places"
    code, printed, _ = run(capsys, command, str(songs[1].parent), "-o", str(out / "b"), "--resume")
    assert (code, printed.count("done before")) == (0, 1), "so does an album by itself"


def test_stems_of_an_earlier_run_are_no_songs(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "a").mkdir()
    song(tmp_path / "a" / "01.wav", 1, 8_000)
    monkeypatch.chdir(tmp_path)
    for _ in range(2):
        code, out, err = run(capsys, "separate", ".", "-o", "stems", "--resume")
        assert (code, err) == (0, "")
    assert out == "a/01.wav: done before\n"
    touched(Path("stems/a/01"), "vocals.enhanced.wav")  # a single set is repaired without a record
    assert ways([Path()], Path("stems")) == ways([Path()], Path("clean")) == ["a/01"], "nor are they those of another"
    touched(Path("stems/a/01/clean"), "vocals.wav")
    assert ways([Path()], Path("stems")) == ["a/01"], "what else lies among the results is none either"
    for pattern in ("**/*.wav", "*", "a*"):
        assert ways([Path(pattern)], Path("stems")) == ["01"], pattern
    assert sorted(ways([Path("stems/a/01")])) == ["instrumental", "vocals"], "who names them means them"


def test_songs_may_be_named_by_patterns(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for name in ("a1", "a2", "b1"):
        song(tmp_path / f"{name}.wav", 1, 8_000)
    (tmp_path / "empty").mkdir()
    named = (str(tmp_path / "a*.wav"), str(tmp_path / "empty"), "s3://songs/c.wav")
    code, _, err = run(capsys, "separate", *named, "-o", str(tmp_path / "out"))
    assert code == 1
    assert f"expected songs, got none in '{tmp_path / 'empty'}'" in err
    touched(tmp_path, "empty/01.m4a")
    assert f"got '01.m4a' in '{tmp_path / 'empty'}'; convert it" in run(capsys, "separate", *named[1:2], "-o", ".")[2]
    assert "fetch them first" in err
    assert sorted(path.parent.name for path in (tmp_path / "out").rglob("vocals.wav")) == ["a1", "a2"]
