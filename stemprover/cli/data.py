"""``stemprover data``: material for training."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

from stemprover.cli.data_import import import_recordings

if TYPE_CHECKING:
    from stemprover.data.degrade import Recipe

__all__ = ["data"]

_Command = TypeVar("_Command", bound=Callable[..., Any])
_folder = click.Path(file_okay=False, path_type=Path)
_file = click.Path(dir_okay=False, path_type=Path)


@click.group()
def data() -> None:
    """Make training pairs: synthetic songs, known artifacts, real separations."""


def _building(command: _Command) -> _Command:
    """Options of the commands that write pairs."""
    options = (
        click.option(
            *("--data", "sources"),
            type=_folder,
            multiple=True,
            required=True,
            help="Folder of recordings (repeatable); docs/training.md.",
        ),
        click.option("--out", type=_folder, required=True, help="Pairs folder; pairs that are there already are kept."),
        click.option("--count", type=click.IntRange(1), required=True, help="Pairs that the split shall have."),
        click.option("--split", type=click.Choice(("train", "validation")), default="train", show_default=True),
        click.option("--seed", type=int, default=0, show_default=True),
        click.option("--jobs", type=click.IntRange(1), default=1, show_default=True, help="Parallel processes."),
    )
    for option in reversed(options):
        command = option(command)
    return command


def _separating(command: _Command) -> _Command:
    """Options of the commands that ask separators."""
    told = "Folder of runs of `stemprover train separator`: real neural artifacts."
    command = click.option("--separator", "names", multiple=True, help="Ask an installed one as well (repeatable).")(
        command
    )
    return click.option("--separators", type=_folder, help=told)(command)


@data.command()
@_building
@_separating
def pairs(
    sources: tuple[Path, ...], out: Path, count: int, split: str, seed: int, jobs: int, separators: Path | None,
    names: tuple[str, ...],
) -> None:  # fmt: skip
    """Write pairs of clean and degraded stems of all kinds, with siblings and labels."""
    from stemprover.data.degrade import Recipe

    _build(sources, out, count, split, seed, jobs, Recipe(), separators, names)


@data.command()
@_building
@click.option("--artifact", "names", multiple=True, help="Apply this one (repeatable); without it a random choice.")
def artifacts(
    sources: tuple[Path, ...], out: Path, count: int, split: str, seed: int, jobs: int, names: tuple[str, ...]
) -> None:
    """Write pairs with controlled artifacts: known kind, strength, time and band."""
    from stemprover.data.degrade import Recipe

    _build(sources, out, count, split, seed, jobs, Recipe.only("controlled", artifacts=names))


@data.command()
@_building
@_separating
def separate(
    sources: tuple[Path, ...], out: Path, count: int, split: str, seed: int, jobs: int, separators: Path | None,
    names: tuple[str, ...],
) -> None:  # fmt: skip
    """Write pairs with real artifacts: what separators make of mixtures."""
    from stemprover.data.degrade import Recipe

    kinds = ("larsnet", "dtln", "classical", *(("neural",) if separators or names else ()))
    _build(sources, out, count, split, seed, jobs, Recipe.only(*kinds), separators, names)


def _build(
    sources: tuple[Path, ...], out: Path, count: int, split: str, seed: int, jobs: int, recipe: Recipe,
    separators: Path | None = None, installed: tuple[str, ...] = (),
) -> None:  # fmt: skip
    from stemprover.cli.counting import counter
    from stemprover.data.build import build_pairs

    with counter(f"{split} pairs", count) as progress:
        built = build_pairs(sources, out, count, split, seed, jobs, recipe, progress, separators, installed)
    click.echo(f"{out}: {built.written} {split} pairs written, {built.kept} kept")


@data.command()
@click.option("--out", type=_folder, required=True, help="Folder; songs that are there already are kept.")
@click.option("--count", type=click.IntRange(1), required=True, help="Number of songs.")
@click.option("--seconds", type=click.FloatRange(1.0), default=20.0, show_default=True, help="Length of a song.")
@click.option("--seed", type=int, default=0, show_default=True)
@click.option(
    "--renderer",
    type=click.Choice(("builtin", "fluidsynth", "drumkit")),
    default="builtin",
    show_default=True,
    help="Own synthesis, composed songs played by FluidSynth, or drum kits played by it piece by piece.",
)
@click.option("--soundfont", type=_file, help="SoundFont for FluidSynth; without it one that is installed.")
@click.option("--jobs", type=click.IntRange(1), default=1, show_default=True, help="Parallel processes.")
def synth(out: Path, count: int, seconds: float, seed: int, renderer: str, soundfont: Path | None, jobs: int) -> None:
    """Render synthetic songs as folders of stems that sum to their mixture."""
    from stemprover.cli.counting import counter
    from stemprover.data.export import write_songs

    with counter("songs", count) as progress:
        written = write_songs(out, count, seconds, seed, progress, renderer, soundfont, jobs)
    click.echo(f"{out}: {written} songs written, {count - written} kept")


@data.command()
@click.argument("folder", type=_folder)
@click.option("--jobs", type=click.IntRange(1), default=1, show_default=True, help="Parallel processes.")
def detect(folder: Path, jobs: int) -> None:
    """Note what the installed detectors find in each pair, so that repairs are trained on it."""
    from stemprover.cli.counting import counter
    from stemprover.data.pairs import read_manifest
    from stemprover.training.detected import detect_pairs

    with counter("pairs", len(read_manifest(folder))) as progress:
        done = detect_pairs(folder, progress, jobs)
    click.echo(f"{folder}: {done} pairs examined")


@data.command()
@click.argument("folder", type=_folder)
def check(folder: Path) -> None:
    """Compare every file of a pairs folder with its SHA-256."""
    from stemprover.cli.counting import counter
    from stemprover.data.pairs import check as check_pair
    from stemprover.data.pairs import read_manifest

    found = read_manifest(folder)
    with counter("pairs", len(found)) as progress:
        for pair in found:
            check_pair(pair)
            progress(1)
    click.echo(f"{folder}: {len(found)} pairs as written")


data.add_command(import_recordings)
