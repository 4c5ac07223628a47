"""Where a run lists what failed, and that it ends as it should when it cannot."""

from __future__ import annotations

import csv
import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from stemprover.batch.jobs import Job
from stemprover.batch.orders import Order
from stemprover.batch.outcomes import Outcome
from stemprover.batch.planning import Selection, plan_jobs
from stemprover.cli import runs
from stemprover.cli.runs import Run
from stemprover.enhanced import Settings

Capsys = pytest.CaptureFixture[str]


def no_enhancer(device: str) -> None:
    pytest.fail("nothing is enhanced here")


@pytest.fixture(name="songs")
def empty_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Inputs of which the second fails; what would repair them is not part of these tests."""
    folder = tmp_path / "in"
    folder.mkdir()
    monkeypatch.chdir(folder)
    for name in ("a.wav", "b.wav", "c.wav"):
        (folder / name).touch()

    def run_all(jobs: list[Job], *rest: object, **options: object) -> Iterator[Outcome]:
        for job in jobs:
            name = Path(job.source.place).name
            if name == "c.wav" and (folder / "interrupt").exists():
                raise KeyboardInterrupt
            yield Outcome(job.source, "failed" if name == "b.wav" else "done", error="of no use")

    monkeypatch.setattr(runs, "run_all", run_all)
    return ["a.wav", "b.wav", "c.wav"]


def over(inputs: list[str], **selection: str | None) -> int:
    run = Run(Selection(**selection), Order(Settings(), no_enhancer), lambda *_: None, summary=True)  # type: ignore[arg-type]
    return run.over(inputs)


def listed(folder: Path) -> list[str]:
    with (folder / "failures.csv").open() as lines:
        return [Path(row["input"]).name for row in csv.DictReader(lines)]


@pytest.mark.parametrize("output", ["../v1.2/", "../clean"])
def test_failures_are_listed_with_the_results(songs: list[str], tmp_path: Path, output: str) -> None:
    assert over(songs, output=output) == 1
    assert listed(tmp_path / Path(output).name) == ["b.wav"]


def test_failures_are_listed_in_the_working_folder_when_nothing_could_be_planned(
    songs: list[str], tmp_path: Path
) -> None:
    (tmp_path / "in" / "none").mkdir()
    (tmp_path / "in" / "nothing").mkdir()
    assert over(["none", "nothing"]) == 1
    assert listed(tmp_path / "in") == ["none", "nothing"]
    assert not (tmp_path / "failures.csv").exists()


def test_a_folder_that_cannot_be_written_is_told_and_the_summary_printed(songs: list[str], capsys: Capsys) -> None:
    locked = Path("/proc/stemprover")  # root may write everywhere but there
    if os.geteuid() != 0:
        locked = Path("locked")
        locked.mkdir(mode=0o500)
    assert over(songs, output=f"{locked}/") == 1
    out, err = capsys.readouterr()
    assert "failed" in out
    assert f"to write '{locked}/failures.csv'" in err


def test_an_interrupted_run_lists_what_failed_so_far(songs: list[str], tmp_path: Path) -> None:
    (tmp_path / "in" / "interrupt").touch()
    with pytest.raises(KeyboardInterrupt):
        over(songs)
    assert listed(tmp_path / "in") == ["b.wav"]


def test_an_interrupted_run_leaves_the_list_that_it_reads(songs: list[str], tmp_path: Path) -> None:
    manifest = tmp_path / "in" / "failures.csv"
    manifest.write_text("input\na.wav\nb.wav\nc.wav\n")
    (tmp_path / "in" / "interrupt").touch()
    with pytest.raises(KeyboardInterrupt):
        over([], manifest=str(manifest))
    assert listed(tmp_path / "in") == ["a.wav", "b.wav", "c.wav"]


@pytest.mark.parametrize("inputs", [["sets"], ["sets/x/a.wav", "sets/x/b.wav", "c.wav"]])
def test_what_failed_is_repeated_to_the_same_place(songs: list[str], tmp_path: Path, inputs: list[str]) -> None:
    """Alone, a set's stems would go right into the folder of the results."""
    for name in ("x/a.wav", "x/b.wav"):  # folders: stem sets
        (Path("sets") / name).mkdir(parents=True)
        (Path("sets") / name / "vocals.wav").touch()
    assert over(inputs, output="../clean") == 1
    manifest = str(tmp_path / "clean" / "failures.csv")
    below = "x/b.wav" if inputs == ["sets"] else "b.wav"
    for options in ({"output": "../clean"}, {}):
        (job,) = plan_jobs([], Selection(manifest=manifest, **options), None).jobs
        assert Path(job.targets[0].audio).resolve() == tmp_path / "clean" / below / "vocals.wav"


def test_files_that_a_set_had_to_do_without_are_named(songs: list[str], capsys: Capsys) -> None:
    Path("song").mkdir()
    for name in ("vocals.wav", "bass.m4a"):
        (Path("song") / name).touch()
    assert over(["song"]) == 0
    told = capsys.readouterr().err.splitlines()[0]
    assert told == "stemprover: song without 'bass.m4a': convert what is no WAV, FLAC, AIFF, OGG or MP3"


@pytest.mark.parametrize(
    ("names", "told"),
    [(["demo.wav"], True), (["vocals.wav", "x.wav"], True), (["vocals.wav", "A_(Bass)_m.wav"], False)],
)
def test_folders_that_loose_files_hide_are_named(
    songs: list[str], capsys: Capsys, names: list[str], told: bool
) -> None:
    """Stems beside a folder of references are no loose files."""
    for name in (*names, "c/v.wav", "d/v.wav"):
        path = Path("flat") / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    assert over(["flat"]) == 0
    lines = [line for line in capsys.readouterr().err.splitlines() if "folders" in line]
    fix = "a folder with audio in it is one set; name the others too if they count"
    assert lines == [f"stemprover: flat without its folders 'c', 'd': {fix}"] * told


@pytest.mark.parametrize("plan_only", [True, False])
def test_a_set_is_told_which_file_is_its_mixture(songs: list[str], capsys: Capsys, plan_only: bool) -> None:
    """A run over many sets says it in its plan only."""
    for folder in ("Evening", "Night"):
        Path(folder).mkdir()
        for name in ("vocals.wav", "other.wav", f"{folder.lower()}.wav"):
            (Path(folder) / name).touch()
    order = Order(Settings(), no_enhancer, plan_only=plan_only)  # type: ignore[arg-type]
    told = [f"stemprover: {folder} with the mixture '{folder.lower()}.wav'" for folder in ("Evening", "Night")]
    for folders, mixture, notes, expected in (
        (["Evening"], None, True, told[:1]),
        (["Evening", "Night"], None, True, told * plan_only),
        (["Evening"], None, False, []),
        (["Evening"], "Evening/evening.wav", True, []),
    ):
        Run(Selection(mixture), order, lambda *_: None, notes=notes).over(folders)
        lines = capsys.readouterr().err.splitlines()
        assert [line for line in lines if "mixture" in line] == expected
