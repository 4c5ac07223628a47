"""One run of the enhancer over all inputs, for ``enhance`` and ``detect``."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from stemprover.batch.jobs import Job, Selection, Target, plan_jobs
from stemprover.batch.local import InputFailure, PerThread, run_jobs
from stemprover.cli.exits import EXIT_BAD_INPUT, print_error
from stemprover.cli.progress import FileProgress, ProgressDisplay
from stemprover.enhance import Enhanced, Enhancer, Settings
from stemprover.stems import StemSet

__all__ = ["FinishStep", "Run", "ShowStep"]

Metrics = Mapping[str, Mapping[str, Any]]
FinishStep = Callable[[Enhanced, Target], Metrics]
ShowStep = Callable[[Enhanced, Target, Metrics], None]


@dataclasses.dataclass(frozen=True)
class Run:
    """What to do with every input, and how.

    Attributes
    ----------
    selection : Selection
        What is read and where results go.
    settings : Settings
        How stems are repaired.
    new_enhancer : callable
        Loads the models; called once per worker.
    show : callable
        Called for each stem, with what ``finish`` gave, in the order of the inputs: prints.
    finish : callable or None
        Called for each stem as soon as it is done, its files still open: writes reports, measures.
    plan_only : bool
        Find and plan, write no audio.
    overwrite : bool
        Whether files may be replaced.
    workers : int
        Inputs to work on at a time.
    bars : bool
        Whether to draw progress bars.
    """

    selection: Selection
    settings: Settings
    new_enhancer: Callable[[], Enhancer]
    show: ShowStep
    finish: FinishStep | None = None
    plan_only: bool = False
    overwrite: bool = False
    workers: int = 1
    bars: bool = False

    def over(self, inputs: Sequence[str]) -> int:
        """Run over all inputs; returns the exit code: 0, or 2 when one could not be used."""
        jobs, failures = plan_jobs(inputs, self.selection, None if self.plan_only else self.overwrite)
        for failure in failures:
            print_error(failure.error)
        if not jobs:
            return EXIT_BAD_INPUT
        enhancers = PerThread(self.new_enhancer)
        failed = bool(failures)
        with ProgressDisplay(self.bars, len(jobs)) as display:

            def work(job: Job) -> list[tuple[Enhanced, Metrics]]:
                return self._one(job, enhancers.get(), display)

            for job, results in run_jobs(jobs, work, self.workers, display.cancelled):
                if isinstance(results, InputFailure):
                    failed = True
                    print_error(results)
                    continue
                for (enhanced, metrics), target in zip(results, job.targets, strict=True):
                    self.show(enhanced, target, metrics)
        return EXIT_BAD_INPUT if failed else 0

    def _one(self, job: Job, enhancer: Enhancer, display: ProgressDisplay) -> list[tuple[Enhanced, Metrics]]:
        progress = display.file(job.source.name)
        try:
            with self.selection.open(job.source) as stems:
                results = self._enhance(job, enhancer, stems, progress)
                return [
                    (enhanced, self.finish(enhanced, target) if self.finish else {})
                    for enhanced, target in zip(results, job.targets, strict=True)
                ]
        finally:
            display.file_done(progress)

    def _enhance(self, job: Job, enhancer: Enhancer, stems: StemSet, progress: FileProgress) -> tuple[Enhanced, ...]:
        outputs = None if self.plan_only else tuple(target.audio for target in job.targets)
        return enhancer.enhance_set(
            stems,
            self.settings,
            outputs=outputs,
            overwrite=self.overwrite,
            progress=progress,
            plan_only=self.plan_only,
        )
