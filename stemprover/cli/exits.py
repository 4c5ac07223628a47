"""Exit codes, and errors as single lines on stderr."""

from __future__ import annotations

import click

__all__ = ["EXIT_BAD_INPUT", "EXIT_INTERRUPTED", "print_error"]

EXIT_BAD_INPUT = 2
EXIT_INTERRUPTED = 130


def print_error(message: object) -> None:
    """Print one line on stderr."""
    click.echo(f"stemprover: error: {' '.join(str(message).split())}", err=True)
