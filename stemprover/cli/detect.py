"""``stemprover detect``: what is wrong with stems, and where."""

from __future__ import annotations

import json
from pathlib import Path

import click

from stemprover.cli.options import STEM_NAMES, device_options, input_argument, quieten_libraries

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
def detect(
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
