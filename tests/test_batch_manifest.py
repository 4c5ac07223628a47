"""What a manifest says of its inputs."""

from __future__ import annotations

from pathlib import Path

import pytest
from batches import sound

from stemprover.batch.jobs import Job
from stemprover.batch.planning import Selection, plan_jobs
from stemprover.errors import OptionError


def test_a_manifest_names_one_song_of_several_in_a_folder(tmp_path: Path) -> None:
    for song in ("A", "B"):
        for stem in ("Vocals", "Instrumental"):
            sound(tmp_path / "flat" / f"{song}_({stem})_m.wav")
    manifest = tmp_path / "list.csv"
    manifest.write_text("input,title\nflat,B\n")
    (job,) = plan_jobs([], Selection(manifest=str(manifest)), overwrite=False).jobs
    assert {Path(stem).name for stem in job.stems} == {"B_(Vocals)_m.wav", "B_(Instrumental)_m.wav"}
    manifest.write_text("input,title\nflat,C\n")
    plan = plan_jobs([], Selection(manifest=str(manifest)), overwrite=False)
    assert not plan.jobs
    assert "called 'c'" in str(plan.failures[0].error)


def test_manifests_say_more_about_each_input(tmp_path: Path) -> None:
    for name in ("a/take.wav", "a/song.wav", "set/bass.wav", "set/drums.wav"):
        sound(tmp_path / name)
    manifest = tmp_path / "list.csv"
    manifest.write_text(
        "\ufeffnotes,input,output,mixture,stem\r\n"
        '"one, two",a/take.wav,out/take.flac,a/song.wav,vocals\r\n'
        f"rest,{tmp_path / 'set'},{{parent}}/{{stem}}-2.wav,,\r\n"
    )
    first, second = plan_jobs([], Selection(manifest=str(manifest)), False).jobs
    assert (first.stem_class, first.mixture) == ("vocals", str(tmp_path / "a/song.wav"))
    assert [target.audio for target in first.targets] == [str(tmp_path / "out/take.flac")]
    expected = [str(tmp_path / "set" / name) for name in ("bass-2.wav", "drums-2.wav")]
    assert [target.audio for target in second.targets] == expected
    assert Job.from_json(first.to_json()) == first


@pytest.mark.parametrize(
    ("content", "part"),
    [
        (b"path\na.wav\n", "a column 'input'"),
        (b"", "a column 'input'"),
        (b"input,stem\n,vocals\n", "line 2"),
        (b"input\n\xff\xfe\n", "UTF-8"),
        (None, "nothing at"),
    ],
)
def test_manifests_that_are_none(tmp_path: Path, content: bytes | None, part: str) -> None:
    manifest = tmp_path / "list.csv"
    if content is not None:
        manifest.write_bytes(content)
    with pytest.raises(OptionError, match=part):
        plan_jobs([], Selection(manifest=str(manifest)), False)


@pytest.mark.parametrize("rows", ["", "\n", "\r\n\r\n"])
@pytest.mark.parametrize("named", [True, False])
def test_a_manifest_without_rows_is_told_with_what_one_looks_like(tmp_path: Path, rows: str, named: bool) -> None:
    manifest = tmp_path / "list.csv"
    manifest.write_bytes(f"input,output\n{rows}".encode())
    inputs = [str(sound(tmp_path / "vocals.wav"))] if named else []
    with pytest.raises(OptionError, match=r"inputs in the manifest '.*list\.csv', got no row .* 'song/vocals\.wav,"):
        plan_jobs(inputs, Selection(manifest=str(manifest)), False)


def test_a_row_whose_folder_holds_no_audio_is_no_empty_manifest(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    manifest = tmp_path / "list.csv"
    manifest.write_text("input,output\nempty,clean/\n")
    plan = plan_jobs([], Selection(manifest=str(manifest)), False)
    assert not plan.jobs
    assert "none in" in str(plan.failures[0].error)


def test_an_input_that_a_manifest_names_again_is_one(tmp_path: Path) -> None:
    manifest, stem = tmp_path / "list.csv", sound(tmp_path / "vocals.wav")
    manifest.write_text(f"input\n{stem}\n")
    assert len(plan_jobs([str(stem)], Selection(manifest=str(manifest)), False).jobs) == 1
