"""The commands `separate` and `clean`: from songs to stems, and on to clean ones."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch
from plugin_site import plugin_site as plugin_site
from separation_songs import Shares, read, song
from test_cli import run

from stemprover.batch.claims import claimed
from stemprover.errors import PluginError
from stemprover.separation.embedded import EmbeddedSeparator

RATE = 44_100
KIT = Path(__file__).parent.parent / "examples" / "east-bay"


def cut(path: Path, seconds: float) -> Path:
    soundfile.write(path, soundfile.read(KIT / "mix.flac", frames=round(seconds * RATE))[0], RATE)
    return path


def test_separate_writes_a_stem_set_that_enhance_understands(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    mix = cut(tmp_path / "groove.flac", 2.0)
    code, out, err = run(capsys, "separate", str(mix), "--separator", "hpss", "-o", str(tmp_path / "stems"))
    assert (code, err) == (0, "")
    stems = tmp_path / "stems" / "groove"
    assert sorted(path.name for path in stems.iterdir()) == [".stemprover", "drums.wav", "other.wav"]
    assert f"stemprover enhance {stems} --mixture {mix} --auto-detect" in out
    assert np.abs(read(stems / "drums.wav") + read(stems / "other.wav") - read(mix)).max() < 1e-6
    assert run(capsys, "separate", str(mix), "-o", str(tmp_path / "stems"))[0] == 2
    code, _, err = run(
        capsys, "separate", str(tmp_path / "no.wav"), str(mix), "--separator", "hpss", "-o", str(tmp_path)
    )
    assert code == 1  # the other file was separated
    assert "no.wav" in err
    assert (tmp_path / "groove" / "drums.wav").is_file(), "one song that is missing does not stop the others"


def test_clean_separates_repairs_and_reports(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    mix = cut(tmp_path / "groove.flac", 2.0)
    arguments = ("--separator", "hpss", "--quality", "fast", "--mixture-consistent", "--device", "cpu", "--json")
    code, out, err = run(capsys, "clean", str(mix), "-o", str(tmp_path / "clean"), *arguments)
    assert (code, err) == (0, "")
    folder = tmp_path / "clean" / "groove"
    found = {str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file() and path.suffix != ".json"}
    found |= {path.name for path in folder.glob("*.json")}
    assert found == {
        f"{stem}.{kind}" for stem in ("drums", "other") for kind in ("wav", "report.html", "report.json")
    } | {"separated/drums.wav", "separated/other.wav"}
    summaries = [json.loads(line) for line in out.splitlines()]
    assert [summary["late_samples"] for summary in summaries] == [0, 0]
    assert any(summary["plan"] for summary in summaries)
    total = read(folder / "drums.wav") + read(folder / "other.wav")
    assert np.abs(total - read(mix)).max() < 1e-5
    changed = [not np.array_equal(read(folder / name), read(folder / "separated" / name)) for name in ("drums.wav",)]
    assert all(changed)


class Moody(Shares):
    """Cannot stand some songs."""

    def separate(self, audio: torch.Tensor) -> Mapping[str, torch.Tensor]:
        if audio.shape[-1] == 8_000:
            raise PluginError("a song", "a short one", "take another")
        if audio.shape[-1] == 16_000:
            raise ZeroDivisionError("nobody foresaw this")
        return super().separate(audio)


@pytest.mark.parametrize("command", ["separate", "clean"])
def test_songs_that_fail_do_not_stop_the_others(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, command: str
) -> None:
    monkeypatch.setattr("stemprover.separation.choose.choose_separator", lambda name: Moody())
    out = tmp_path / "out"
    names = ("short", "odd", "there", "good")
    songs = [song(tmp_path / f"{name}.wav", seconds, 8_000) for name, seconds in zip(names, (1, 2, 3, 3), strict=True)]
    (out / "there").mkdir(parents=True)
    (out / "there" / "vocals.wav").touch()
    code, printed, err = run(capsys, command, *map(str, songs), "-o", str(out), "--quiet")
    assert (code, printed) == (1, "")
    assert "Traceback" not in err
    for reason in ("a short one", "ZeroDivisionError", "which exists"):
        assert reason in err
    assert (out / "good" / "vocals.wav").is_file()
    rows = (out / "failures.csv").read_text().splitlines()
    assert sorted(Path(row.split(",")[0]).name for row in rows[1:]) == ["odd.wav", "short.wav", "there.wav"]


@pytest.mark.parametrize("command", ["separate", "clean"])
def test_an_error_that_all_songs_end_with_is_counted_not_repeated(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, command: str
) -> None:
    monkeypatch.setattr("stemprover.separation.choose.choose_separator", lambda name: Moody())
    songs = [str(song(tmp_path / f"{name}.wav", 1, 8_000)) for name in "abc"]
    code, _, err = run(capsys, command, *songs, "-o", str(tmp_path / "out"))
    said = "expected a song, got a short one; take another"
    assert code == 1
    assert err.splitlines()[:2] == [f"stemprover: error: {said}", f"stemprover: error: 2 more failed with: {said}"]
    assert (tmp_path / "out" / "failures.csv").read_text().count(said) == 3


def test_clean_refuses_options_before_it_separates(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def no_work(*arguments: object, **options: object) -> None:
        pytest.fail("separated in vain")

    monkeypatch.setattr("stemprover.batch.songs.separate_song", no_work)
    mix, out = str(song(tmp_path / "song.wav", 1.0, 8_000)), str(tmp_path / "out")
    code, _, err = run(capsys, "clean", mix, "-o", out, "--separator", "hpss", "--strength", "3")
    assert code == 2
    assert "a strength from 0 to 1" in err
    with monkeypatch.context() as without:
        without.setattr("stemprover.plugins.PluginRunner.detectors", lambda self: {})
        code, _, err = run(capsys, "clean", mix, "-o", out, "--separator", "hpss")
    assert code == 2
    assert "a detector" in err
    for place in ("stemprover.models.EMBEDDED_VOCODER", "stemprover.restoration.weights.EMBEDDED_BASE"):
        with monkeypatch.context() as without:
            without.setattr(place, tmp_path / "nothing")
            code, _, err = run(capsys, "clean", mix, "-o", out, "--separator", "hpss", "--device", "cpu")
        assert (code, err.count("\n")) == (2, 1)
        assert str(tmp_path / "nothing") in err
    monkeypatch.setattr("stemprover.separation.choose.choose_separator", lambda name: Shares(stems=("vocals",)))
    code, _, err = run(capsys, "clean", mix, "-o", out, "--mixture-consistent")
    assert code == 2
    assert "a separator of several stems for --mixture-consistent, got shares, which makes vocals only" in err
    assert not Path(out).exists()


class Counting(Shares):
    """Remembers how many stretches it was given."""

    calls: int = 0

    def separate(self, audio: torch.Tensor) -> Mapping[str, torch.Tensor]:
        self.calls += 1
        return super().separate(audio)


@pytest.fixture
def counting(monkeypatch: pytest.MonkeyPatch) -> Counting:
    separator = Counting()
    monkeypatch.setattr("stemprover.separation.choose.choose_separator", lambda name: separator)
    return separator


def test_songs_that_were_separated_are_left_out(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], counting: Counting
) -> None:
    songs = tmp_path / "songs"
    songs.mkdir()
    for name in ("a", "b"):
        song(songs / f"{name}.wav", 1, 8_000)
    (songs / "cover.jpg").touch()
    run_again = ("separate", str(songs), "-o", str(tmp_path / "out"), "--resume")
    assert run(capsys, *run_again)[0] == 0
    assert counting.calls == 2
    code, out, _ = run(capsys, *run_again)
    assert (code, counting.calls, out.count("done before")) == (0, 2, 2)
    assert run(capsys, *run_again[:-1])[0] == 1, "without --resume what is there is not touched"
    song(songs / "b.wav", 1, 8_000, seed=1)
    code, out, _ = run(capsys, *run_again)
    assert (code, counting.calls, out.count("done before")) == (0, 3, 1)
    share = 0.75 * read(songs / "b.wav")
    np.testing.assert_allclose(read(tmp_path / "out" / "b" / "vocals.wav"), share, rtol=1e-6)
    counting.contents = "second"
    assert run(capsys, *run_again)[0] == 0
    assert counting.calls == 5, "another separator makes other stems"
    mine = tmp_path / "out" / "a" / "vocals.wav"
    mine.write_bytes(b"edited")
    code, _, err = run(capsys, *run_again)
    assert code == 1
    assert "a file that was changed since" in err
    assert mine.read_bytes() == b"edited"


def test_clean_goes_on_where_it_was_stopped(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], counting: Counting, monkeypatch: pytest.MonkeyPatch
) -> None:
    mix, out = song(tmp_path / "song.wav", 1, 8_000), tmp_path / "out"
    command = ("clean", str(mix), "-o", str(out), "--quality", "fast", "--device", "cpu", "--report", "none")

    def stopped(*arguments: object, **options: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as interrupted:
        interrupted.setattr("stemprover.enhance.Enhancer.enhance_set", stopped)
        assert run(capsys, *command)[0] == 130
    assert sorted(path.name for path in (out / "song").rglob("*.wav")) == ["instrumental.wav", "vocals.wav"]
    assert counting.calls == 1
    code, printed, err = run(capsys, *command, "--resume")
    assert (code, err, counting.calls) == (0, "", 1), "its stems were there"
    assert (out / "song" / "vocals.wav").is_file()
    code, printed, _ = run(capsys, *command, "--resume")
    assert (code, printed.strip()) == (0, f"{mix}: done before")
    before = (out / "song" / "separated" / "vocals.wav").stat().st_mtime_ns
    assert "done before" not in run(capsys, *command, "--resume", "--seed", "1")[1]
    assert (out / "song" / "separated" / "vocals.wav").stat().st_mtime_ns == before
    assert counting.calls == 1


@pytest.mark.parametrize("command", ["separate", "clean"])
def test_two_runs_on_one_song_are_told_apart(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], counting: Counting, command: str
) -> None:
    mix, out = song(tmp_path / "song.wav", 1, 8_000), tmp_path / "out"
    with claimed([str(out / "song" / "vocals.wav")], "another"):
        code, _, err = run(capsys, command, str(mix), "-o", str(out), "--resume")
    assert (code, counting.calls) == (2, 0)
    assert "for this run alone" in err
    assert not list(out.rglob("*.wav"))


@pytest.mark.parametrize("command", ["separate", "clean"])
def test_songs_are_never_replaced_by_stems(tmp_path: Path, capsys: pytest.CaptureFixture[str], command: str) -> None:
    first = song(tmp_path / "song.wav", 1.0, 8_000)
    (tmp_path / "song").mkdir()
    (tmp_path / "drums").mkdir()
    second = song(tmp_path / "song" / "drums.wav", 1.0, 8_000, seed=1)
    before = second.read_bytes()
    arguments = (str(first), str(second), "--separator", "hpss", "--overwrite", "--quiet")
    code, _, err = run(capsys, command, *arguments, "-o", str(tmp_path))
    assert code == 1
    assert f"an output that is not an input, got '{second}'" in err
    assert second.read_bytes() == before
    assert (tmp_path / "drums" / "drums.wav").is_file()


def test_it_is_told_when_median_filters_stand_in(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("stemprover.separation.choose.EmbeddedSeparator", lambda: EmbeddedSeparator(tmp_path))
    mix = str(song(tmp_path / "song.wav", 1.0, 8_000))
    code, _, err = run(capsys, "separate", mix, "-o", str(tmp_path / "out"))
    assert code == 0
    assert err.count("\n") == 1
    assert "median filters give drums and other" in err
    assert run(capsys, "separate", mix, "-o", str(tmp_path / "quiet"), "--quiet") == (0, "", "")
