"""Many inputs from the command line: what is left out, repeated, counted and listed."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import numpy as np
import pytest
import soundfile
from adapter_site import site_with_adapter, trained_adapter  # noqa: F401 - fixtures
from test_cli_enhance import RATE, enhance, folder_of_stems  # noqa: F401 - fixtures

Capsys = pytest.CaptureFixture[str]
COUNTS = ("done", "done before", "failed", "stems")


def counts(printed: str) -> dict[str, int]:
    """The summary's first columns."""
    lines = [line for line in printed.splitlines() if line.startswith(("┃", "│"))]
    names, figures = ([cell.strip() for cell in line.strip("┃│").replace("┃", "│").split("│")] for line in lines[-2:])
    return {name: int(figure) for name, figure in zip(names, figures, strict=True) if name in COUNTS}


def dates(folder: Path) -> dict[str, int]:
    return {path.name: path.stat().st_mtime_ns for path in folder.iterdir() if path.is_file()}


def manifest(path: Path, *rows: tuple[str | Path, ...], columns: str = "input,output,mixture,stem") -> Path:
    with path.open("w", newline="") as lines:
        table = csv.writer(lines)
        table.writerow(columns.split(","))
        table.writerows(rows)
    return path


def broken(path: Path) -> Path:
    soundfile.write(path, np.full((RATE // 2, 2), np.nan), RATE, "FLOAT")
    return path


def test_resumed_runs_do_what_is_left(song: Path, tmp_path: Path, capsys: Capsys) -> None:
    clean = tmp_path / "clean"
    command = (song / "bass.wav", song / "vocals.flac", "-o", clean, "--resume", "--report", "none")
    code, out, _ = enhance(capsys, *command)
    assert (code, counts(out)) == (0, {"done": 2, "done before": 0, "failed": 0, "stems": 2})
    before = dates(clean)
    code, out, _ = enhance(capsys, *command)
    assert (code, counts(out)) == (0, {"done": 0, "done before": 2, "failed": 0, "stems": 0})
    assert dates(clean) == before
    audio, _ = soundfile.read(song / "bass.wav")
    soundfile.write(song / "bass.wav", 0.5 * audio, RATE, "PCM_16")
    code, out, _ = enhance(capsys, *command)
    assert (code, counts(out)) == (0, {"done": 1, "done before": 1, "failed": 0, "stems": 1})
    after = dates(clean)
    assert after.pop("bass.enhanced.wav") != before.pop("bass.enhanced.wav")
    assert after == before
    code, out, _ = enhance(capsys, *command, "--seed", "1")
    assert counts(out) == {"done": 2, "done before": 0, "failed": 0, "stems": 2}


def test_a_manifest_names_inputs_outputs_mixtures_and_stems(song: Path, tmp_path: Path, capsys: Capsys) -> None:
    mixture = song.parent / "mix.wav"
    total = sum(soundfile.read(song / name)[0] for name in ("bass.wav", "vocals.flac"))
    soundfile.write(mixture, total, RATE, "PCM_24")
    listed = manifest(
        song.parent / "list.csv",
        ("song/bass.wav", "out/low.flac", "mix.wav", "generic"),
        ("song/vocals.flac", "", "", ""),
    )
    code, out, err = enhance(capsys, "--manifest", listed, "--report", "json", "--jobs", "2", "--threads", "1")
    assert (code, err) == (0, "")
    assert counts(out)["done"] == 2
    low = song.parent / "out" / "low.flac"
    assert soundfile.info(low).format == "FLAC"
    assert json.loads((song.parent / "out" / "low.report.json").read_text())["settings"]["stem"] == "generic"
    assert (song / "vocals.enhanced.flac").is_file()
    soundfile.write(mixture, total[1:], RATE, "PCM_24")
    code, out, err = enhance(capsys, "--manifest", listed, "--report", "none", "--overwrite")
    assert (code, counts(out)["failed"]) == (1, 1)
    assert f"{RATE // 2 - 1} samples in '{mixture}'" in err, "it was read"


def test_what_failed_is_listed_and_can_be_repeated(song: Path, tmp_path: Path, capsys: Capsys) -> None:
    bad, clean, listed = broken(song / "drums.wav"), tmp_path / "clean", tmp_path / "lists" / "bad.csv"
    listed.parent.mkdir()
    inputs = (song / "bass.wav", bad, song / "vocals.flac")
    options = ("-o", f"{clean}/{{stem}}.{{ext}}", "--report", "none", "--failures", listed)
    code, out, err = enhance(capsys, *inputs, *options)
    assert (code, counts(out)) == (1, {"done": 2, "done before": 0, "failed": 1, "stems": 2})
    assert "NaN or infinity" in err
    assert {path.name for path in clean.iterdir() if path.is_file()} == {"bass.wav", "vocals.flac"}
    with listed.open() as lines:
        (row,) = csv.DictReader(lines)
    assert row["input"] == str(bad)
    assert "NaN or infinity" in row["error"]
    soundfile.write(bad, soundfile.read(song / "bass.wav")[0], RATE, "PCM_16")
    before = dates(clean)
    code, out, _ = enhance(capsys, "--manifest", listed, *options)
    assert (code, counts(out)["done"]) == (0, 1)
    assert (clean / "drums.wav").is_file()
    assert {name: date for name, date in dates(clean).items() if name in before} == before
    assert not listed.exists(), "nothing failed"


@pytest.mark.parametrize(
    ("options", "part"),
    [
        (("--address", "auto"), "--engine ray with --address"),
        (("--gpus-per-worker", "0.5"), "--engine ray with --gpus-per-worker"),
        (("--jobs", "0"), "--jobs"),
        (("--threads", "0"), "--threads"),
        (("--engine", "spark"), "--engine"),
        (("--manifest", "nowhere.csv"), "nothing at 'nowhere.csv'"),
    ],
)
def test_options_of_many_inputs_that_are_wrong(song: Path, capsys: Capsys, options: tuple[str, str], part: str) -> None:
    before = dates(song)
    code, out, err = enhance(capsys, song / "bass.wav", *options)
    assert (code, out) == (2, "")
    assert part in err
    assert dates(song) == before


@pytest.mark.parametrize(
    ("content", "part"),
    [
        ("input,output\n", "no row below its first line"),
        ("", "got nothing; write input,output,mixture,stem,title"),
        ('{"input": "bass.wav", "output": "x.wav"}\n', "a column 'input' in the first line"),
    ],
)
def test_manifests_that_name_nothing_are_one_line(song: Path, capsys: Capsys, content: str, part: str) -> None:
    (song / "list.csv").write_text(content)
    code, out, err = enhance(capsys, "--manifest", song / "list.csv")
    assert (code, out, err.count("\n")) == (2, "", 1)
    assert part in err


def test_without_ray_it_is_one_line(song: Path, capsys: Capsys, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(__import__("sys").modules, "ray", None)
    code, _, err = enhance(capsys, song / "bass.wav", "--engine", "ray")
    assert (code, err.count("\n")) == (2, 1)
    assert "pip install 'stemprover[ray]'" in err
