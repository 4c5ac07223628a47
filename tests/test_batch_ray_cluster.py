"""A Ray cluster that is there already: joined by its address, with shares of a GPU, and files on S3 and GS servers.

No GPU is needed: Ray hands out what a machine says that it has, and networks compute on the CPU.
"""

from __future__ import annotations

import json
import os
import socket
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import fsspec
import pytest
from batches import TinyLoader, batch, digests, takes
from gs_server import gs_server
from tiny_base import tiny_base as tiny_base

from stemprover.batch import cluster as cluster_module
from stemprover.batch import places
from stemprover.batch.engines import Engine
from stemprover.batch.transfer import deliver
from stemprover.enhance import Enhancer
from stemprover.errors import ModelError, OptionError

ray = pytest.importorskip("ray", reason="needs Ray: make test-ray")
moto_server = pytest.importorskip("moto.server", reason="needs moto: make test-ray")
pytestmark = pytest.mark.filterwarnings("ignore")


@pytest.fixture(name="address", scope="module")
def cluster() -> Iterator[str]:
    """Address of a cluster of three cores and one GPU, whose workers find the tests' modules, the S3 and the GS server.

    Workers are processes of their own, which inherit the addresses of the servers when the cluster is started.
    """
    from ray.cluster_utils import Cluster

    server = moto_server.ThreadedMotoServer("127.0.0.1", 0)
    server.start()
    host, port = server.get_host_and_port()
    tests = Path(__file__).parent
    with pytest.MonkeyPatch.context() as patch, gs_server("bucket"):
        patch.setenv("PYTHONPATH", os.pathsep.join([str(tests), str(tests.parent)]))
        patch.setenv("RAY_USAGE_STATS_ENABLED", "0")
        for name, value in {"ACCESS_KEY_ID": "a", "SECRET_ACCESS_KEY": "b", "REGION": "us-east-1"}.items():
            patch.setenv(f"AWS_{name}", value)
        patch.setenv("AWS_ENDPOINT_URL", f"http://{host}:{port}")
        machine = {"num_cpus": 3, "num_gpus": 1, "object_store_memory": 80 * 2**20, "include_dashboard": False}
        made = Cluster(initialize_head=True, head_node_args=machine)
        try:
            yield made.address
        finally:
            made.shutdown()
            fsspec.filesystem("s3").clear_instance_cache()
            server.stop()


class Noting(TinyLoader):
    """Notes what Ray gave to each worker that loads models, and waits for a second one."""

    def __init__(self, base: Path) -> None:
        super().__init__(base)
        self.notes, self.home = base.parent / "notes", os.getpid()

    def __call__(self, device: str) -> Enhancer:
        if os.getpid() != self.home:
            self.notes.mkdir(exist_ok=True)
            given = ray.get_runtime_context().get_assigned_resources()
            (self.notes / f"{os.getpid()}.json").write_text(json.dumps(given))
            for _ in range(1200):
                if len(list(self.notes.iterdir())) > 1:
                    return super().__call__(device)
                time.sleep(0.05)
            raise ModelError("two workers at once", "one", "look at the share of the GPU")
        return super().__call__(device)


class Placed(TinyLoader):
    """Notes the address of the cluster that a worker is in."""

    def __call__(self, device: str) -> Enhancer:
        if ray.is_initialized():
            (self.base.parent / "joined").write_text(ray.get_runtime_context().gcs_address)
        return super().__call__(device)


