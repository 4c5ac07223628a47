"""Which input becomes which output."""

from __future__ import annotations

from pathlib import Path

import fsspec
import pytest
from batches import sound

from stemprover.batch.jobs import Job, write_json
from stemprover.batch.planning import Selection, plan_jobs
from stemprover.errors import OptionError, OutputError, StemSetError


def outputs(inputs: list[Path], overwrite: bool | None = False, **options: str) -> list[Path]:
    plan = plan_jobs([str(path) for path in inputs], Selection(**options), overwrite)
    assert not plan.failures
    return [Path(target.audio) for job in plan.jobs for target in job.targets]


def test_result_lies_beside_the_input_as_wav_or_flac(tmp_path: Path) -> None:
    names = {"a.wav": "a.enhanced.wav", "b.flac": "b.enhanced.flac", "c.ogg": "c.enhanced.wav"}
    found = outputs([sound(tmp_path / name) for name in names])
    assert found == [tmp_path / name for name in names.values()]


def test_output_names_a_file_or_a_folder(tmp_path: Path) -> None:
    stem = sound(tmp_path / "vocals.wav")
    (tmp_path / "there").mkdir()
    assert outputs([stem], output=str(tmp_path / "x.flac")) == [tmp_path / "x.flac"]
    assert outputs([stem], output=str(tmp_path / "there")) == [tmp_path / "there" / "vocals.enhanced.wav"]
    assert outputs([stem], output=str(tmp_path / "new")) == [tmp_path / "new" / "vocals.enhanced.wav"]
    assert outputs([stem], output=f"{tmp_path}/v1.2/") == [tmp_path / "v1.2" / "vocals.enhanced.wav"]
    assert outputs([stem], suffix="_clean") == [tmp_path / "vocals_clean.wav"]


def test_folder_of_stems_becomes_a_folder_of_stems(tmp_path: Path) -> None:
    for name in ("bass.wav", "drums.flac", "mixture.wav"):
        sound(tmp_path / "song" / name)
    song, clean = tmp_path / "song", tmp_path / "clean"
    assert outputs([song], output=str(clean)) == [clean / "bass.wav", clean / "drums.flac"]
    assert outputs([song]) == [song / "bass.enhanced.wav", song / "drums.enhanced.flac"]
    assert outputs([song], output=str(clean), suffix="-2") == [clean / "bass-2.wav", clean / "drums-2.flac"]


def test_earlier_results_in_a_folder_are_no_stems(tmp_path: Path) -> None:
    song = tmp_path / "song"
    sound(song / "bass.wav")
    sound(song / "bass.enhanced.wav")
    assert outputs([song], overwrite=True) == [song / "bass.enhanced.wav"]


def test_several_folders_do_not_mix_in_one_output(tmp_path: Path) -> None:
    songs = [sound(tmp_path / name / "bass.wav").parent for name in ("one", "two")]
    clean = tmp_path / "clean"
    assert outputs(songs, output=str(clean)) == [clean / "one" / "bass.wav", clean / "two" / "bass.wav"]


def test_reports_are_called_like_the_input(tmp_path: Path) -> None:
    stem = sound(tmp_path / "vocals.wav")
    plan = plan_jobs([str(stem)], Selection(report="html"), False)
    names = {kind: Path(place).name for kind, place in plan.jobs[0].targets[0].reports.items()}
    assert names == {"json": "vocals.report.json", "html": "vocals.report.html"}


def test_one_file_for_several_inputs_is_refused(tmp_path: Path) -> None:
    stems = [sound(tmp_path / "song" / name) for name in ("bass.wav", "drums.wav")]
    with pytest.raises(OptionError, match="2 inputs"):
        outputs(stems, output=str(tmp_path / "out.wav"))
    with pytest.raises(OptionError, match="folder of 2 stems"):
        outputs([tmp_path / "song"], output=str(tmp_path / "out.wav"))


def test_two_inputs_of_the_same_name_need_two_outputs(tmp_path: Path) -> None:
    stems = [sound(tmp_path / folder / "vocals.wav") for folder in ("one", "two")]
    with pytest.raises(OptionError, match=r"vocals\.enhanced\.wav' twice"):
        outputs(stems, output=str(tmp_path / "out/"))


@pytest.mark.parametrize("name", ["vocals.enhanced.wav", "vocals.report.json"])
def test_existing_files_are_kept_unless_told(tmp_path: Path, name: str) -> None:
    stem = sound(tmp_path / "vocals.wav")
    (tmp_path / name).write_text("mine")
    with pytest.raises(OutputError, match="which exists; use --overwrite"):
        outputs([stem], report="json")
    assert outputs([stem], report="json", overwrite=True)
    assert outputs([stem], report="json", overwrite=None)  # a dry run writes nothing, so nothing is in the way


