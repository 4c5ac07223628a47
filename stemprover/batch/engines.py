"""Where jobs are done: here, or on a cluster."""

from __future__ import annotations

import contextlib
import dataclasses
import secrets
import threading
from collections.abc import Iterator, Sequence
from typing import Literal, Protocol

from stemprover.batch import places
from stemprover.batch.fingerprint import weights_fingerprint
from stemprover.batch.jobs import Job
from stemprover.batch.local import Lent, run_in_order, shared_cores
from stemprover.batch.orders import Order
from stemprover.batch.outcomes import Outcome
from stemprover.batch.work import attempt, process
from stemprover.enhance import Enhancer
from stemprover.plugins import find, verify_files
from stemprover.progress import Progress, Silent
from stemprover.routing import route

__all__ = ["Bars", "Engine", "NoBars", "prepared", "run_all"]


@dataclasses.dataclass(frozen=True, slots=True)
class Engine:
    """Where jobs are done.

    Attributes
    ----------
    name : str
        ``local`` (threads of this process) or ``ray`` (a cluster).
    workers : int or None
        Jobs at a time; None means 1, or all that the cluster has room for.
    threads : int or None
        CPU threads per worker; None means its share of the cores, or 1 on a cluster.
    address : str or None
        Of a Ray cluster; None starts one on this machine.
    gpus_per_worker : float
        Share of a GPU that a worker on a cluster takes.
    """

    name: Literal["local", "ray"] = "local"
    workers: int | None = None
    threads: int | None = None
    address: str | None = None
    gpus_per_worker: float = 0.0


class Bars(Protocol):
    """Shows progress, and carries Ctrl-C to other threads."""

    cancelled: threading.Event

    def job(self, name: str) -> contextlib.AbstractContextManager[Progress]:
        """Show one job's progress until it is over."""
        ...


class NoBars:
    """Shows nothing."""

    def __init__(self) -> None:
        self.cancelled = threading.Event()

    def job(self, name: str) -> contextlib.AbstractContextManager[Progress]:
        """Return a progress that ignores what it is told."""
        del name
        return contextlib.nullcontext(Silent())


def prepared(order: Order, enhancer: Enhancer) -> Order:
    """Check the options and add what all workers must agree on.

    Raises
    ------
    StemProverError
        If no input could be done with these options.
    """
    settings = order.settings
    settings.check()
    route((), enhancer.plugins, stem_class="generic", duration_s=0.0, nyquist_hz=0.0, auto_detect=True,
          adapters=settings.adapters, without=settings.without)  # fmt: skip
    for choice in settings.adapters:
        verify_files(find(choice.name, enhancer.plugins))
    enhancer.models.check_vocoder(settings.vocoder, enhancer.plugins)
    if settings.auto_detect:
        enhancer.load_detectors()
    weights = weights_fingerprint(enhancer, order.settings) if order.record else ""
    return dataclasses.replace(order, weights=weights, run=order.run or secrets.token_hex(8))


def run_all(jobs: Sequence[Job], order: Order, engine: Engine, bars: Bars, *, alone: bool = False) -> Iterator[Outcome]:
    """Do all jobs; yields what became of each, on this machine in their order.

    Parameters
    ----------
    jobs : sequence of Job
    order : Order
    engine : Engine
    bars : Bars
    alone : bool
        There is nothing but this one job: let its error out.

    Raises
    ------
    StemProverError
        If no input could be done with these options, or there is no such cluster.
    """
    if engine.name == "ray":
        from stemprover.batch.cluster import run_on_cluster

        yield from run_on_cluster(jobs, order, engine, bars)
        return
    workers = engine.workers or 1
    with shared_cores(workers, engine.threads):
        enhancer = order.new_enhancer(order.device)
        order = prepared(order, enhancer)
        lent = Lent(lambda: order.new_enhancer(order.device), workers, enhancer)
        do = process if alone else attempt

        def work(job: Job) -> Outcome:
            with bars.job(places.name_of(job.source.place)) as progress:
                return do(job, order, lent.borrow, progress)

        yield from run_in_order(jobs, work, workers + 1, bars.cancelled)
