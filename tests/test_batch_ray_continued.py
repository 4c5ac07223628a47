"""Runs that one engine begins and the other goes on with, here and on a GS server: nothing is done twice."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest
from batches import batch, digests, start_batch, takes
from gs_server import gs_server
from test_batch_ray_alone import MARK, enhance, heirs, mark_that_processes_inherit, marked  # noqa: F401 - a fixture
from test_cli_batch import counts
from tiny_base import tiny_base as tiny_base

from stemprover.batch import places
from stemprover.batch.engines import Engine
from stemprover.batch.transfer import deliver
from stemprover.stems.writer import part_prefix

ray = pytest.importorskip("ray", reason="needs Ray: make test-ray")
pytestmark = pytest.mark.filterwarnings("ignore")

ENGINES = {"local": Engine("local", workers=1, threads=1), "ray": Engine("ray", workers=2, threads=1)}
DIRECTIONS = pytest.mark.parametrize(("first", "second"), [("local", "ray"), ("ray", "local")])


@pytest.fixture(name="server", scope="module")
def bucket_that_workers_find() -> Iterator[None]:
    """Its address is in the environment before any Ray is started: workers inherit it."""
    with gs_server("bucket"):
        yield


@pytest.fixture(name="cluster", scope="module")
def two_workers(server: None) -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        tests = Path(__file__).parent
        patch.setenv("PYTHONPATH", os.pathsep.join([str(tests), str(tests.parent)]))
        patch.setenv("RAY_USAGE_STATS_ENABLED", "0")
        ray.init("local", num_cpus=3, object_store_memory=80 * 2**20, include_dashboard=False, log_to_driver=False)
        yield
        ray.shutdown()


@pytest.fixture(name="store", params=["disk", "gs"])
def where_files_are(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    return str(tmp_path / "store") if request.param == "disk" else f"gs://bucket/{tmp_path.name}"


def put(files: Sequence[Path], folder: str) -> list[str]:
    found = [places.join(folder, path.name) for path in files]
    for path, place in zip(files, found, strict=True):
        if places.is_remote(place):
            deliver(path, place, overwrite=False)
        else:
            places.write(place, path.read_bytes())
    return found


def versions(folder: str) -> dict[str, str]:
    """Every file beside the outputs, states included, with what changes when it is written again."""
    folders = (folder, places.join(folder, ".stemprover"))
    return {place: places.version(place) for one in folders for place in _files(one)}


def _files(folder: str) -> list[str]:
    return [places.join(folder, name) for name in places.file_names(folder)]


@DIRECTIONS
def test_what_one_engine_has_done_is_done_for_the_other(
    base: Path, tmp_path: Path, cluster: None, store: str, first: str, second: str
) -> None:
    inputs = takes(tmp_path / "in", 4)
    batch(base, inputs, tmp_path / "here")
    there, clean = put(inputs, f"{store}/in"), f"{store}/clean"
    assert [one.status for one in batch(base, there[:2], clean, ENGINES[first])] == ["done"] * 2
    before = versions(clean)
    assert len(before) == 2 * len(("audio", "report", "state"))
    found = {one.source.place: one.status for one in batch(base, there, clean, ENGINES[second], resume=True)}
    assert found == dict(zip(there, ["resumed", "resumed", "done", "done"], strict=True))
    after = versions(clean)
    assert {place: after[place] for place in before} == before, "not even written again"
    assert len(after) == 2 * len(before), "and no claim is left"
    for name, content in digests(tmp_path / "here").items():
        if name.endswith(".wav"):
            assert places.read(places.join(clean, name)) == content
    for engine in (first, second):
        again = batch(base, there, clean, ENGINES[engine], resume=True)
        assert {one.status for one in again} == {"resumed"}
    assert versions(clean) == after


def begin(base: Path, inputs: Sequence[Path | str], clean: str, engine: str, mark: str) -> subprocess.Popen[str]:
    """Begin in another process; returns it while it works on the last input and has done the others."""
    running = start_batch(base, inputs, clean, engine=engine, **{MARK: mark})
    half_written = part_prefix("long.wav") + "*.part"
    sign = places.join(clean, ".stemprover/long.wav.claim" if places.is_remote(clean) else half_written)
    done = [places.join(clean, ".stemprover", f"{places.name_of(str(place))}.json") for place in inputs[:-1]]
    while running.poll() is None:
        states = [json.loads(places.read(place) or b"{}") for place in done]
        if all(state.get("files") for state in states) and places.matching(sign):
            return running
        time.sleep(0.1)
    pytest.fail(f"it is over: {running.communicate()}")


def long_after_short(folder: Path) -> list[Path]:
    long = takes(folder / "long", 1, seconds=90.0)[0]
    inputs = takes(folder / "in", 2)
    return [*inputs, long.rename(folder / "in" / "long.wav")]


@pytest.mark.timeout(300)
@DIRECTIONS
def test_a_killed_run_is_continued_by_the_other_engine(
    base: Path, tmp_path: Path, cluster: None, mark: str, first: str, second: str
) -> None:
    """Everything at once, as when the machine stops."""
    inputs, clean = long_after_short(tmp_path), tmp_path / "clean"
    running = begin(base, inputs, str(clean), first, mark)
    killed = heirs(mark)
    for process in killed:
        with contextlib.suppress(ProcessLookupError):
            os.kill(process, signal.SIGKILL)
    running.wait()
    while any(Path(f"/proc/{process}").exists() for process in killed):  # until then they hold their locks
        time.sleep(0.05)
    assert marked(mark) == []
    running.communicate()
    assert list(clean.glob("*.part")), "it was in the middle"
    assert not (clean / "long.wav").exists()
    before = {place: version for place, version in versions(str(clean)).items() if "take" in place}
    found = {Path(one.source.place).name: one for one in batch(base, inputs, clean, ENGINES[second], resume=True)}
    assert {one.error for one in found.values()} == {""}
    assert [found[path.name].status for path in inputs] == ["resumed", "resumed", "done"]
    after = versions(str(clean))
    assert {place: after[place] for place in before} == before
    batch(base, inputs, tmp_path / "here")
    results, wanted = digests(clean), digests(tmp_path / "here")
    assert {name: results[name] for name in wanted if name.endswith(".wav")} == {
        name: content for name, content in wanted.items() if name.endswith(".wav")
    }


@pytest.mark.timeout(300)
@pytest.mark.parametrize("second", ["local", "ray"])
def test_what_an_interrupted_run_on_ray_had_claimed_on_a_server_is_free_at_once(
    base: Path, tmp_path: Path, cluster: None, mark: str, second: str
) -> None:
    """Workers are killed with their cluster; what they had claimed would be taken for a quarter of an hour."""
    inputs, store = long_after_short(tmp_path), f"gs://bucket/{tmp_path.name}"
    there, clean = put(inputs, f"{store}/in"), f"{store}/clean"
    running = begin(base, there, clean, "ray", mark)
    os.killpg(running.pid, signal.SIGINT)  # as a terminal does
    assert "KeyboardInterrupt" in running.communicate(timeout=120)[1]
    assert marked(mark) == []
    before = {place: version for place, version in versions(clean).items() if "take" in place}
    found = {one.source.place: one for one in batch(base, there, clean, ENGINES[second], resume=True)}
    assert [found[place].error for place in there] == [""] * 3
    assert [found[place].status for place in there] == ["resumed", "resumed", "done"]
    after = versions(clean)
    assert {place: after[place] for place in before} == before
    assert len(after) == 3 * len(("audio", "report", "state")), "and no claim is left"


@pytest.mark.timeout(300)
def test_the_command_line_continues_on_ray_at_a_server_and_here_again(tmp_path: Path, server: None, mark: str) -> None:
    """The released networks, a cluster of its own, and a list of failures that is a file on the server as well."""
    inputs, store = takes(tmp_path / "in", 3), f"gs://bucket/{tmp_path.name}"
    here, there, clean = tmp_path / "here", put(inputs, f"{store}/in"), f"{store}/clean"
    code, _, _ = enhance(mark, *inputs, "-o", f"{here}/", "--threads", "1")
    assert code == 0
    local, on_ray = ("-o", f"{clean}/", "--resume", "--threads", "1"), ("--engine", "ray", "--jobs", "2")
    code, out, _ = enhance(mark, *there[:1], f"{store}/in/none.wav", *local)
    assert (code, counts(out)) == (1, {"done": 1, "done before": 0, "failed": 1, "stems": 1})
    assert places.file_names(clean) == ["failures.csv", "take0.enhanced.wav"]
    before = versions(clean)
    code, out, err = enhance(mark, *there, *local, *on_ray)
    assert (code, err, counts(out)) == (0, "", {"done": 2, "done before": 1, "failed": 0, "stems": 2})
    after = versions(clean)
    assert all(after[place] == version for place, version in before.items() if "failures" not in place)
    assert {name: places.read(f"{clean}/{name}") for name in places.file_names(clean)} == digests(here)
    code, out, _ = enhance(mark, *there, *local)
    assert (code, counts(out)) == (0, {"done": 0, "done before": 3, "failed": 0, "stems": 0})
    assert versions(clean) == after
