"""What goes wrong in the middle of a batch: nothing is lost, nothing is half-written, the others go on."""

from __future__ import annotations

import dataclasses
import json
import resource
import signal
import subprocess
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import soundfile
from batches import RATE, SETTINGS, TinyLoader, batch, digests, start_batch, takes
from tiny_base import tiny_base as tiny_base

from stemprover.batch.claims import beside, claimed
from stemprover.batch.engines import Engine
from stemprover.batch.outcomes import write_failures
from stemprover.batch.planning import Selection, plan_jobs
from stemprover.enhance import Enhancer
from stemprover.errors import OptionError, OutputError
from stemprover.stems import StemSet
from stemprover.stems.writer import part_prefix


@pytest.mark.parametrize("workers", [1, 2])
def test_an_unreadable_file_in_the_middle(base: Path, tmp_path: Path, workers: int) -> None:
    inputs, clean = takes(tmp_path / "in", 4), tmp_path / "clean"
    good = inputs[1].read_bytes()
    inputs[1].write_bytes(good[: len(good) // 2])
    soundfile.write(inputs[2], np.full((RATE, 2), np.nan), RATE, "FLOAT")
    outcomes = batch(base, inputs, clean, Engine(workers=workers))
    assert [outcome.status for outcome in outcomes] == ["done", "failed", "failed", "done"]
    assert "cut off" in outcomes[1].error
    assert "NaN" in outcomes[2].error
    assert {name for name in digests(clean) if name.endswith("wav")} == {"take0.wav", "take3.wav"}
    # The list of failures repeats just them.
    listed = str(tmp_path / "failures.csv")
    assert write_failures(listed, [outcome for outcome in outcomes if outcome.error])
    inputs[1].write_bytes(good)
    plan = plan_jobs([], Selection(output=f"{clean}/{{stem}}.{{ext}}", manifest=listed), False)
    assert [job.source.place for job in plan.jobs] == [str(path) for path in inputs[1:3]]
    assert [one.status for one in batch(base, inputs, clean, resume=True)] == ["resumed", "done", "failed", "resumed"]
    assert not write_failures(listed, [])
    assert not Path(listed).exists()


class Stumbling(TinyLoader):
    """Enhancers with a fault that nobody foresaw."""

    def __call__(self, device: str) -> Enhancer:
        enhancer = super().__call__(device)
        repair = enhancer.enhance_set

        def stumble(stems: StemSet, *arguments: object, **options: object) -> object:
            return 1 // 0 if stems.stems[0].name == "take1" else repair(stems, *arguments, **options)  # type: ignore[arg-type]

        enhancer.enhance_set = stumble  # type: ignore[method-assign, assignment]
        return enhancer


def test_a_fault_in_the_program_stops_one_job_only(base: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("batches.TinyLoader", Stumbling)
    inputs = takes(tmp_path / "in", 3)
    outcomes = batch(base, inputs, tmp_path / "clean")
    assert [outcome.status for outcome in outcomes] == ["done", "failed", "done"]
    assert "ZeroDivisionError" in outcomes[1].error
    assert set(digests(tmp_path / "clean")) >= {"take0.wav", "take2.wav"}


def test_options_that_suit_no_input_end_the_run_before_it_begins(base: Path, tmp_path: Path) -> None:
    inputs = takes(tmp_path / "in", 2)
    with pytest.raises(OptionError, match="strength"):
        batch(base, inputs, tmp_path / "clean", settings=dataclasses.replace(SETTINGS, strength=3.0))
    assert not (tmp_path / "clean").exists()


@pytest.fixture(name="small_disk")
def file_size_limit() -> Iterator[None]:
    """No file may grow beyond 300 KiB: writing fails as on a full disk."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (300 * 1024, before[1]))
    yield
    resource.setrlimit(resource.RLIMIT_FSIZE, before)


def test_a_full_disk(base: Path, tmp_path: Path, request: pytest.FixtureRequest) -> None:
    inputs, clean = takes(tmp_path / "in", 3), tmp_path / "clean"
    large = takes(tmp_path / "large", 1, seconds=3.0)[0].rename(tmp_path / "in" / "large.wav")
    order = [inputs[0], large, *inputs[1:]]
    request.getfixturevalue("small_disk")
    outcomes = batch(base, order, clean)
    assert [outcome.status for outcome in outcomes] == ["done", "failed", "done", "done"]
    assert "nothing was written" in outcomes[1].error
    assert "large.wav" not in digests(clean)
    resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
    assert [one.status for one in batch(base, order, clean, resume=True)] == ["resumed", "done", "resumed", "resumed"]


def wait_for(place: Path, pattern: str, running: subprocess.Popen[str]) -> None:
    while not list(place.glob(pattern)):
        assert running.poll() is None, running.communicate()
        time.sleep(0.02)


def test_a_killed_process_and_resume(base: Path, tmp_path: Path) -> None:
    inputs, clean, whole = takes(tmp_path / "in", 3), tmp_path / "clean", tmp_path / "whole"
    long = takes(tmp_path / "long", 1, seconds=20.0)[0].rename(tmp_path / "in" / "long.wav")
    order = [*inputs[:2], long, inputs[2]]
    running = start_batch(base, order, clean)
    wait_for(clean, ".stemprover/take1.wav.json", running)
    wait_for(clean, f"{part_prefix('long.wav')}*.part", running)
    running.send_signal(signal.SIGKILL)
    running.communicate()
    states = {path.name: json.loads(path.read_text()) for path in clean.glob(".stemprover/*.json")}
    finished = sorted(name for name, state in states.items() if state["files"])
    assert finished == ["take0.wav.json", "take1.wav.json"]
    assert not (clean / "long.wav").exists()
    dates = [(clean / f"take{number}.wav").stat().st_mtime_ns for number in (0, 1)]
    outcomes = batch(base, order, clean, resume=True)
    assert [outcome.status for outcome in outcomes] == ["resumed", "resumed", "done", "done"]
    assert dates == [(clean / f"take{number}.wav").stat().st_mtime_ns for number in (0, 1)]
    batch(base, order, whole)
    audio, expected = ({n: c for n, c in digests(folder).items() if n.endswith(".wav")} for folder in (clean, whole))
    assert audio == expected


def test_two_processes_on_the_same_output(base: Path, tmp_path: Path) -> None:
    clean = tmp_path / "clean"
    long = takes(tmp_path / "in", 1, seconds=20.0)
    first = start_batch(base, long, clean)
    wait_for(clean, ".stemprover/*.lock", first)
    (second,) = batch(base, long, clean)
    out, err = first.communicate(timeout=240)
    assert out.split() == ["done"], err
    assert second.status == "failed"
    assert f"process {first.pid} on" in second.error
    assert set(digests(clean)) == {"take0.wav", "take0.report.json"}
    (third,) = batch(base, long, clean, resume=True)
    assert third.status == "resumed"


def test_a_claim_is_for_one_at_a_time_and_leaves_nothing_behind(tmp_path: Path) -> None:
    place = str(tmp_path / "a.wav")
    entered, holders, refused = [0], [], []

    def hold() -> None:
        for _ in range(50):
            try:
                with claimed([place], "run"):
                    entered[0] += 1
                    holders.append(entered[0])
                    time.sleep(0.0005)
                    entered[0] -= 1
            except OutputError as error:
                refused.append(str(error))

    threads = [threading.Thread(target=hold) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert set(holders) == {1}
    assert all("for this run alone" in reason for reason in refused)
    assert list(tmp_path.iterdir()) == []
    new = str(tmp_path / "new" / "folder" / "a.wav")
    with claimed([new], "run"):
        assert Path(beside(new, ".lock")).exists()
    assert list(tmp_path.iterdir()) == []


def test_a_job_that_ends_its_worker_again_and_again_is_given_up(base: Path, tmp_path: Path) -> None:
    inputs, clean = takes(tmp_path / "in", 2), tmp_path / "clean"
    batch(base, inputs, clean, run="r")
    state = clean / ".stemprover" / "take0.wav.json"
    begun = json.loads(state.read_text()) | {"files": {}, "attempts": 3}
    state.write_text(json.dumps(begun))
    (clean / "take0.wav").unlink()
    first, second = batch(base, inputs, clean, run="r", overwrite=True)
    assert (first.status, second.status) == ("failed", "done")
    assert "3 that were lost" in first.error
    assert [one.status for one in batch(base, inputs, clean, resume=True)] == ["done", "resumed"]
