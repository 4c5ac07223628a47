"""The ``stemprover`` command.

A command's module is imported when the command runs or when its own help is asked for, not before; the texts of
``stemprover --help`` come from the table below. That keeps start-up far below what importing torch costs.
"""

from __future__ import annotations

import errno
import os
import sys
from collections.abc import Sequence

import click

from stemprover import __version__
from stemprover.cli.exits import EXIT_BAD_INPUT, EXIT_INTERRUPTED, print_error
from stemprover.cli.lazy import LazyGroup
from stemprover.errors import StemProverError

__all__ = ["cli", "main"]

COMMANDS = {
    "enhance": ("stemprover.cli.enhance:enhance", "Find and repair artifacts in stems."),
    "detect": ("stemprover.cli.detect:detect", "Say what is wrong with stems, and where."),
    "separate": ("stemprover.cli.separate:separate", "Take songs apart into stems."),
    "clean": ("stemprover.cli.clean:clean", "Take songs apart and repair the stems together."),
    "evaluate": ("stemprover.cli.evaluate:evaluate", "Score stems against the true ones."),
    "compare": ("stemprover.cli.compare:compare", "Show files side by side: pictures, differences, players."),
    "plugins": ("stemprover.cli.plugins:plugins", "List, describe and find plugins."),
    "data": ("stemprover.cli.data:data", "Make training pairs: synthetic songs, known artifacts, real separations."),
    "train": ("stemprover.cli.train:train", "Train the base, the ControlNet, a LoRA, a vocoder or the detectors."),
}


@click.group(
    cls=LazyGroup,
    commands_table=COMMANDS,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 120},
)
@click.version_option(__version__, prog_name="stemprover")
def cli() -> None:
    """Find and repair what source separators leave behind in stems."""


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the command line and exit: 0 done, 2 bad input (one line on stderr), 130 interrupted."""
    sys.exit(_run(arguments))


def _run(arguments: Sequence[str] | None) -> int:
    try:
        result = cli.main(arguments, prog_name="stemprover", standalone_mode=False)
    except click.ClickException as error:
        return _fail(_one_line(error))
    except StemProverError as error:
        return _fail(str(error))
    except (click.Abort, KeyboardInterrupt):
        click.echo("stemprover: interrupted; nothing half-written was left behind", err=True)
        return EXIT_INTERRUPTED
    except OSError as error:
        if error.errno != errno.EPIPE:
            raise
        # The reader (head, less) went away: not an error, and stdout must not complain once more at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    return result if isinstance(result, int) else 0


def _one_line(error: click.ClickException) -> str:
    message = " ".join(error.format_message().split())
    context = getattr(error, "ctx", None)
    return f"{message} See '{context.command_path} --help'." if context is not None else message


def _fail(message: str) -> int:
    print_error(message)
    return EXIT_BAD_INPUT
