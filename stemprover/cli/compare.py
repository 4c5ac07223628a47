"""``stemprover compare``: several files beside each other, as a page or a picture."""

from __future__ import annotations

from pathlib import Path

import click

__all__ = ["compare"]


@click.command()
@click.argument("files", metavar="FILE...", nargs=-1, required=True, type=click.Path(path_type=Path))
@click.option("--reference", type=click.Path(path_type=Path), help="The true stem; adds metrics.")
@click.option("--align", is_flag=True, help="Shift files that are late or early; cut or pad them to the first.")
@click.option(
    "-o",
    "--output",
    type=click.Path(path_type=Path, dir_okay=False),
    default=Path("compare.html"),
    show_default=True,
    help="Page (.html) with players, or picture (.png).",
)
@click.option("--overwrite", is_flag=True, help="Replace the output if it exists.")
def compare(*, files: tuple[Path, ...], reference: Path | None, align: bool, output: Path, overwrite: bool) -> None:
    """Show files side by side: waveforms, spectrograms, differences to the first file or to the reference, players.

    The page holds everything it shows. Files of another length are padded; of another sample rate, refused.
    """
    from stemprover.report.comparing import compare_files

    found = compare_files(files, output, reference=reference, align=align, overwrite=overwrite)
    for file in found.files:
        if file.offset and not align:
            lateness = "late" if file.offset > 0 else "early"
            click.echo(f"{file.name} is {abs(file.offset)} samples {lateness}; --align mends it")
    click.echo(f"wrote {output}")
