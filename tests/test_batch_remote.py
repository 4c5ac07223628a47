"""Inputs and outputs elsewhere: in memory here, and on servers for S3 and GS where their clients are installed."""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Iterator
from pathlib import Path

import fsspec
import pytest
from batches import batch, digests, takes
from fsspec.registry import _registry, known_implementations
from gs_server import gs_server
from tiny_base import tiny_base as tiny_base

from stemprover.batch import places
from stemprover.batch.claims import beside, claimed
from stemprover.batch.transfer import create, deliver, fetch
from stemprover.cli.main import main
from stemprover.errors import AudioError, OptionError, OutputError


@pytest.fixture(name="bucket", params=["memory", "s3", "gs"])
def folder_elsewhere(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[str]:
    """A folder that is not on this machine's disk."""
    if request.param == "memory":
        yield f"memory://bucket/{tmp_path.name}"
        return
    if request.param == "gs":
        with gs_server("bucket"):
            yield f"gs://bucket/{tmp_path.name}"
        return
    pytest.importorskip("s3fs", reason="needs s3fs and moto: make test-ray")
    server = pytest.importorskip("moto.server", reason="needs moto: make test-ray").ThreadedMotoServer("127.0.0.1", 0)
    server.start()
    host, port = server.get_host_and_port()
    for name, value in {"AWS_ACCESS_KEY_ID": "a", "AWS_SECRET_ACCESS_KEY": "b", "AWS_REGION": "us-east-1"}.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("AWS_ENDPOINT_URL", f"http://{host}:{port}")
    fsspec.filesystem("s3", skip_instance_cache=True).makedirs("bucket", exist_ok=True)
    yield f"s3://bucket/{tmp_path.name}"
    fsspec.filesystem("s3").clear_instance_cache()
    server.stop()


def put(files: list[Path], folder: str) -> list[str]:
    """Copy files to another place."""
    found = [places.join(folder, path.name) for path in files]
    for path, place in zip(files, found, strict=True):
        deliver(path, place, overwrite=False)
    return found


def test_results_are_those_of_local_files(base: Path, tmp_path: Path, bucket: str) -> None:
    inputs = takes(tmp_path / "in", 2)
    batch(base, inputs, tmp_path / "clean")
    there = put(inputs, f"{bucket}/in")
    outcomes = batch(base, there, f"{bucket}/clean")
    assert [outcome.status for outcome in outcomes] == ["done", "done"]
    summary = outcomes[0].results[0].summary
    assert (summary["input"], summary["output"]) == (there[0], f"{bucket}/clean/take0.wav")
    local = digests(tmp_path / "clean")
    assert places.file_names(f"{bucket}/clean") == sorted(local)
    for name in ("take0.wav", "take1.wav"):
        assert places.read(f"{bucket}/clean/{name}") == local[name]
    assert json.loads(places.read(f"{bucket}/clean/take1.report.json") or b"")["input"] == there[1]
    assert [one.status for one in batch(base, there, f"{bucket}/clean", resume=True)] == ["resumed", "resumed"]
    assert places.file_names(f"{bucket}/clean/.stemprover") == ["take0.wav.json", "take1.wav.json"]


def test_what_is_there_stays_unless_told(base: Path, tmp_path: Path, bucket: str) -> None:
    inputs = takes(tmp_path / "in", 1)
    places.write(f"{bucket}/clean/take0.wav", b"mine")
    for options in ({}, {"resume": True}):
        (outcome,) = batch(base, inputs, f"{bucket}/clean", **options)  # type: ignore[arg-type]
        assert outcome.status == "failed"
        assert places.read(f"{bucket}/clean/take0.wav") == b"mine"
    (outcome,) = batch(base, inputs, f"{bucket}/clean", overwrite=True)
    assert outcome.status == "done"
    with pytest.raises(OutputError, match="which exists"):
        deliver(inputs[0], f"{bucket}/clean/take0.wav", overwrite=False)


def test_a_missing_file_is_one_failure(base: Path, tmp_path: Path, bucket: str) -> None:
    there = put(takes(tmp_path / "in", 1), f"{bucket}/in")
    first, second = batch(base, [f"{bucket}/in/none.wav", *there], f"{bucket}/clean")
    assert (first.status, second.status) == ("failed", "done")
    assert f"nothing at '{bucket}/in/none.wav'" in first.error
    with pytest.raises(AudioError, match="nothing at"):
        fetch(f"{bucket}/in/none.wav", tmp_path)


def test_only_one_creates_a_file(bucket: str) -> None:
    place = f"{bucket}/claim"
    assert create(place, b"first")
    assert not create(place, b"second")
    assert create(place, b"first")  # asked again because the answer got lost
    assert places.read(place) == b"first"


def test_claims_hold_until_they_run_out(bucket: str) -> None:
    place = f"{bucket}/a.wav"
    with claimed([place], "one"):
        with pytest.raises(OutputError, match="for this run alone, got process"), claimed([place], "two"):
            pytest.fail("it is taken")
        with claimed([place], "one"):  # the same run, after its worker was lost
            pass
    places.write(beside(place, ".claim"), json.dumps({"run": "dead", "until": 1.0}).encode())
    with claimed([place], "two"):
        assert json.loads(places.read(beside(place, ".claim")) or b"")["run"] == "two"
    assert places.read(beside(place, ".claim")) is None


def test_files_are_fetched_below_a_folder_that_keeps_its_name(tmp_path: Path, bucket: str) -> None:
    (there,) = put(takes(tmp_path / "in", 1), f"{bucket}/vocals")
    assert fetch(there, tmp_path / "copy").relative_to(tmp_path) == Path("copy/vocals/take0.wav")


def test_a_scheme_that_nothing_opens_is_one_clear_line() -> None:
    with pytest.raises(OptionError, match="for example s3fs"):
        places.exists("nosuchthing://a/b.wav")


@pytest.mark.parametrize(("scheme", "package"), [("s3", "s3fs"), ("gs", "gcsfs")])
def test_a_client_that_is_not_installed_is_named_in_one_line(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], scheme: str, package: str
) -> None:
    assert known_implementations[scheme]["class"].startswith(f"{package}.")
    monkeypatch.delitem(_registry, scheme, raising=False)  # which remembers what was imported before
    monkeypatch.setitem(sys.modules, package, None)
    with pytest.raises(SystemExit) as exit_:
        main(["enhance", f"{scheme}://bucket/vocals.wav", "--auto-detect"])
    out, err = capsys.readouterr()
    assert (exit_.value.code, out, err.count("\n")) == (2, "", 1)
    assert re.search(rf"[Ii]nstall {package}\b", err)
    assert f"'{scheme}://bucket/vocals.wav'" in err
