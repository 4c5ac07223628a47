"""``stemprover detect``: what is wrong with stems, and where."""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

import click

from stemprover.cli.options import STEM_NAMES, device_options, input_argument, quieten_libraries

if TYPE_CHECKING:
    from stemprover.batch.jobs import Target
    from stemprover.cli.runs import FinishStep, ShowStep
    from stemprover.enhance import Enhanced

__all__ = ["detect"]


@click.command()
@input_argument
@click.option("--mixture", type=click.Path(), help="The mixture the stems were separated from.")
@click.option("--stem", type=click.Choice(STEM_NAMES), help="What the stem holds; else guessed from the file name.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object per stem.")
@click.option("--plot", type=click.Path(dir_okay=False), help="Write a PNG of the spectrogram with what was found.")
@click.option("--safe-mode", is_flag=True, help="Run no plugin code.")
@click.option("--quiet", is_flag=True, help="No progress bars.")
@device_options
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
    device: str,
    dtype: str,
) -> None:
    """Find artifacts in stems and print them; nothing is repaired.

    INPUT is an audio file, or a folder of stems that belong together.
    """
    quieten_libraries()
    from stemprover.batch.jobs import Selection
    from stemprover.cli.runs import Run
    from stemprover.enhance import Enhancer, Settings

    run = Run(
        selection=Selection(mixture=mixture, stem=stem),
        settings=Settings(auto_detect=True),
        new_enhancer=lambda: Enhancer.from_pretrained(device=device, dtype=dtype, safe_mode=safe_mode),
        finish=_plotter(plot, several=len(inputs) > 1 or Path(inputs[0]).is_dir()),
        show=_printer(as_json),
        plan_only=True,
        bars=sys.stderr.isatty() and not quiet and not as_json,
    )
    context.exit(run.over(inputs))


_KEYS = ("version", "input", "sample_rate", "channels", "samples", "duration_s", "detections", "timings_s", "faults")


def _printer(as_json: bool) -> ShowStep:
    """Return what prints the findings of one stem."""
    from stemprover.cli.printing import print_detections

    if not as_json:
        return lambda done, *_: print_detections(done)

    def print_json(done: Enhanced, *_: object) -> None:
        summary = done.to_dict()
        click.echo(json.dumps({key: summary[key] for key in _KEYS}, allow_nan=False))

    return print_json


def _plotter(plot: str | None, several: bool) -> FinishStep | None:
    """Return what draws one stem; of several, each gets its own file, for example ``plot.vocals.png``."""
    from stemprover.batch.reports import write_plot

    if plot is None:
        return None
    path = Path(plot)

    def draw(done: Enhanced, _: Target) -> Mapping[str, Mapping[str, object]]:
        write_plot(path.with_name(f"{path.stem}.{done.stem.name}{path.suffix}") if several else path, done)
        return {}

    return draw
