"""One run over all inputs, for ``enhance`` and ``detect``: prints what became of each, and a summary."""

from __future__ import annotations

import contextlib
import dataclasses
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Sequence

from stemprover.batch import places
from stemprover.batch.beside import folders_passed_by
from stemprover.batch.engines import Engine, run_all
from stemprover.batch.jobs import Job
from stemprover.batch.naming import Naming, names_file
from stemprover.batch.orders import Order
from stemprover.batch.outcomes import Outcome, StemResult
from stemprover.batch.planning import Plan, Selection, plan_jobs
from stemprover.cli.exits import exit_code, print_error, print_left_out, print_note, print_passed_by
from stemprover.cli.failures import list_failures
from stemprover.cli.progress import ProgressDisplay
from stemprover.cli.summary import Tally
from stemprover.errors import StemProverError
from stemprover.stems import guess_stem_class

__all__ = ["Run", "ShowStep"]

ShowStep = Callable[[StemResult, bool], None]


@dataclasses.dataclass(frozen=True)
class Run:
    """What to do with every input, and how.

    Attributes
    ----------
    selection : Selection
        What is read and where results go.
    order : Order
        What is done with each.
    show : callable
        Prints one finished stem; is told whether it is one of many.
    engine : Engine
        Where it is done.
    failures : str or None
        Where inputs that failed are listed; by default with the results.
    bars, summary, notes : bool
        Whether to draw progress bars, to print a summary of several inputs, and to say how files were understood.
    """

    selection: Selection
    order: Order
    show: ShowStep
    engine: Engine = dataclasses.field(default_factory=Engine)
    failures: str | None = None
    bars: bool = False
    summary: bool = False
    notes: bool = True

    def over(self, inputs: Sequence[str]) -> int:
        """Run over all inputs; returns the exit code: 0, 1 if some of several failed, 2 if the only one did."""
        begin = time.perf_counter()
        writes = not self.order.plan_only
        overwrite = self.order.overwrite if writes else None
        plan = plan_jobs(inputs, self.selection, overwrite, self.order.resume)
        record = writes and (plan.is_batch or self.order.resume or self.engine.name == "ray")
        order = dataclasses.replace(self.order, record=record)
        if self.notes:
            self._print_notes(plan)
        tally = Tally()
        ours = sys.stdout
        with (
            self._failures_listed(plan, tally),
            contextlib.redirect_stdout(sys.stderr),  # whatever plugins and clusters print is no result
        ):
            for outcome in self._outcomes(plan, order):
                tally.add(outcome)
                if outcome.error:
                    print_error(outcome.error)
                with contextlib.redirect_stdout(ours):
                    for result in outcome.results:
                        self.show(result, plan.is_batch)
        if plan.is_batch and self.summary:
            tally.print(time.perf_counter() - begin)
        return exit_code(len(tally.failed), plan.is_batch)

    def _print_notes(self, plan: Plan) -> None:
        """Say how the files of each set were understood, where that is not what everybody would think."""
        seen: set[str] = set()
        for job in plan.jobs:
            is_new = job.source.place not in seen  # several songs in one folder are a job each
            seen.add(job.source.place)
            if is_new:
                print_left_out(job.source.place, job.left_out)
            found = job.mixture is not None and job.mixture not in (self.selection.mixture, job.source.mixture)
            if found and (self.order.plan_only or not plan.is_batch):
                print_note(f"{job.source.place} with the mixture '{places.name_of(job.mixture or '')}'")
        sources = [*(job.source for job in plan.jobs), *(failure.source for failure in plan.failures)]
        # Where every name is a stem's nobody expects more; a loose file hides songs.
        loose = [job.source.place for job in plan.jobs if job.stems != (job.source.place,) and _has_odd_names(job)]
        targets = (target.audio for job in plan.jobs for target in job.targets)
        beside = folders_passed_by(loose, [*(source.place for source in sources), *targets])
        print_passed_by(beside, "a folder with audio in it is one set")

    def _outcomes(self, plan: Plan, order: Order) -> Iterable[Outcome]:
        yield from map(Outcome.of_failure, plan.failures)
        if plan.jobs:
            with ProgressDisplay(self.bars, len(plan.jobs)) as display:
                yield from run_all(plan.jobs, order, self.engine, display, alone=not plan.is_batch)

    @contextlib.contextmanager
    def _failures_listed(self, plan: Plan, tally: Tally) -> Iterator[None]:
        """List what failed in a batch, also when it is interrupted."""
        if not plan.is_batch or self.order.plan_only:
            yield
            return
        place = self.failures or places.join(self._home(plan), "failures.csv")
        try:
            yield
        except BaseException:
            # Nobody knows what would have become of the rest, so that lists of earlier runs are still needed.
            if tally.failed and not places.exists(place):
                self._list(place, plan, tally)
            raise
        self._list(place, plan, tally)

    def _list(self, place: str, plan: Plan, tally: Tally) -> None:
        selection = self.selection
        naming = Naming(selection.output, selection.suffix, selection.report, selection.plot, plan.places)
        failed = []
        for outcome in tally.failed:
            with contextlib.suppress(StemProverError):  # nobody knows whether it is a folder
                outcome = dataclasses.replace(outcome, source=naming.repeated(outcome.source))
            failed.append(outcome)
        list_failures(place, failed, "; --manifest reads it")

    def _home(self, plan: Plan) -> str:
        """The folder of the results, of the manifest, of all inputs, or the working folder if none can be used."""
        output, manifest = self.selection.output, self.selection.manifest
        if output is not None and "{" not in output and not names_file(places.normalised(output)):
            return places.normalised(output)
        if manifest is not None:
            return places.parent_of(places.normalised(manifest))
        return places.common_folder([job.source.place for job in plan.jobs]) if plan.jobs else "."


def _has_odd_names(job: Job) -> bool:
    return any(guess_stem_class(places.name_of(stem)) == "generic" for stem in job.stems)
