"""``stemprover separate``: a song becomes a folder of stems."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING

import click

from stemprover.cli.options import DEVICES, quieten_libraries

if TYPE_CHECKING:
    from stemprover.separation.base import Separator

__all__ = ["note_stand_in", "separate", "separator_option"]

_PATHS = click.Path(path_type=Path)
separator_option = click.option(
    "--separator", default="light", show_default=True, help="The host's own, or a plugin's: see 'plugins list'."
)


@click.command()
@click.argument("songs", metavar="SONG...", nargs=-1, required=True, type=_PATHS)
@separator_option
@click.option("-o", "--output", type=_PATHS, default=Path("stems"), show_default=True, help="Folder for the stems.")
@click.option("--device", type=click.Choice(DEVICES), default="auto", show_default=True)
@click.option("--overwrite", is_flag=True, help="Replace files that exist.")
@click.option("--quiet", is_flag=True, help="Print errors only.")
@click.pass_context
def separate(
    context: click.Context,
    *,
    songs: tuple[Path, ...],
    separator: str,
    output: Path,
    device: str,
    overwrite: bool,
    quiet: bool,
) -> None:
    """Take songs apart; each gets a folder OUTPUT/SONG with a file per stem (32-bit float WAV), ready for enhance."""
    quieten_libraries()
    from stemprover.batch.local import run_jobs
    from stemprover.batch.songs import SongJob, plan_songs
    from stemprover.cli.failures import SongFailures
    from stemprover.cli.progress import ProgressDisplay
    from stemprover.models import pick_device
    from stemprover.separation.choose import choose_separator
    from stemprover.separation.songs import separate_song

    chosen, place = choose_separator(separator), pick_device(device)
    if not quiet:
        note_stand_in(chosen)
    jobs, unplanned = plan_songs(songs, chosen, output, overwrite=overwrite)
    with (
        SongFailures(output, len(songs)) as failures,
        ProgressDisplay(sys.stderr.isatty() and not quiet, len(jobs)) as display,
    ):
        failures.planned(unplanned)

        def work(job: SongJob) -> None:
            progress = display.file(job.song.name)
            try:
                separate_song(job.song, chosen, job.separated, device=place, overwrite=overwrite, progress=progress)
            finally:
                display.file_done(progress)

        for job, error in run_jobs(jobs, work, 1, display.cancelled):
            if error is not None:
                failures.add(job.song, error)
            elif not quiet:
                _print(job.song, tuple(job.separated.values()))
    context.exit(failures.exit_code)


def note_stand_in(separator: Separator) -> None:
    """Say it on stderr when the host's own separator has to do without its network."""
    from stemprover.separation.embedded import EmbeddedSeparator

    if isinstance(separator, EmbeddedSeparator) and separator.is_stand_in:
        stems = " and ".join(separator.stems)
        what = f"the light separator has no weights here: median filters give {stems} instead"
        click.echo(f"stemprover: {what}; 'stemprover plugins search separator' finds others", err=True)


def _print(song: Path, stems: tuple[Path, ...]) -> None:
    """Name the files, and the command that comes next."""
    click.echo(f"{song}: {len(stems)} stems")
    for path in stems:
        click.echo(f"  wrote  {path}")
    click.echo(f"  next   stemprover enhance {stems[0].parent} --mixture {song} --auto-detect")
