"""One run over all inputs, for ``enhance`` and ``detect``: prints what became of each, and a summary."""

from __future__ import annotations

import contextlib
import dataclasses
import sys
import time
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

import click

from stemprover.batch import places
from stemprover.batch.engines import Engine, run_all
from stemprover.batch.orders import Order
from stemprover.batch.outcomes import Outcome, StemResult, write_failures
from stemprover.batch.planning import Plan, Selection, plan_jobs
from stemprover.cli.exits import exit_code, print_error
from stemprover.cli.progress import ProgressDisplay
from stemprover.cli.summary import Tally

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
    bars, summary : bool
        Whether to draw progress bars, and to print a summary of several inputs.
    """

    selection: Selection
    order: Order
    show: ShowStep
    engine: Engine = dataclasses.field(default_factory=Engine)
    failures: str | None = None
    bars: bool = False
    summary: bool = False

    def over(self, inputs: Sequence[str]) -> int:
        """Run over all inputs; returns the exit code: 0, 1 if some of several failed, 2 if the only one did."""
        begin = time.perf_counter()
        writes = not self.order.plan_only
        overwrite = self.order.overwrite if writes else None
        plan = plan_jobs(inputs, self.selection, overwrite, self.order.resume)
        record = writes and (plan.is_batch or self.order.resume or self.engine.name == "ray")
        order = dataclasses.replace(self.order, record=record)
        tally = Tally()
        ours = sys.stdout
        with contextlib.redirect_stdout(sys.stderr):  # whatever plugins and clusters print is no result
            for outcome in self._outcomes(plan, order):
                tally.add(outcome)
                if outcome.error:
                    print_error(outcome.error)
                with contextlib.redirect_stdout(ours):
                    for result in outcome.results:
                        self.show(result, plan.is_batch)
        if plan.is_batch and writes:
            self._list_failures(plan, tally)
        if plan.is_batch and self.summary:
            tally.print(time.perf_counter() - begin)
        return exit_code(len(tally.failed), plan.is_batch)

    def _outcomes(self, plan: Plan, order: Order) -> Iterable[Outcome]:
        yield from map(Outcome.of_failure, plan.failures)
        if plan.jobs:
            with ProgressDisplay(self.bars, len(plan.jobs)) as display:
                yield from run_all(plan.jobs, order, self.engine, display, alone=not plan.is_batch)

    def _list_failures(self, plan: Plan, tally: Tally) -> None:
        place = self.failures or places.join(self._home(plan), "failures.csv")
        if write_failures(place, tally.failed):
            click.echo(f"stemprover: {len(tally.failed)} failed, listed in {place}; --manifest reads it", err=True)

    def _home(self, plan: Plan) -> str:
        """The folder of the results, of the manifest, or of all inputs."""
        output, manifest = self.selection.output, self.selection.manifest
        if output is not None and "{" not in output and not Path(output).suffix:
            return places.normalised(output)
        if manifest is not None:
            return places.parent_of(places.normalised(manifest))
        return places.common_folder([job.source.place for job in plan.jobs] or ["."])
