"""Option types and options that several commands share."""

from __future__ import annotations

import os
import warnings
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, TypeVar

import click

from stemprover.errors import OptionError

if TYPE_CHECKING:
    from stemprover.routing import AdapterChoice

__all__ = [
    "DEVICES",
    "DTYPES",
    "QUALITIES",
    "STEM_NAMES",
    "adapter_choices",
    "device_options",
    "input_argument",
    "quieten_libraries",
]

# Repeated here because `--help` must not import what defines them (numpy, torch); a test compares.
STEM_NAMES = (
    "vocals", "drums", "bass", "other", "piano", "guitar", "kick", "snare", "toms", "hihat", "cymbals", "instrumental",
    "generic",
)  # fmt: skip
QUALITIES = ("fast", "balanced", "best")
DEVICES = ("auto", "cpu", "cuda", "mps")
DTYPES = ("float32", "float16", "bfloat16")

_Command = TypeVar("_Command", bound=Callable[..., Any])

input_argument = click.argument("inputs", metavar="INPUT...", nargs=-1, required=True, type=click.Path())


def device_options(command: _Command) -> _Command:
    """Add ``--device`` and ``--dtype``."""
    command = click.option("--dtype", type=click.Choice(DTYPES), default="float32", show_default=True)(command)
    return click.option(
        "--device",
        type=click.Choice(DEVICES),
        default="auto",
        show_default=True,
        help="auto: cuda, else mps, else cpu.",
    )(command)


def adapter_choices(texts: tuple[str, ...]) -> tuple[AdapterChoice, ...]:
    """Read ``NAME`` or ``NAME:STRENGTH`` options.

    Raises
    ------
    OptionError
        Without a name, or if the strength is no number.
    """
    from stemprover.routing import AdapterChoice

    choices = []
    for text in texts:
        name, colon, strength = text.partition(":")
        try:
            choices.append(AdapterChoice(name, float(strength) if colon else 1.0))
        except ValueError as error:
            raise OptionError(
                "--adapter NAME or NAME:STRENGTH", repr(text), "write for example --adapter drumbleed:0.8"
            ) from error
    return tuple(choices)


def quieten_libraries() -> None:
    """Keep warnings and bars of the libraries below off the user's terminal; only the command line does this."""
    warnings.simplefilter("ignore")
    os.environ.setdefault("TRANSFORMERS_VERBOSITY", "error")
    os.environ.setdefault("DIFFUSERS_VERBOSITY", "error")
    os.environ.setdefault("HF_HUB_DISABLE_PROGRESS_BARS", "1")
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
    from diffusers.utils import logging

    logging.disable_progress_bar()
