"""``stemprover enhance``: find and repair artifacts."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import click

from stemprover.cli.options import (
    QUALITIES,
    STEM_NAMES,
    adapter_choices,
    device_options,
    input_argument,
    quieten_libraries,
)

if TYPE_CHECKING:
    from stemprover.cli.runs import ShowStep

__all__ = ["enhance"]


@click.command()
@input_argument
@click.option("--auto-detect", is_flag=True, help="Find artifacts and choose an adapter for each.")
@click.option("--adapter", "adapters", metavar="NAME[:STRENGTH]", multiple=True, help="Use this adapter (repeatable).")
@click.option("--without", metavar="NAME", multiple=True, help="Never use this adapter (repeatable).")
@click.option("--generic", is_flag=True, help="Let the base alone try what no installed adapter repairs.")
@click.option("--mixture", type=click.Path(), help="The mixture the stems were separated from.")
@click.option("--align", is_flag=True, help="Shift stems that are late or early; cut or pad them to one length.")
@click.option("--mixture-consistent", is_flag=True, help="Keep the stems summing to the mixture.")
@click.option("--stem", type=click.Choice(STEM_NAMES), help="What the stem holds; else guessed from the file name.")
@click.option(
    "--quality", type=click.Choice(QUALITIES), default="balanced", show_default=True, help="1, 4 or 16 sampling steps."
)
@click.option("--strength", type=float, default=1.0, show_default=True, help="0 changes nothing, 1 repairs fully.")
@click.option("--vocoder", default="embedded", show_default=True, help="Vocoder for the second stage.")
@click.option("--base", type=click.Path(), help="Folder or hub id of another base model.")
@click.option("--seed", type=int, default=0, show_default=True, help="Seed of the sampling noise.")
@device_options
@click.option("-o", "--output", type=click.Path(), help="File to write for one stem, or folder.")
@click.option("--suffix", help="Put between name and extension.  [default: .enhanced; none for a folder with -o]")
@click.option("--overwrite", is_flag=True, help="Replace files that exist.")
@click.option(
    "--report",
    type=click.Choice(("none", "json", "html")),
    default="html",
    show_default=True,
    help="html writes a page and the JSON.",
)
@click.option("--reference", type=click.Path(path_type=Path), help="True stem, or folder of them: adds metrics.")
@click.option("--dry-run", is_flag=True, help="Print the plan and write nothing.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object per stem.")
@click.option("--quiet", is_flag=True, help="Print errors only.")
@click.option("--jobs", type=click.IntRange(1), default=1, show_default=True, help="Inputs to work on at a time.")
@click.option("--safe-mode", is_flag=True, help="Use no plugins.")
@click.pass_context
def enhance(
    context: click.Context,
    *,
    inputs: tuple[str, ...],
    auto_detect: bool,
    adapters: tuple[str, ...],
    without: tuple[str, ...],
    generic: bool,
    mixture: str | None,
    align: bool,
    mixture_consistent: bool,
    stem: str | None,
    quality: str,
    strength: float,
    vocoder: str,
    base: str | None,
    seed: int,
    device: str,
    dtype: str,
    output: str | None,
    suffix: str | None,
    overwrite: bool,
    report: str,
    reference: Path | None,
    dry_run: bool,
    as_json: bool,
    quiet: bool,
    jobs: int,
    safe_mode: bool,
) -> None:
    """Find and repair artifacts in stems.

    INPUT is an audio file (WAV, FLAC, AIFF, OGG, MP3), or a folder of stems that belong together: each is then repaired
    with what the others know. The result is written beside the input as NAME.enhanced.wav (.flac for FLAC), with a
    report NAME.report.html; inputs are never overwritten.

    Say what to repair with --auto-detect, or name adapters with --adapter.
    """
    quieten_libraries()
    from stemprover.batch.jobs import Selection
    from stemprover.batch.reports import write_reports
    from stemprover.cli.runs import Run
    from stemprover.enhance import Enhancer, Settings

    settings = Settings(
        auto_detect=auto_detect,
        adapters=adapter_choices(adapters),
        without=without,
        quality=quality,
        strength=strength,
        seed=seed,
        generic=generic,
        mixture_consistent=mixture_consistent,
        vocoder=vocoder,
    )
    run = Run(
        selection=Selection(mixture, stem, output, suffix, report, align),
        settings=settings,
        new_enhancer=lambda: Enhancer.from_pretrained(base, device=device, dtype=dtype, safe_mode=safe_mode),
        finish=None if dry_run else lambda done, target: write_reports(done, target.reports, reference),
        show=_printer(as_json, quiet, dry_run),
        plan_only=dry_run,
        overwrite=overwrite,
        workers=jobs,
        bars=sys.stderr.isatty() and not quiet and not as_json,
    )
    context.exit(run.over(inputs))


def _printer(as_json: bool, quiet: bool, dry_run: bool) -> ShowStep:
    """Return what prints one finished stem."""
    from stemprover.cli.printing import print_plan, print_result

    if as_json:
        return lambda done, *_: click.echo(json.dumps(done.to_dict(), allow_nan=False))
    if dry_run:
        return lambda done, *_: print_plan(done)
    if quiet:
        return lambda *_: None
    return lambda done, target, metrics: print_result(done.to_dict(), target.reports.values(), metrics)
