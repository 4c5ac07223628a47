"""Several inputs in one run: one after the other, or in worker threads that each hold their own models."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Generic, TypeVar

from stemprover.errors import AudioError, OutputError, StemSetError

__all__ = ["InputFailure", "PerThread", "run_jobs"]

InputFailure = AudioError | StemSetError | OutputError
"""What can be wrong with one input; any other error would meet every input and ends the run."""

JobT = TypeVar("JobT")
ResultT = TypeVar("ResultT")


class PerThread(Generic[ResultT]):
    """One value per thread, made when the thread first asks: models hold state that threads must not share."""

    def __init__(self, make: Callable[[], ResultT]) -> None:
        self._make = make
        self._local = threading.local()

    def get(self) -> ResultT:
        """Return this thread's value."""
        if not hasattr(self._local, "value"):
            self._local.value = self._make()
        value: ResultT = self._local.value
        return value


def run_jobs(
    jobs: Sequence[JobT], work: Callable[[JobT], ResultT], workers: int, cancelled: threading.Event
) -> Iterator[tuple[JobT, ResultT | InputFailure]]:
    """Run every job and yield results in the order of the jobs; an input that fails does not stop the others.

    Parameters
    ----------
    jobs : sequence
        What to do.
    work : callable
        Does one job. With several workers it is called from several threads and must notice ``cancelled``.
    workers : int
        How many jobs run at a time; 1 stays in this thread.
    cancelled : Event
        Set when this thread is interrupted; the interruption goes on once every worker has stopped and cleaned up.
    """
    if workers == 1 or len(jobs) < 2:
        for job in jobs:
            yield job, _attempt(work, job)
        return
    _share_cores(workers)
    with ThreadPoolExecutor(min(workers, len(jobs)), thread_name_prefix="stemprover") as pool:
        futures = [pool.submit(_attempt, work, job) for job in jobs]
        try:
            for job, future in zip(jobs, futures, strict=True):
                yield job, future.result()
        except BaseException:
            cancelled.set()
            pool.shutdown(wait=True, cancel_futures=True)
            raise


def _attempt(work: Callable[[JobT], ResultT], job: JobT) -> ResultT | InputFailure:
    try:
        return work(job)
    except (AudioError, StemSetError, OutputError) as error:
        return error


def _share_cores(workers: int) -> None:
    """Give every worker its share of the cores; more threads than cores only get in each other's way."""
    import torch

    torch.set_num_threads(max(1, torch.get_num_threads() // workers))
