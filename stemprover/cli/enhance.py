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
    BatchOptions,
    adapter_choices,
    batch_options,
    device_options,
    inputs_or_manifest,
    second_opinion_option,
)
from stemprover.cli.process import prepare_process

if TYPE_CHECKING:
    from stemprover.batch.outcomes import StemResult
    from stemprover.cli.runs import ShowStep

__all__ = ["enhance"]


@click.command()
@inputs_or_manifest
@click.option("--auto-detect", is_flag=True, help="Find artifacts and choose an adapter for each.")
@click.option("--adapter", "adapters", metavar="NAME[:STRENGTH]", multiple=True, help="Use this adapter (repeatable).")
@click.option("--without", metavar="NAME", multiple=True, help="Never use this adapter (repeatable).")
@click.option("--generic", is_flag=True, help="Let the base alone try what no installed adapter repairs.")
@click.option("--mixture", type=click.Path(), help="The mixture the stems were separated from.")
@second_opinion_option
@click.option("--align", is_flag=True, help="Shift stems that are late or early; cut or pad them to one length.")
@click.option("--mixture-consistent", is_flag=True, help="Keep the stems summing to the mixture.")
@click.option("--stem", type=click.Choice(STEM_NAMES), help="What the stem holds; else guessed from the file name.")
@click.option(
    "--quality", type=click.Choice(QUALITIES), default="balanced", show_default=True, help="1, 4 or 16 sampling steps."
)
@click.option(
    "--strength", type=float, default=1.0, show_default=True, help="0 changes nothing, 1 repairs all it should."
)
@click.option("--vocoder", default="embedded", show_default=True, help="Vocoder for the second stage.")
@click.option("--base", type=click.Path(), help="Folder or hub id of another base model.")
@click.option("--seed", type=int, default=0, show_default=True, help="Seed of the sampling noise.")
@device_options
@click.option("-o", "--output", type=click.Path(), help="File for one stem, folder, or template.")
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
@click.option("--safe-mode", is_flag=True, help="Use no plugins.")
@batch_options
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
    second_opinion: bool,
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
    safe_mode: bool,
    batch: BatchOptions,
) -> None:
    """Find and repair artifacts in stems.

    INPUT is an audio file (WAV, FLAC, AIFF, OGG, MP3), or a folder of stems that belong together: each is then repaired
    with what the others know. A folder of such folders, a quoted pattern ('songs/**/*.flac') and URLs (s3://, gs://)
    work as well. The result is written beside the input as NAME.enhanced.wav (.flac for FLAC), with a report
    NAME.report.html; inputs are never overwritten. -o may be a template: '{parent}/{stem}.clean.{ext}'.

    Say what to repair with --auto-detect, or name adapters with --adapter.
    """
    prepare_process()
    from stemprover.batch.orders import Loader, Order
    from stemprover.batch.planning import Selection
    from stemprover.cli.runs import Run
    from stemprover.enhanced import Settings

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
        second_opinion=second_opinion,
    )
    order = Order(
        settings,
        Loader(base, dtype, safe_mode),
        device,
        reference=reference,
        align=align,
        plan_only=dry_run,
        overwrite=overwrite,
        resume=batch.resume,
    )
    run = Run(
        Selection(mixture, stem, output, suffix, report, batch.manifest),
        order,
        show=_printer(as_json, quiet, dry_run),
        engine=batch.to_engine(),
        failures=batch.failures,
        bars=sys.stderr.isatty() and not quiet and not as_json,
        summary=not (as_json or quiet or dry_run),
        notes=not quiet,
    )
    context.exit(run.over(inputs))


def _printer(as_json: bool, quiet: bool, dry_run: bool) -> ShowStep:
    """Return what prints one finished stem."""
    from stemprover.cli.printing import print_plan, print_result, print_short

    if as_json:
        return lambda result, _: click.echo(json.dumps(result.summary, allow_nan=False))
    if dry_run:
        return lambda result, _: print_plan(result)
    if quiet:
        return lambda *_: None

    def show(result: StemResult, is_batch: bool) -> None:
        if is_batch:
            print_short(result.summary)
        else:
            print_result(result.summary, result.target.reports.values(), result.metrics)

    return show
