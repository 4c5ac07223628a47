"""Many jobs on one machine: threads that share a few enhancers.

There is one thread more than enhancers: while models compute, it fetches, hashes and opens the next input, and writes
the reports of the last. Models hold state that threads must not share, so that an enhancer has one borrower at a time.
"""

from __future__ import annotations

import collections
import contextlib
import itertools
import queue
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Generic, TypeVar

__all__ = ["Lent", "run_in_order", "run_jobs", "shared_cores"]

_AHEAD = 16
"""Jobs per worker that may be finished before the first of them is: results in order, memory bounded."""

JobT = TypeVar("JobT")
ResultT = TypeVar("ResultT")


class Lent(Generic[ResultT]):
    """A few objects that threads borrow one at a time; each is made when it is first needed.

    Parameters
    ----------
    make : callable
        Makes one.
    count : int
        How many there may be.
    first : object, optional
        One that is there already.
    """

    def __init__(self, make: Callable[[], ResultT], count: int, first: ResultT | None = None) -> None:
        self._make = make
        self._free: queue.LifoQueue[ResultT | None] = queue.LifoQueue()
        for _ in range(count - 1):
            self._free.put(None)
        self._free.put(first)

    @contextlib.contextmanager
    def borrow(self) -> Iterator[ResultT]:
        """Hand out one; waits until one is free."""
        held = self._free.get()
        try:
            if held is None:
                held = self._make()
            yield held
        finally:
            self._free.put(held)


def run_jobs(
    jobs: Sequence[JobT], work: Callable[[JobT], ResultT], threads: int, cancelled: threading.Event
) -> Iterator[tuple[JobT, ResultT | Exception]]:
    """Do every job and yield each with its result, or with what went wrong with it; see :func:`run_in_order`."""

    def attempt(job: JobT) -> ResultT | Exception:
        try:
            return work(job)
        except Exception as error:  # whatever it is, the others go on
            return error

    yield from zip(jobs, run_in_order(jobs, attempt, threads, cancelled), strict=True)


def run_in_order(
    jobs: Sequence[JobT], work: Callable[[JobT], ResultT], threads: int, cancelled: threading.Event
) -> Iterator[ResultT]:
    """Do every job and yield results in the order of the jobs; an error of ``work`` ends the run.

    Parameters
    ----------
    jobs : sequence
        What to do.
    work : callable
        Does one job. With several threads it must notice ``cancelled``.
    threads : int
        How many jobs are worked on at a time; 1 stays in this thread.
    cancelled : Event
        Set when this thread is interrupted; the interruption goes on once every thread has stopped and cleaned up.
    """
    if threads == 1 or len(jobs) < 2:
        yield from map(work, jobs)
        return
    waiting: collections.deque[Future[ResultT]] = collections.deque()
    coming = iter(jobs)
    with ThreadPoolExecutor(min(threads, len(jobs)), thread_name_prefix="stemprover") as pool:
        try:
            while True:
                wanted = threads * _AHEAD - len(waiting)
                waiting.extend(pool.submit(work, job) for job in itertools.islice(coming, wanted))
                if not waiting:
                    return
                yield waiting.popleft().result()
        except BaseException:
            cancelled.set()
            pool.shutdown(wait=True, cancel_futures=True)
            raise


@contextlib.contextmanager
def shared_cores(workers: int, threads: int | None = None) -> Iterator[None]:
    """Give every worker so many threads, else its share of the cores; more threads than cores are in each other's way.

    The number of threads may change the last bit of a float, hence results are the same bit for bit only if it is.
    Afterwards it is what it was: it belongs to the whole process, which may do other things.
    """
    import torch

    before = torch.get_num_threads()
    torch.set_num_threads(threads or max(1, before // workers))
    try:
        yield
    finally:
        torch.set_num_threads(before)
