"""``stemprover clean``: a song becomes a folder of repaired stems."""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from stemprover.batch.naming import REPORTS
from stemprover.cli.options import QUALITIES, device_options, second_opinion_option
from stemprover.cli.process import prepare_process
from stemprover.cli.separate import (
    note_passed_by,
    note_stand_in,
    resume_option,
    separator_option,
    song_keeping,
    songs_argument,
)

if TYPE_CHECKING:
    from stemprover.batch.songs import SongJob
    from stemprover.enhance import Enhanced

__all__ = ["clean"]

_PATHS = click.Path(path_type=Path)


@click.command()
@songs_argument
@separator_option
@click.option("-o", "--output", type=_PATHS, default=Path("clean"), show_default=True, help="Folder for the stems.")
@click.option("--mixture-consistent", is_flag=True, help="Make the stems sum to the song.")
@click.option("--generic", is_flag=True, help="Let the base alone try what no installed adapter repairs.")
@second_opinion_option
@click.option(
    "--quality", type=click.Choice(QUALITIES), default="balanced", show_default=True, help="1, 4 or 16 sampling steps."
)
@click.option(
    "--strength", type=float, default=1.0, show_default=True, help="0 changes nothing, 1 repairs all it should."
)
@click.option("--seed", type=int, default=0, show_default=True, help="Seed of the sampling noise.")
@device_options
@click.option("--report", type=click.Choice(tuple(REPORTS)), default="html", show_default=True)
@click.option("--overwrite", is_flag=True, help="Replace files that exist.")
@resume_option
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object per stem.")
@click.option("--quiet", is_flag=True, help="Print errors only.")
@click.pass_context
def clean(
    context: click.Context,
    *,
    songs: tuple[str, ...],
    separator: str,
    output: Path,
    mixture_consistent: bool,
    generic: bool,
    second_opinion: bool,
    quality: str,
    strength: float,
    seed: int,
    device: str,
    dtype: str,
    report: str,
    overwrite: bool,
    resume: bool,
    as_json: bool,
    quiet: bool,
) -> None:
    """Take songs apart and repair the stems together: separate and enhance in one go.

    SONG is an audio file, a folder of songs, a folder of such folders (kept below OUTPUT), or a quoted pattern.
    Each song gets a folder OUTPUT/SONG with its clean stems and their reports; what the separator made is kept in
    OUTPUT/SONG/separated.
    """
    prepare_process()
    from stemprover.batch.local import run_jobs
    from stemprover.batch.song_planning import find_songs, plan_songs
    from stemprover.batch.songs import Cleaning, Separation
    from stemprover.cli.failures import SongFailures
    from stemprover.cli.progress import ProgressDisplay
    from stemprover.enhance import Enhancer, Settings
    from stemprover.separation.choose import choose_separator

    settings = Settings(
        auto_detect=True,
        quality=quality,
        strength=strength,
        seed=seed,
        generic=generic,
        mixture_consistent=mixture_consistent,
        second_opinion=second_opinion,
    )
    chosen, enhancer = choose_separator(separator), Enhancer.from_pretrained(device=device, dtype=dtype)
    separation = Separation(chosen, enhancer.models.device, song_keeping(resume, overwrite))
    cleaning = Cleaning(separation, enhancer, settings)
    found = find_songs(songs, output)
    jobs, unplanned = plan_songs(
        found.places, chosen, output, clean=True, reports=REPORTS[report], replaceable=overwrite or resume
    )
    if not quiet:
        note_stand_in(chosen)
        note_passed_by(found, jobs)
    with (
        SongFailures(output, len(found.places) + len(found.failures)) as failures,
        ProgressDisplay(sys.stderr.isatty() and not quiet and not as_json, len(jobs)) as display,
    ):
        failures.planned((*found.failures, *unplanned))

        def work(job: SongJob) -> tuple[Enhanced, ...] | None:
            with display.job(job.song.name) as progress:
                return cleaning.over(job, progress)

        for job, results in run_jobs(jobs, work, 1, display.cancelled):
            if isinstance(results, Exception):
                failures.add(job.song, results)
            elif results is not None and not quiet:
                _print(job, [one.to_dict() for one in results], as_json)
            elif not (quiet or as_json):
                click.echo(f"{job.song}: done before")
    context.exit(failures.exit_code)


def _print(job: SongJob, summaries: list[Mapping[str, Any]], as_json: bool) -> None:
    from stemprover.cli.printing import print_result

    for summary, target in zip(summaries, job.targets.values(), strict=True):
        if as_json:
            click.echo(json.dumps(summary, allow_nan=False))
        else:
            print_result(summary, target.reports.values(), {})
