"""``stemprover enhance`` and ``detect`` from the outside: files, what is printed, exit codes, interruption."""

from __future__ import annotations

import json
import os
import pty
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import soundfile
from adapter_site import NAME, site_with_adapter, trained_adapter  # noqa: F401 - fixtures

from stemprover import __version__
from stemprover.cli.main import main

RATE = 44_100
PROGRAM = "from stemprover.cli.main import main; main()"
KEYS = [
    *("version", "input", "output", "sample_rate", "channels", "samples", "duration_s", "detections", "plan"),
    *("unrepaired", "repaired_s", "timings_s", "settings"),
]


@pytest.fixture(name="song")
def folder_of_stems(tmp_path: Path, adapter_site: Path) -> Path:
    """Two short stems, 16 and 24 bit."""
    song = tmp_path / "song"
    song.mkdir()
    time_s = np.arange(RATE // 2) / RATE
    for name, hertz, subtype in (("bass.wav", 110.0, "PCM_16"), ("vocals.flac", 440.0, "PCM_24")):
        noise = 0.02 * np.random.default_rng(int(hertz)).standard_normal((time_s.size, 2))
        soundfile.write(song / name, 0.2 * np.sin(2 * np.pi * hertz * time_s)[:, None] + noise, RATE, subtype)
    return song


def enhance(capsys: pytest.CaptureFixture[str], *arguments: str | Path) -> tuple[int, str, str]:
    with pytest.raises(SystemExit) as exit_:
        main(["enhance", "--adapter", NAME, "--quality", "fast", "--device", "cpu", *map(str, arguments)])
    return (int(exit_.value.code or 0), *capsys.readouterr())


def names(folder: Path) -> set[str]:
    return {path.name for path in folder.iterdir()}


def test_one_stem_gets_audio_and_reports(song: Path, capsys: pytest.CaptureFixture[str]) -> None:
    code, out, err = enhance(capsys, song / "bass.wav")
    assert (code, err) == (0, "")
    assert names(song) == {
        "bass.wav", "vocals.flac", "bass.enhanced.wav", "bass.report.html", "bass.report.json",
    }  # fmt: skip
    for path in ("bass.enhanced.wav", "bass.report.html", "bass.report.json"):
        assert str(song / path) in out
    assert (song / "bass.report.html").read_text().lstrip().lower().startswith("<!doctype html>")
    report = json.loads((song / "bass.report.json").read_text())
    assert report["output"] == str(song / "bass.enhanced.wav")


def test_json_is_one_promised_object_per_stem(song: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    code, out, err = enhance(capsys, song, "-o", tmp_path / "clean", "--json", "--report", "none")
    objects = [json.loads(line) for line in out.splitlines()]
    assert (code, err, len(objects)) == (0, "", 2)
    assert names(tmp_path / "clean") == {"bass.wav", "vocals.flac"}
    for found, name in zip(objects, ("bass.wav", "vocals.flac"), strict=True):
        assert set(KEYS) <= set(found)
        assert found["version"] == __version__
        assert found["input"] == str(song / name)
        assert (found["sample_rate"], found["channels"], found["samples"]) == (RATE, 2, RATE // 2)
        item = {"start_s", "end_s", "artifact", "adapter", "strength", "low_hz", "high_hz"}
        assert [set(entry) for entry in found["plan"]] == [item]
        assert found["settings"]["quality"] == "fast"


def test_dry_run_prints_the_plan_and_writes_nothing(song: Path, capsys: pytest.CaptureFixture[str]) -> None:
    before = names(song)
    code, out, _ = enhance(capsys, song / "bass.wav", "--dry-run")
    assert code == 0
    assert "plan" in out
    assert NAME in out
    assert json.loads(enhance(capsys, song / "bass.wav", "--dry-run", "--json")[1])["output"] is None
    assert names(song) == before


def test_a_second_opinion_can_be_left_out_and_needs_company(song: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for options, asked in (((), True), (("--second-opinion",), True), (("--no-second-opinion",), False)):
        code, out, _ = enhance(capsys, song, "--json", "--report", "none", "--overwrite", *options)
        for found in map(json.loads, out.splitlines()):
            assert (code, found["settings"]["second_opinion"]) == (0, asked)
            assert (found["timings_s"]["opinion"] > 0.0) is asked
    code, out, _ = enhance(capsys, song / "bass.wav", "--json", "--overwrite")
    assert (code, json.loads(out)["timings_s"]["opinion"]) == (0, 0.0)


def test_quiet_prints_nothing(song: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert enhance(capsys, song / "bass.wav", "--quiet", "--report", "json") == (0, "", "")
    assert {"bass.enhanced.wav", "bass.report.json"} <= names(song)


def test_jobs_do_not_change_the_result(song: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    stems = [song / "bass.wav", song / "vocals.flac"]
    for jobs in ("1", "2"):
        assert enhance(capsys, *stems, "-o", tmp_path / jobs, "--jobs", jobs, "--report", "none")[0] == 0
    for name in ("bass.enhanced.wav", "vocals.enhanced.flac"):
        one, two = (soundfile.read(tmp_path / jobs / name, dtype="int32")[0] for jobs in ("1", "2"))
        # The number of threads may move the last bit of a float sum, which is far below the last bit of a sample.
        assert np.abs(one.astype(np.int64) - two).max() <= 1 << 16


def test_one_bad_input_does_not_stop_the_others(song: Path, capsys: pytest.CaptureFixture[str]) -> None:
    audio = np.zeros((RATE // 2, 2))
    audio[100] = np.nan
    soundfile.write(song / "drums.wav", audio, RATE, "FLOAT")
    inputs = [song / name for name in ("missing.wav", "drums.wav", "bass.wav")]
    code, out, err = enhance(capsys, *inputs, "--report", "none")
    assert code == 1
    assert [line.startswith("stemprover: ") for line in err.splitlines()] == [True, True, True]
    assert "missing.wav" in err
    assert str(song / "failures.csv") in err
    assert "drums.wav" in err
    assert "bass.enhanced.wav" in out
    assert "bass.enhanced.wav" in names(song)
    assert "drums.enhanced.wav" not in names(song)


def test_reference_shows_what_changed(song: Path, capsys: pytest.CaptureFixture[str]) -> None:
    reference = song.parent / "reference"
    reference.mkdir()
    (reference / "bass.wav").write_bytes((song / "bass.wav").read_bytes())
    code, out, _ = enhance(capsys, song / "bass.wav", "--reference", reference)
    assert code == 0
    assert "SI-SDR" in out
    assert "SI-SDR" in (song / "bass.report.html").read_text()
    code, _, err = enhance(capsys, song / "vocals.flac", "--reference", reference)
    assert code == 2
    assert "'vocals'" in err


def start(site: Path, *arguments: str | Path, stderr: int = subprocess.PIPE) -> subprocess.Popen[bytes]:
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(site), *sys.path])}
    command = [sys.executable, "-c", PROGRAM, "enhance", "--adapter", NAME, "--quality", "fast", *map(str, arguments)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=stderr, env=environment)


def test_bars_are_drawn_on_a_terminal_only(song: Path, adapter_site: Path) -> None:
    master, slave = pty.openpty()
    running = start(adapter_site, song / "bass.wav", "--report", "none", stderr=slave)
    os.close(slave)
    shown = b""
    while chunk := _read(master):
        shown += chunk
    assert running.wait(timeout=120) == 0
    assert b"bass.wav" in shown
    assert b"detect" in shown
    piped = start(adapter_site, song / "bass.wav", "--report", "none", "--overwrite")
    assert piped.communicate(timeout=120)[1] == b""


def _read(terminal: int) -> bytes:
    try:
        return os.read(terminal, 65_536)
    except OSError:  # Linux says so when the other end is closed
        return b""


@pytest.mark.parametrize("jobs", ["1", "2"])
def test_interruption_leaves_nothing_half_written(song: Path, adapter_site: Path, jobs: str, tmp_path: Path) -> None:
    for name in ("long-bass.wav", "long-drums.wav"):
        soundfile.write(song / name, 0.1 * np.random.default_rng(0).standard_normal((20 * RATE, 2)), RATE)
    clean = tmp_path / "clean"
    running = start(adapter_site, song / "long-bass.wav", song / "long-drums.wav", "-o", clean, "--jobs", jobs)
    while running.poll() is None and not list(clean.glob(".*.part")):
        time.sleep(0.02)
    running.send_signal(signal.SIGINT)
    _, err = running.communicate(timeout=120)
    assert running.returncode == 130, err.decode()
    assert b"Traceback" not in err
    left = names(clean) if clean.exists() else set()
    # On a busy machine a file may be done before anybody sees it begin: what is there is whole, and reports come last.
    audio = {name for name in left if name.endswith(".enhanced.wav")}
    reports = {name.replace(".enhanced.wav", f".report.{kind}") for name in audio for kind in ("html", "json")}
    assert audio or not left
    assert left <= {".stemprover"} | audio | reports
    assert all(soundfile.info(clean / name).frames == 20 * RATE for name in audio)
    assert not list(clean.glob(".stemprover/*.lock"))


def test_detect_prints_findings_and_draws_them(song: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    before = names(song)
    with pytest.raises(SystemExit) as exit_:
        main(["detect", str(song), "--json", "--plot", str(tmp_path / "plot.png")])
    out, err = capsys.readouterr()
    assert (exit_.value.code, err) == (0, "")
    objects = [json.loads(line) for line in out.splitlines()]
    assert [found["input"] for found in objects] == [str(song / "bass.wav"), str(song / "vocals.flac")]
    keys = {"artifact", "start_s", "end_s", "low_hz", "high_hz", "confidence", "severity"}
    assert all(set(entry) == keys for found in objects for entry in found["detections"])
    assert {"plot.bass.png", "plot.vocals.png"} <= names(tmp_path)
    assert names(song) == before


def test_late_stems_are_named_and_mended(song: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    mixture = sum(soundfile.read(path)[0] for path in song.iterdir())
    soundfile.write(song / "mix.wav", mixture, RATE)
    for path in (song / "bass.wav", song / "vocals.flac"):
        audio, _ = soundfile.read(path)
        soundfile.write(path, np.pad(audio, ((1105, 0), (0, 0)))[: len(audio)], RATE)
    code, out, _ = enhance(capsys, song, "-o", tmp_path / "late", "--report", "none")
    assert code == 0
    assert out.count("1105 samples late: enhance --align mends it") == 2
    for command in (["enhance", "--auto-detect", "--dry-run"], ["detect"]):
        with pytest.raises(SystemExit):
            main([*command, str(song)])
        assert capsys.readouterr().out.count("1105 samples late") == 2, command
    code, out, _ = enhance(capsys, song, "-o", tmp_path / "mended", "--report", "none", "--align", "--json")
    found = [json.loads(line) for line in out.splitlines()]
    assert [(one["late_samples"], one["moved_samples"], one["samples"]) for one in found] == [(0, 1105, RATE // 2)] * 2
    mended = sum(soundfile.read(tmp_path / "mended" / name)[0] for name in ("bass.wav", "vocals.flac"))
    late = sum(soundfile.read(tmp_path / "late" / name)[0] for name in ("bass.wav", "vocals.flac"))
    errors = [np.mean((one - mixture)[: RATE // 4] ** 2) for one in (late, mended)]
    assert errors[1] < 0.2 * errors[0]
