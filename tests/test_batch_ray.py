"""The cluster engine on a real local Ray cluster: the results of one machine, whatever happens to workers."""

from __future__ import annotations

import dataclasses
import json
import os
import signal
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import soundfile
from batches import RATE, SETTINGS, TinyLoader, batch, digests, takes
from tiny_base import tiny_base as tiny_base

from stemprover.batch.cluster import Worker
from stemprover.batch.engines import Engine, prepared
from stemprover.batch.orders import Order
from stemprover.errors import ModelError, OptionError, StemProverError
from stemprover.stems.writer import part_prefix

ray = pytest.importorskip("ray", reason="needs Ray: make test-ray")
pytestmark = pytest.mark.filterwarnings("ignore")

CLUSTER = Engine("ray", workers=2, threads=1)
HERE = Engine("local", workers=1, threads=1)


@pytest.fixture(autouse=True, scope="module")
def cluster() -> Iterator[None]:
    """Two worker processes, which find the tests' modules."""
    before = os.environ.get("PYTHONPATH")
    os.environ["PYTHONPATH"] = os.pathsep.join([str(Path(__file__).parent), str(Path(__file__).parent.parent)])
    os.environ["RAY_USAGE_STATS_ENABLED"] = "0"
    ray.init(num_cpus=3, object_store_memory=80 * 2**20, include_dashboard=False, log_to_driver=False)
    yield
    ray.shutdown()
    if before is None:
        del os.environ["PYTHONPATH"]
    else:
        os.environ["PYTHONPATH"] = before


def audio(folder: Path) -> dict[str, bytes]:
    return {name: content for name, content in digests(folder).items() if name.endswith(".wav")}


def test_results_are_the_same_bit_for_bit(base: Path, tmp_path: Path) -> None:
    inputs = takes(tmp_path / "in", 3)
    for path in inputs:  # floats: nothing is rounded away
        samples, _ = soundfile.read(path, dtype="float32")
        soundfile.write(path, samples, RATE, "FLOAT")
    assert [one.status for one in batch(base, inputs, tmp_path / "here", HERE)] == ["done"] * 3
    there = batch(base, inputs, tmp_path / "there", CLUSTER)
    assert sorted(one.source.place for one in there) == sorted(map(str, inputs))
    assert {one.status for one in there} == {"done"}
    assert audio(tmp_path / "there") == audio(tmp_path / "here")
    assert all(one.results[0].summary["repaired_s"] > 0 for one in there)
    # What one engine has done is done for the other.
    assert {one.status for one in batch(base, inputs, tmp_path / "there", HERE, resume=True)} == {"resumed"}


def test_a_lost_worker_loses_nothing_and_does_nothing_twice(base: Path, tmp_path: Path) -> None:
    inputs, clean = takes(tmp_path / "in", 7), tmp_path / "clean"
    long = takes(tmp_path / "long", 1, seconds=30.0)[0].rename(tmp_path / "in" / "long.wav")
    order = [*inputs[:3], long, *inputs[3:]]
    killed: list[int] = []
    dates: dict[str, int] = {}

    def kill() -> None:
        while not list(clean.glob("take*.wav")) or not list(clean.glob(f"{part_prefix('long.wav')}*.part")):
            time.sleep(0.01)
        killed.append(json.loads((clean / ".stemprover" / "long.wav.lock").read_text())["process"])
        os.kill(killed[0], signal.SIGKILL)
        dates.update({path.name: path.stat().st_mtime_ns for path in clean.glob("*.wav")})

    killer = threading.Thread(target=kill, daemon=True)
    killer.start()
    outcomes = batch(base, order, clean, CLUSTER)
    killer.join(timeout=5)
    assert killed
    assert killed[0] != os.getpid()
    assert sorted(one.source.place for one in outcomes) == sorted(map(str, order))
    assert {one.status for one in outcomes} == {"done"}
    assert {name: (clean / name).stat().st_mtime_ns for name in dates} == dates
    attempts = {
        path.name.removesuffix(".wav.json"): json.loads(path.read_text())["attempts"]
        for path in clean.glob(".stemprover/*.json")
    }
    assert attempts.pop("long") == 2
    assert set(attempts.values()) == {1}
    batch(base, order, tmp_path / "here", HERE)
    assert audio(clean) == audio(tmp_path / "here")


def test_a_bad_file_is_one_failure_there_as_well(base: Path, tmp_path: Path) -> None:
    inputs = takes(tmp_path / "in", 2)
    soundfile.write(inputs[0], np.full((RATE, 2), np.inf), RATE, "FLOAT")
    found = {Path(one.source.place).name: one for one in batch(base, inputs, tmp_path / "clean", CLUSTER)}
    assert found["take0.wav"].status == "failed"
    assert "NaN or infinity" in found["take0.wav"].error
    assert found["take1.wav"].status == "done"


def test_a_machine_with_other_weights_is_refused(base: Path) -> None:
    order = prepared(Order(SETTINGS, TinyLoader(base), record=True), TinyLoader(base)("cpu"))
    Worker(order, 1)
    with pytest.raises(ModelError, match="others on"):
        Worker(dataclasses.replace(order, weights="0" * 64), 1)


def test_more_than_the_cluster_has_is_refused(base: Path, tmp_path: Path) -> None:
    inputs = takes(tmp_path / "in", 1)
    with pytest.raises(OptionError, match="got CPU 3"):
        batch(base, inputs, tmp_path / "clean", Engine("ray", threads=64))
    with pytest.raises(OptionError, match=r"0\.5 GPU"):
        batch(base, inputs, tmp_path / "clean", Engine("ray", gpus_per_worker=0.5))


class Broken(TinyLoader):
    """Works where the run starts and on no worker."""

    def __init__(self, base: Path) -> None:
        super().__init__(base)
        self.home = os.getpid()

    def __call__(self, device: str) -> object:  # type: ignore[override]
        if os.getpid() != self.home:
            raise ModelError("weights", "none", "install them")
        return super().__call__(device)


def test_workers_that_cannot_start_end_the_run(base: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("batches.TinyLoader", Broken)
    with pytest.raises(StemProverError, match="install them"):
        batch(base, takes(tmp_path / "in", 2), tmp_path / "clean", CLUSTER)