def test_inputs_are_never_outputs(tmp_path: Path) -> None:
    stem, mixture = sound(tmp_path / "vocals.wav"), sound(tmp_path / "song.wav")
    (tmp_path / "link.wav").symlink_to(stem)
    for output in (stem, mixture, tmp_path / "link.wav"):
        with pytest.raises(OutputError, match="not an input"):
            outputs([stem], output=str(output), mixture=str(mixture), overwrite=True)
    with pytest.raises(OutputError, match="not an input"):
        outputs([stem], suffix="", overwrite=True)


def test_inputs_that_cannot_be_used_do_not_hide_the_others(tmp_path: Path) -> None:
    good, song = sound(tmp_path / "vocals.wav"), tmp_path / "song"
    sound(song / "mix.wav")
    sound(song / "mixture.wav")
    (tmp_path / "empty").mkdir()
    plan = plan_jobs([str(path) for path in (tmp_path / "empty", good, song)], Selection(), False)
    assert [job.source.place for job in plan.jobs] == [str(good)]
    assert [type(failure.error) for failure in plan.failures] == [StemSetError, StemSetError]
    assert plan.is_batch


def test_a_folder_of_songs_is_one_job_per_song(tmp_path: Path) -> None:
    for name in ("a/vocals.wav", "a/drums.wav", "b/live/vocals.flac", "b/live/mix.flac", ".hidden/vocals.wav"):
        sound(tmp_path / "songs" / name)
    found = outputs([tmp_path / "songs"], output=str(tmp_path / "clean"))
    assert found == [tmp_path / "clean" / name for name in ("a/drums.wav", "a/vocals.wav", "b/live/vocals.flac")]
    (_, live) = plan_jobs([str(tmp_path / "songs")], Selection(), False).jobs
    assert live.mixture == str(tmp_path / "songs/b/live/mix.flac")


def test_songs_that_lie_in_one_folder_are_told_apart_by_their_titles(tmp_path: Path) -> None:
    flat, clean = tmp_path / "flat", tmp_path / "clean"
    for song in ("one", "Two more"):
        for stem in ("Vocals", "Instrumental"):
            sound(flat / f"1_{song}_({stem})_htdemucs.wav")
    sound(flat / "Two more.wav")
    plan = plan_jobs([str(flat)], Selection(output=str(clean)), overwrite=False)
    assert [[Path(stem).name for stem in job.stems] for job in plan.jobs] == [
        [f"1_{song}_({stem})_htdemucs.wav" for stem in ("Instrumental", "Vocals")] for song in ("one", "Two more")
    ]
    assert [job.mixture and Path(job.mixture).name for job in plan.jobs] == [None, "Two more.wav"]
    results = [Path(target.audio) for job in plan.jobs for target in job.targets]
    assert {path.parent for path in results} == {clean}, "their names differ"
    assert len(set(results)) == 4
    assert plan.is_batch
    manifest = tmp_path / "list.csv"
    manifest.write_text(f"input,output\n{flat},{clean}/again/\n")
    plan = plan_jobs([], Selection(manifest=str(manifest)), overwrite=False)
    assert len(plan.jobs) == 2
    assert {Path(target.audio).parent for job in plan.jobs for target in job.targets} == {clean / "again"}
    sound(flat / "drums.wav")
    plan = plan_jobs([str(flat)], Selection(), overwrite=False)
    assert not plan.jobs, "nobody knows whose drums these are"
    assert "2 songs" in str(plan.failures[0].error)


@pytest.mark.parametrize("songs", [("1999", "Kiss"), ("01_Untitled", "02_Untitled"), ("A (Original)", "B (Mix)")])
def test_numbers_and_brackets_in_titles_do_not_mix_songs_up(tmp_path: Path, songs: tuple[str, str]) -> None:
    for song in songs:
        for stem in ("Vocals", "Instrumental"):
            sound(tmp_path / f"{song}_({stem})_m.wav")
    plan = plan_jobs([str(tmp_path)], Selection(), overwrite=False)
    assert [{Path(stem).name for stem in job.stems} for job in plan.jobs] == [
        {f"{song}_(Vocals)_m.wav", f"{song}_(Instrumental)_m.wav"} for song in songs
    ]
    assert all(job.mixture is None for job in plan.jobs)


def test_audio_that_cannot_be_read_is_named_not_forgotten(tmp_path: Path) -> None:
    for name in ("vocals.wav", "drums.wav"):
        sound(tmp_path / "song" / name)
    for name in ("bass.m4a", "cover.jpg", ".hidden.m4a", "song.MP4"):
        (tmp_path / "song" / name).write_bytes(b"x")
    (job,) = plan_jobs([str(tmp_path / "song")], Selection(), False).jobs
    assert (len(job.stems), job.left_out) == (2, ("bass.m4a", "song.MP4"))
    assert Job.from_json(job.to_json()) == job


