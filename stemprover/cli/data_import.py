"""``stemprover data import``: pairs from an author's own recordings."""

from __future__ import annotations

from pathlib import Path

import click

__all__ = ["import_recordings"]

_folder = click.Path(file_okay=False, path_type=Path)


@click.command("import")
@click.argument("folder", type=_folder)
@click.option("--artifact", required=True, help="What was left behind, for example bleed/choir.")
@click.option("--out", type=_folder, required=True, help="Pairs folder to make.")
def import_recordings(folder: Path, artifact: str, out: Path) -> None:
    """Cut your own recordings into pairs.

    FOLDER holds clean/ and artifact/, with files of the same names that are aligned to the sample, and mixture/ where
    the mixtures are known. Stem classes are guessed from the names, for example song1-vocals.flac.
    """
    from stemprover.cli.counting import counter
    from stemprover.data.recorded import import_pairs

    count = len(list((folder / "clean").glob("*.*"))) if folder.is_dir() else 0
    with counter("recordings", count) as progress:
        made = import_pairs(folder, out, artifact, progress)
    click.echo(f"{out}: {made.train} train and {made.validation} validation pairs written")
