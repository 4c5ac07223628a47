"""One job from claim to finished files: what every engine does with it, hence the same everywhere."""

from __future__ import annotations

import contextlib
import dataclasses
import time
from collections.abc import Callable

from stemprover.batch import places
from stemprover.batch.claims import claimed
from stemprover.batch.jobs import Job
from stemprover.batch.orders import Order
from stemprover.batch.outcomes import Outcome, StemResult
from stemprover.batch.records import Record
from stemprover.batch.reports import write_reports
from stemprover.batch.staging import LocalFiles
from stemprover.enhance import Enhanced, Enhancer
from stemprover.errors import AudioError
from stemprover.progress import Progress
from stemprover.stems import StemSet

__all__ = ["Borrow", "attempt", "process"]

Borrow = Callable[[], contextlib.AbstractContextManager[Enhancer]]
"""Hands out an enhancer for as long as models are needed."""


def attempt(job: Job, order: Order, borrow: Borrow, progress: Progress) -> Outcome:
    """Do one job of many: whatever is wrong with it becomes its outcome, and the others go on."""
    begin = time.perf_counter()
    try:
        return process(job, order, borrow, progress)
    except Exception as error:
        return Outcome.of_error(job.source, error, time.perf_counter() - begin)


def process(job: Job, order: Order, borrow: Borrow, progress: Progress) -> Outcome:
    """Repair the stems of one job.

    Raises
    ------
    StemProverError
        Whatever is wrong; nothing is left half-written.
    """
    begin = time.perf_counter()
    for place in job.inputs:
        if not places.is_remote(place) and not places.exists(place):
            raise AudioError("an audio file or a folder of stems", f"nothing at '{place}'", "check the path")
    with contextlib.ExitStack() as stack:
        local = LocalFiles(stack)
        if order.plan_only:
            results = _repair(job, order, local, borrow, progress, overwrite=False)
            return Outcome(job.source, "done", results, seconds=time.perf_counter() - begin)
        stack.enter_context(claimed([target.audio for target in job.targets], order.run))
        record = Record(job, order.keeping, order.terms(job) if order.record else {}, local)
        if record.is_done:
            seconds = time.perf_counter() - begin
            return Outcome(job.source, "done" if record.is_repeated else "resumed", seconds=seconds)
        with record.kept_if_nothing_happens():
            overwrite = record.begin()
            results = _repair(job, order, local, borrow, progress, overwrite)
            local.deliver(overwrite)
        if not any(result.summary["faults"] for result in results):  # else a later run may do better
            record.finish(local.outputs)
    return Outcome(job.source, "done", results, seconds=time.perf_counter() - begin)


def _repair(
    job: Job, order: Order, local: LocalFiles, borrow: Borrow, progress: Progress, overwrite: bool
) -> tuple[StemResult, ...]:
    stems = [local.input(place) for place in job.stems]
    mixture = None if job.mixture is None else local.input(job.mixture)
    outputs = [local.output(target.audio) for target in job.targets]
    with StemSet.open(stems, mixture=mixture, stem_class=job.stem_class, align=order.align) as opened:
        with borrow() as enhancer:
            repaired = enhancer.enhance_set(
                opened,
                order.settings,
                outputs=None if order.plan_only else outputs,
                overwrite=overwrite,
                progress=progress,
                plan_only=order.plan_only,
            )
        return tuple(_result(one, job, index, order, local) for index, one in enumerate(repaired))


def _result(one: Enhanced, job: Job, index: int, order: Order, local: LocalFiles) -> StemResult:
    target = job.targets[index]
    summary = {**one.to_dict(), "input": job.stems[index]}
    if not order.plan_only:
        summary["output"] = target.audio
    reports = {kind: local.output(place) for kind, place in target.reports.items()}
    metrics = write_reports(one, reports, order.reference, summary)
    return StemResult(summary, [dataclasses.asdict(item) for item in one.plan.items], target, metrics)
