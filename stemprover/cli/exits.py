"""Exit codes, and errors as single lines on stderr."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import click

__all__ = [
    "EXIT_BAD_INPUT",
    "EXIT_INTERRUPTED",
    "EXIT_SOME_FAILED",
    "exit_code",
    "listed",
    "print_error",
    "print_left_out",
    "print_note",
    "print_passed_by",
]

EXIT_SOME_FAILED = 1
EXIT_BAD_INPUT = 2
EXIT_INTERRUPTED = 130


def exit_code(failed: int, several: bool) -> int:
    """Return 0 when all is done, 1 when some of several inputs failed, 2 when the only one did."""
    if not failed:
        return 0
    return EXIT_SOME_FAILED if several else EXIT_BAD_INPUT


def print_error(message: object) -> None:
    """Print one line on stderr."""
    click.echo(f"stemprover: error: {' '.join(str(message).split())}", err=True)


def print_note(message: str) -> None:
    """Print one line on stderr that is no error."""
    click.echo(f"stemprover: {message}", err=True)


def listed(names: Sequence[str], shown: int = 5) -> str:
    """Return names for a line on the terminal, the first few of many."""
    more = f" and {len(names) - shown} more" if len(names) > shown else ""
    return ", ".join(f"'{name}'" for name in names[:shown]) + more


def print_left_out(folder: str, names: Sequence[str]) -> None:
    """Say which audio in a folder is of a kind that is not read."""
    if names:
        print_note(f"{folder} without {listed(names)}: convert what is no WAV, FLAC, AIFF, OGG or MP3")


def print_passed_by(folders: Mapping[str, Sequence[str]], why: str) -> None:
    """Say which folders right in others are not looked through."""
    for folder, names in folders.items():
        print_note(f"{folder} without its folders {listed(names)}: {why}; name the others too if they count")
