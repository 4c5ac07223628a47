"""Which input becomes which output."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import soundfile

from stemprover.batch.jobs import Selection, plan_jobs, write_json
from stemprover.errors import AudioError, OptionError, OutputError, StemSetError


def sound(path: Path, samples: int = 4410) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    soundfile.write(path, np.zeros((samples, 2)), 44_100)
    return path


def outputs(inputs: list[Path], overwrite: bool | None = False, **options: str) -> list[Path]:
    jobs, failures = plan_jobs([str(path) for path in inputs], Selection(**options), overwrite)
    assert not failures
    return [target.audio for job in jobs for target in job.targets]


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
    jobs, _ = plan_jobs([str(stem)], Selection(report="html"), False)
    names = {kind: path.name for kind, path in jobs[0].targets[0].reports.items()}
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
    sound(song / "bass.wav", 100)
    sound(song / "drums.wav", 101)
    jobs, failures = plan_jobs([str(tmp_path / "missing.wav"), str(good), str(song)], Selection(), False)
    assert [job.source for job in jobs] == [good]
    assert [type(failure.error) for failure in failures] == [AudioError, StemSetError]


def test_json_is_written_whole_or_not_at_all(tmp_path: Path) -> None:
    path = tmp_path / "report.json"
    write_json(path, {"a": 1.5})
    with pytest.raises(ValueError, match="JSON"):
        write_json(path, {"a": float("nan")})
    assert path.read_text() == '{\n  "a": 1.5\n}\n'
    assert list(tmp_path.iterdir()) == [path]
    with pytest.raises(OutputError, match="nowhere"):
        write_json(tmp_path / "nowhere" / "report.json", {})