def test_patterns_find_files_and_folders_but_no_earlier_results(tmp_path: Path) -> None:
    wanted = [sound(tmp_path / name) for name in ("a/one.wav", "a/two.flac", "b/c/three.wav")]
    sound(tmp_path / "a" / "one.enhanced.wav")
    (tmp_path / "a" / "notes.txt").write_text("no audio")
    found = plan_jobs([f"{tmp_path}/**/*.*"], Selection(), None).jobs
    assert [job.source.place for job in found] == [str(path) for path in wanted]
    sets = plan_jobs([f"{tmp_path}/**/*"], Selection(), None).jobs
    assert [job.source.place for job in sets] == [f"{tmp_path}/a", f"{tmp_path}/b/c"]
    none = plan_jobs([f"{tmp_path}/*.mp3"], Selection(), None)
    assert "none for" in str(none.failures[0].error)


def test_a_name_that_looks_like_a_pattern_is_a_name_if_it_is_there(tmp_path: Path) -> None:
    stem = sound(tmp_path / "song [live].wav")
    assert outputs([stem, stem]) == [tmp_path / "song [live].enhanced.wav"]


@pytest.mark.parametrize(
    ("template", "result"),
    [
        ("{parent}/{stem}.clean.flac", "in/song/vocals.clean.flac"),
        ("out/{folder}/{stem}.{ext}", "out/song/vocals.wav"),
        ("out/{folder} - {stem}.wav", "out/song - vocals.wav"),
    ],
)
def test_templates_say_where_each_stem_goes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, template: str, result: str
) -> None:
    monkeypatch.chdir(tmp_path)
    sound(Path("in/song/vocals.wav"))
    assert outputs([Path("in/song/vocals.wav")], output=template) == [Path(result)]
    assert outputs([Path("in/song")], output=template) == [Path(result)]


@pytest.mark.parametrize(
    "template", ["{name}.wav", "{stem.__class__}.wav", "{stem!r}.wav", "{stem:>9}.wav", "{}.wav", "{"]
)
def test_templates_hold_known_fields_only(tmp_path: Path, template: str) -> None:
    with pytest.raises(OptionError, match=r"a template of \{parent\} \{folder\} \{stem\} \{ext\}"):
        outputs([sound(tmp_path / "vocals.wav")], output=template)


def test_a_template_without_folders_must_not_put_two_stems_in_one_file(tmp_path: Path) -> None:
    stems = [sound(tmp_path / song / "vocals.wav") for song in ("one", "two")]
    with pytest.raises(OptionError, match=r"vocals\.clean\.wav' twice"):
        outputs(stems, output=str(tmp_path / "{stem}.clean.wav"))


def test_remote_folders_and_patterns(tmp_path: Path) -> None:
    memory = fsspec.filesystem("memory")
    for name in ("vocals.wav", "bass.wav", "mix.wav", "notes.txt", "bass.enhanced.wav"):
        memory.pipe_file(f"/bucket/songs/one/{name}", b"x")
    (job,) = plan_jobs(["memory://bucket/songs"], Selection(output="memory://clean"), False).jobs
    assert job.mixture == "memory://bucket/songs/one/mix.wav"
    assert job.stems == ("memory://bucket/songs/one/bass.wav", "memory://bucket/songs/one/vocals.wav")
    assert [target.audio for target in job.targets] == ["memory://clean/one/bass.wav", "memory://clean/one/vocals.wav"]
    for name in ("vocals.wav", "bass.wav", "Two.wav"):
        memory.pipe_file(f"/bucket/songs/two/{name}", b"x")
    (job,) = plan_jobs(["memory://bucket/songs/two"], Selection(), False).jobs
    assert (job.mixture, len(job.stems)) == ("memory://bucket/songs/two/Two.wav", 2)
    found = plan_jobs(["memory://bucket/songs/one/b*.wav"], Selection(output="{parent}/{stem}.flac"), False).jobs
    assert [job.targets[0].audio for job in found] == ["memory://bucket/songs/one/bass.flac"]
    (unknown,) = plan_jobs(["nosuchthing://a/b.wav"], Selection(), False).failures
    assert "fsspec can open" in str(unknown.error)


def test_json_is_written_whole_or_not_at_all(tmp_path: Path) -> None:
    path = tmp_path / "report.json"
    write_json(path, {"a": 1.5})
    with pytest.raises(ValueError, match="JSON"):
        write_json(path, {"a": float("nan")})
    assert path.read_text() == '{\n  "a": 1.5\n}\n'
    assert list(tmp_path.iterdir()) == [path]
    with pytest.raises(OutputError, match="nowhere"):
        write_json(tmp_path / "nowhere" / "report.json", {})
