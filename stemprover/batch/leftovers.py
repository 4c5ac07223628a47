"""What killed workers leave behind: files half-written, and claims in stores of objects, which no system gives back."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Collection, Iterator, Sequence

from stemprover.batch import places
from stemprover.batch.claims import beside, claimed, holds, release
from stemprover.batch.jobs import Job, Source
from stemprover.batch.state import clear_parts
from stemprover.errors import OutputError

__all__ = ["cleared_up"]

_END_S = 5.0  # within which workers end after the run that they belong to
_GAP = 64
"""Jobs are handed out in order: after so many that nobody has claimed, none is left that was begun.

To look at all of a million objects would take hours.
"""


@contextlib.contextmanager
def cleared_up(jobs: Sequence[Job], over: Collection[Source], run: str) -> Iterator[None]:
    """Clean up after workers when the run ends early: they are killed then, and cannot do so themselves.

    Parameters
    ----------
    jobs : sequence of Job
        In the order in which they are handed out.
    over : collection of Source
        Which of them are done or failed, as it is when the run ends.
    run : str
        Identity of the run. What another one has claimed is left alone.
    """
    try:
        yield
    except BaseException:
        deadline = time.monotonic() + _END_S
        for job in jobs:
            _clear(job, run, deadline)
        held = list(_held([job for job in jobs if job.source not in over], run))
        if held:
            time.sleep(max(0.0, deadline - time.monotonic()))  # whether the holder lives cannot be asked
        for place in held:
            release(place, run)
        raise


def _clear(job: Job, run: str, deadline: float) -> None:
    """Remove half-written files of a job that was begun."""
    outputs = [target.audio for target in job.targets if not places.is_remote(target.audio)]
    while any(places.exists(beside(place, ".lock")) for place in outputs):  # only a killed worker leaves one
        try:
            with claimed(outputs, run):
                clear_parts(job)
            return
        except OutputError:
            if time.monotonic() > deadline:
                return
            time.sleep(0.1)


def _held(jobs: Sequence[Job], run: str) -> Iterator[str]:
    """Outputs elsewhere that workers of this run have claimed."""
    free = 0
    for job in jobs:
        outputs = [target.audio for target in job.targets if places.is_remote(target.audio)]
        held = [place for place in outputs if holds(place, run)]
        yield from held
        free = 0 if held or not outputs else free + 1
        if free > _GAP:
            return
