"""``stemprover detect``: what is wrong with stems, and where."""

from __future__ import annotations

import json
import sys
from typing import TYPE_CHECKING

import click

from stemprover.cli.options import STEM_NAMES, input_argument
from stemprover.cli.process import prepare_process

if TYPE_CHECKING:
    from stemprover.cli.runs import ShowStep

__all__ = ["detect"]


@click.command()
@input_argument
@click.option("--mixture", type=click.Path(), help="The mixture the stems were separated from.")
@click.option("--stem", type=click.Choice(STEM_NAMES), help="What the stem holds; else guessed from the file name.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object per stem.")
@click.option("--plot", type=click.Path(dir_okay=False), help="Write a PNG of the spectrogram with what was found.")
@click.option("--safe-mode", is_flag=True, help="Run no plugin code.")
@click.option("--quiet", is_flag=True, help="No progress bars.")
@click.pass_context
def detect(
    context: click.Context,
    *,
    inputs: tuple[str, ...],
    mixture: str | None,
    stem: str | None,
    as_json: bool,
    plot: str | None,
    safe_mode: bool,
    quiet: bool,
) -> None:
    """Find artifacts in stems and print them; nothing is repaired.

    INPUT is an audio file, a folder of stems that belong together, a folder of such folders, or a quoted pattern.
    """
    prepare_process()
    from stemprover.batch.orders import Loader, Order
    from stemprover.batch.planning import Selection
    from stemprover.cli.runs import Run
    from stemprover.enhanced import Settings

    run = Run(
        Selection(mixture, stem, plot=plot),
        Order(Settings(auto_detect=True), Loader(None, "float32", safe_mode), "cpu", plan_only=True),
        show=_printer(as_json),
        bars=sys.stderr.isatty() and not quiet and not as_json,
        notes=not quiet,
    )
    context.exit(run.over(inputs))


_KEYS = (
    *("version", "input", "sample_rate", "channels", "samples", "duration_s", "late_samples"),
    *("detections", "timings_s", "faults"),
)


def _printer(as_json: bool) -> ShowStep:
    """Return what prints the findings of one stem."""
    from stemprover.cli.printing import print_detections

    if as_json:
        return lambda result, _: click.echo(json.dumps({key: result.summary[key] for key in _KEYS}, allow_nan=False))
    return lambda result, _: print_detections(result.summary)
