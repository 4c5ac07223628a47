"""Progress of data and training commands: a bar on a terminal, a line now and then elsewhere."""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Callable, Iterator, Mapping

import click
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

__all__ = ["counter", "figures_log", "stage_log"]


def _bars() -> Progress:
    return Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeRemainingColumn(),
        TextColumn("{task.fields[figures]}"),
        console=Console(stderr=True),
        disable=not sys.stderr.isatty(),
    )


@contextlib.contextmanager
def counter(what: str, total: int) -> Iterator[Callable[[int], None]]:
    """Yield a function that counts what is done."""
    with _bars() as bars:
        task = bars.add_task(what, total=total, figures="")
        yield lambda done: bars.advance(task, done)


@contextlib.contextmanager
def figures_log(what: str, steps: int) -> Iterator[Callable[[Mapping[str, float]], None]]:
    """Yield a training log: the step on the bar, validation figures as lines that stay."""
    with _bars() as bars:
        task = bars.add_task(what, total=steps, figures="")

        def log(figures: Mapping[str, float]) -> None:
            shown = "  ".join(f"{name} {value:.4g}" for name, value in figures.items() if name != "step")
            bars.update(task, completed=figures["step"], figures=shown[:80])
            if any(name.startswith("val/") for name in figures):
                click.echo(f"step {figures['step']:.0f}  {shown}")

        yield log


@contextlib.contextmanager
def stage_log() -> Iterator[Callable[[str, float], None]]:
    """Yield a function that takes a stage's name and the share of it that is done."""
    with _bars() as bars:
        tasks = {}

        def report(stage: str, share: float) -> None:
            if stage not in tasks:
                tasks[stage] = bars.add_task(stage, total=100, figures="")
            bars.update(tasks[stage], completed=round(100 * share))

        yield report
