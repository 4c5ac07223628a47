"""Many machines: Ray Data streams jobs through a pool of actors, each of which holds the models.

Ray starts a lost actor anew and repeats what it had not handed back; states beside the outputs make that harmless: what
was finished is not done again (:mod:`stemprover.batch.state`). Jobs and outcomes travel as lines of JSON, audio does
not travel: every worker reads and writes it where it is.
"""

from __future__ import annotations

import contextlib
import logging
import os
import socket
from collections.abc import Iterator, Sequence
from typing import Any

from stemprover.batch.allocator import settled_environment
from stemprover.batch.engines import Bars, Engine, prepared
from stemprover.batch.fingerprint import weights_fingerprint
from stemprover.batch.jobs import Job, Source
from stemprover.batch.leftovers import cleared_up
from stemprover.batch.orders import Order
from stemprover.batch.outcomes import Outcome
from stemprover.batch.work import attempt
from stemprover.errors import ModelError, OptionError, StemProverError
from stemprover.progress import Silent

__all__ = ["Worker", "run_on_cluster"]

_STORE_BYTES = 256 * 2**20
"""Shared memory of a cluster that is started here: only lines of text go through it."""
_ANSWER_S = 10.0
_HTTP2_GREETING = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + bytes((0, 0, 0, 4, 0, 0, 0, 0, 0))


class Worker:
    """One actor: loads the models once and does one job after the other.

    Parameters
    ----------
    order : Order
        What to do.
    threads : int
        CPU threads of the networks.

    Raises
    ------
    ModelError
        If this machine has other weights, plugins or another version than the one that gave the order.
    """

    def __init__(self, order: Order, threads: int) -> None:
        import torch

        torch.set_num_threads(threads)
        self._order = order
        self._enhancer = order.new_enhancer(order.device)
        if order.weights and weights_fingerprint(self._enhancer, order.settings) != order.weights:
            fix = "install the same versions of stemprover and its plugins on every machine"
            raise ModelError("the weights and plugins of the machine that started the run", f"others on {_host()}", fix)

    def __call__(self, row: dict[str, Any]) -> dict[str, Any]:
        """Do one job."""
        job = Job.from_json(row["job"])
        outcome = attempt(job, self._order, lambda: contextlib.nullcontext(self._enhancer), Silent())
        return {"outcome": outcome.to_json()}


def run_on_cluster(jobs: Sequence[Job], order: Order, engine: Engine, bars: Bars) -> Iterator[Outcome]:
    """Do all jobs on a Ray cluster; yields outcomes as they come.

    Workers have working folders of their own, so that every local path is made absolute before it is sent.

    Raises
    ------
    OptionError
        If Ray is not installed or the cluster cannot be reached.
    """
    ray = _import_ray()
    order = order.everywhere()
    order = prepared(order, order.new_enhancer("cpu"))  # what starts a run need not have what the workers have
    threads = engine.threads or 1
    over: set[Source] = set()
    with cleared_up(jobs, over, order.run), _connected(ray, engine):
        workers = engine.workers or _room(ray.cluster_resources(), threads, engine.gpus_per_worker)
        context = ray.data.DataContext.get_current()
        context.enable_progress_bars = False
        # One row per block: a lost worker repeats one job, and no worker waits with a full block while others idle.
        rows = ray.data.from_items([{"job": job.everywhere().to_json()} for job in jobs], override_num_blocks=len(jobs))
        done = rows.map(
            Worker,
            fn_constructor_args=(order, threads),
            compute=ray.data.ActorPoolStrategy(size=min(workers, len(jobs))),
            num_cpus=threads,
            num_gpus=engine.gpus_per_worker or None,
            runtime_env={"env_vars": settled_environment()},
        )
        try:
            for row in done.iter_rows():
                outcome = Outcome.from_json(row["outcome"])
                over.add(outcome.source)
                with bars.job(outcome.source.place):
                    yield outcome
        except ray.exceptions.RayError as error:
            raise _reason(error) from error


def _import_ray() -> Any:
    try:
        import ray
        import ray.data
    except ImportError as error:
        raise OptionError("Ray for --engine ray", str(error), "pip install 'stemprover[ray]'") from error
    return ray


def _reason(error: BaseException) -> StemProverError:
    """What ended the run: an error of ours somewhere below Ray's, or the last line of what Ray says."""
    below: BaseException | None = error
    while below is not None:
        if isinstance(below, StemProverError):
            return below
        below = below.__cause__ or getattr(below, "cause", None)
    line = str(error).strip().splitlines()[-1]
    return ModelError("workers that start", line, "try one input with --engine local on such a machine")


@contextlib.contextmanager
def _connected(ray: Any, engine: Engine) -> Iterator[None]:
    """Join a cluster, or start one here; one that the program is in already is used and left as it is."""
    if ray.is_initialized():
        yield
        return
    quiet = {"log_to_driver": False, "logging_level": logging.ERROR, "include_dashboard": None}
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    try:
        _require_server(engine.address or "")
        if engine.address is None:
            # Else Ray would look for a cluster that somebody started on this machine, and refuse the size of the store.
            ray.init(address="local", object_store_memory=_STORE_BYTES, **quiet)
        else:
            ray.init(address=engine.address, **quiet)
    except (OSError, RuntimeError, ValueError) as error:
        fix = "check --address; 'ray status' on a machine of the cluster says how it is"
        raise OptionError(f"a Ray cluster at {engine.address or 'this machine'}", str(error)[:300], fix) from error
    logging.getLogger("ray").setLevel(logging.ERROR)
    for handler in logging.getLogger("ray.data").handlers:
        if handler.name == "console":  # the other one writes Ray's own log file
            handler.setLevel(logging.ERROR)
    try:
        yield
    finally:
        ray.shutdown()


def _require_server(address: str) -> None:
    """Raise ``OSError`` if no gRPC server answers at an address with a port: Ray itself would ask again for minutes.

    Such a server greets back at once (RFC 9113, section 3.4); Ray's dashboard and other web servers do not.
    """
    host, _, port = address.rpartition("://")[2].rpartition(":")
    if not host or not port.isdigit():
        return
    with socket.create_connection((host.strip("[]"), int(port)), timeout=_ANSWER_S) as link:
        if os.environ.get("RAY_USE_TLS", "0").lower() in ("1", "true"):
            return  # it says nothing before the handshake
        link.sendall(_HTTP2_GREETING)
        if link.makefile("rb").read(4)[3:] != b"\x04":
            raise ConnectionError("another kind of server there")


def _room(resources: dict[str, float], threads: int, gpus: float) -> int:
    """How many workers fit into a cluster."""
    room = resources.get("CPU", 1.0) // threads
    if gpus:
        room = min(room, resources.get("GPU", 0.0) // gpus)
    if room < 1:
        got = ", ".join(f"{name} {resources[name]:g}" for name in ("CPU", "GPU") if name in resources)
        raise OptionError(
            f"{threads} CPU(s) and {gpus:g} GPU for a worker", got or "none", "add machines, or ask for less"
        )
    return int(room)


def _host() -> str:
    import platform

    return platform.node()