def test_workers_share_a_gpu_of_a_cluster_that_was_there(
    base: Path, tmp_path: Path, address: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    inputs = takes(tmp_path / "in", 4)
    batch(base, inputs, tmp_path / "here")
    monkeypatch.setattr("batches.TinyLoader", Noting)
    engine = Engine("ray", threads=1, address=address, gpus_per_worker=0.5)
    assert {one.status for one in batch(base, inputs, tmp_path / "there", engine)} == {"done"}
    assert not ray.is_initialized(), "the run left the cluster again"
    given = [json.loads(path.read_text()) for path in (base.parent / "notes").glob("*.json")]
    assert [(one["CPU"], one["GPU"]) for one in given] == [(1.0, 0.5)] * 2, "three cores, but one GPU for two"
    assert audio(tmp_path / "there") == audio(tmp_path / "here")
    with pytest.raises(OptionError, match="2 GPU for a worker, got CPU 3, GPU 1"):
        batch(base, inputs, tmp_path / "more", Engine("ray", address=address, gpus_per_worker=2.0))
    ray.init(address=address, log_to_driver=False)
    assert [node["Alive"] for node in ray.nodes()] == [True], "it belongs to others"
    ray.shutdown()


def audio(folder: Path) -> dict[str, bytes]:
    return {name: content for name, content in digests(folder).items() if name.endswith(".wav")}


@pytest.mark.parametrize("scheme", ["s3", "gs"])
def test_workers_read_and_write_a_store_of_objects(base: Path, tmp_path: Path, address: str, scheme: str) -> None:
    inputs = takes(tmp_path / "in", 3)
    batch(base, inputs, tmp_path / "here")
    fsspec.filesystem(scheme, skip_instance_cache=True).makedirs("bucket", exist_ok=True)
    there = [f"{scheme}://bucket/in/{path.name}" for path in inputs]
    for path, place in zip(inputs, there, strict=True):
        deliver(path, place, overwrite=False)
    engine = Engine("ray", workers=2, threads=1, address=address)
    outcomes = batch(base, [*there, f"{scheme}://bucket/in/none.wav"], f"{scheme}://bucket/clean", engine)
    found = {places.name_of(one.source.place): one.status for one in outcomes}
    assert found == {**{path.name: "done" for path in inputs}, "none.wav": "failed"}
    for name, content in audio(tmp_path / "here").items():
        assert places.read(f"{scheme}://bucket/clean/{name}") == content
    states = places.file_names(f"{scheme}://bucket/clean/.stemprover")
    assert states == [f"{path.name}.json" for path in inputs], "no claim is left"
    again = batch(base, there, f"{scheme}://bucket/clean", engine, resume=True)
    assert {one.status for one in again} == {"resumed"}


def test_without_an_address_it_is_a_cluster_of_its_own_beside_others(
    base: Path, tmp_path: Path, address: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Ray itself would join one that it is pointed to, or that was started on this machine."""
    monkeypatch.setenv("RAY_ADDRESS", address)
    monkeypatch.setattr("batches.TinyLoader", Placed)
    (outcome,) = batch(base, takes(tmp_path / "in", 1), tmp_path / "clean", Engine("ray", workers=1, threads=1))
    assert (outcome.status, outcome.error) == ("done", "")
    joined = (base.parent / "joined").read_text()
    assert joined
    assert joined != address


def test_where_no_cluster_is_it_is_one_line(base: Path, tmp_path: Path) -> None:
    with pytest.raises(OptionError, match=r"a Ray cluster at 127\.0\.0\.1:9") as caught:
        batch(base, takes(tmp_path / "in", 1), tmp_path / "clean", Engine("ray", address="127.0.0.1:9"))
    assert "check --address" in str(caught.value)
    assert "\n" not in str(caught.value)
    assert not (tmp_path / "clean").exists()


@pytest.mark.parametrize("says", [b"HTTP/1.1 400 Bad Request\r\n\r\n", b"", None])
def test_a_server_of_another_kind_is_one_line(
    base: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, says: bytes | None
) -> None:
    """Such as Ray's own dashboard, something that hangs up, and something that says nothing."""
    monkeypatch.setattr(cluster_module, "_ANSWER_S", 1.0)
    with socket.create_server(("127.0.0.1", 0)) as server:
        address = f"127.0.0.1:{server.getsockname()[1]}"

        def answer() -> None:
            link, _ = server.accept()
            with link:
                link.sendall(says or b"")
                while link.recv(64) and says is None:
                    pass

        answering = threading.Thread(target=answer, daemon=True)
        answering.start()
        with pytest.raises(OptionError, match=f"a Ray cluster at {address}") as caught:
            batch(base, takes(tmp_path / "in", 1), tmp_path / "clean", Engine("ray", address=address))
        answering.join(timeout=10)
    assert "\n" not in str(caught.value)
    assert not ray.is_initialized()
    assert not (tmp_path / "clean").exists()
