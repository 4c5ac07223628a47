"""``stemprover separate``: a song becomes a folder of stems."""

from __future__ import annotations

import contextlib
import secrets
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import click

from stemprover.cli.exits import print_left_out, print_passed_by
from stemprover.cli.options import DEVICES
from stemprover.cli.process import prepare_process
from stemprover.errors import StemProverError

if TYPE_CHECKING:
    from stemprover.batch.records import Keeping
    from stemprover.batch.song_planning import FoundSongs
    from stemprover.batch.songs import SongJob
    from stemprover.separation.base import Separator

__all__ = [
    "note_passed_by",
    "note_stand_in",
    "resume_option",
    "separate",
    "separator_option",
    "song_keeping",
    "songs_argument",
]

_PATHS = click.Path(path_type=Path)

songs_argument = click.argument("songs", metavar="SONG...", nargs=-1, required=True, type=click.Path())
resume_option = click.option(
    "--resume", is_flag=True, help="Leave out what was done before with the same songs, settings and weights."
)
separator_option = click.option(
    "--separator", default="light", show_default=True, help="The host's own, or a plugin's: see 'plugins list'."
)


@click.command()
@songs_argument
@separator_option
@click.option("-o", "--output", type=_PATHS, default=Path("stems"), show_default=True, help="Folder for the stems.")
@click.option("--device", type=click.Choice(DEVICES), default="auto", show_default=True)
@click.option("--overwrite", is_flag=True, help="Replace files that exist.")
@resume_option
@click.option("--quiet", is_flag=True, help="Print errors only.")
@click.pass_context
def separate(
    context: click.Context,
    *,
    songs: tuple[str, ...],
    separator: str,
    output: Path,
    device: str,
    overwrite: bool,
    resume: bool,
    quiet: bool,
) -> None:
    """Take songs apart; each gets a folder OUTPUT/SONG with a file per stem (32-bit float WAV), ready for enhance.

    SONG is an audio file, a folder of songs, a folder of such folders (kept below OUTPUT), or a quoted pattern.
    """
    prepare_process()
    from stemprover.batch.local import run_jobs
    from stemprover.batch.song_planning import find_songs, plan_songs
    from stemprover.batch.songs import Separation
    from stemprover.cli.failures import SongFailures
    from stemprover.cli.progress import ProgressDisplay
    from stemprover.models import pick_device
    from stemprover.separation.choose import choose_separator

    chosen = choose_separator(separator)
    separation = Separation(chosen, pick_device(device), song_keeping(resume, overwrite))
    found = find_songs(songs, output)
    jobs, unplanned = plan_songs(found.places, chosen, output, replaceable=overwrite or resume)
    if not quiet:
        note_stand_in(chosen)
        note_passed_by(found, jobs)
    with (
        SongFailures(output, len(found.places) + len(found.failures)) as failures,
        ProgressDisplay(sys.stderr.isatty() and not quiet, len(jobs)) as display,
    ):
        failures.planned((*found.failures, *unplanned))

        def work(job: SongJob) -> bool:
            with display.job(job.song.name) as progress:
                return separation.over(job, progress)

        for job, done in run_jobs(jobs, work, 1, display.cancelled):
            if isinstance(done, Exception):
                failures.add(job.song, done)
            elif not quiet:
                _print(job.song, tuple(job.separated.values()), done)
    context.exit(failures.exit_code)


def note_stand_in(separator: Separator) -> None:
    """Say it on stderr when the host's own separator has to do without its network."""
    from stemprover.separation.embedded import EmbeddedSeparator

    if isinstance(separator, EmbeddedSeparator) and separator.is_stand_in:
        stems = " and ".join(separator.stems)
        what = f"the light separator has no weights here: median filters give {stems} instead"
        click.echo(f"stemprover: {what}; 'stemprover plugins search separator' finds others", err=True)


def note_passed_by(found: FoundSongs, jobs: Sequence[SongJob]) -> None:
    """Say on stderr what lies beside songs and is left out: audio of other kinds, and folders."""
    from stemprover.batch.beside import folders_passed_by, unread_in

    for folder in found.folders:
        with contextlib.suppress(StemProverError):  # a hint must not end the run
            print_left_out(folder, unread_in(folder))
    known = [*map(str, found.places), *(str(path) for job in jobs for path in job.files)]
    print_passed_by(folders_passed_by(found.folders, known), "a folder with songs in it stands for these alone")


def song_keeping(resume: bool, overwrite: bool) -> Keeping:
    """How a run over songs treats what is there: songs take minutes, hence it always records what it has done."""
    from stemprover.batch.records import Keeping

    return Keeping(secrets.token_hex(8), True, resume, overwrite)


def _print(song: Path, stems: tuple[Path, ...], done: bool) -> None:
    """Name the files, and the command that comes next."""
    if not done:
        click.echo(f"{song}: done before")
        return
    click.echo(f"{song}: {len(stems)} stems")
    for path in stems:
        click.echo(f"  wrote  {path}")
    click.echo(f"  next   stemprover enhance {stems[0].parent} --mixture {song} --auto-detect")
