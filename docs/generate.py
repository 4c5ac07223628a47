"""Write ``docs/cli.md`` from the command line's own help; ``--check`` only compares.

python docs/generate.py [--check]
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import click

from stemprover.cli.main import cli

TARGET = Path(__file__).with_name("cli.md")
WIDTH = 100
HEAD = """# Command line

Generated from the commands' own help by `make docs`; a test compares.

Exit codes: 0 done, 2 bad input or a file that could not be used (one line on stderr for each), 130 interrupted.
"""


def sections(command: click.Command, context: click.Context) -> Iterator[str]:
    """Yield a Markdown section for a command and those below it."""
    level = "#" * (2 + context.command_path.count(" "))
    text = command.get_help(context).rstrip()
    yield f"{level} `{context.command_path}`\n\n```text\n{text}\n```\n"
    if isinstance(command, click.Group):
        for name in command.list_commands(context):
            child = command.get_command(context, name)
            if child is not None:
                yield from sections(child, _context(child, name, context))


def _context(command: click.Command, name: str, parent: click.Context | None = None) -> click.Context:
    flags = command.context_settings.get("help_option_names")
    return click.Context(command, parent, name, terminal_width=WIDTH, max_content_width=WIDTH, help_option_names=flags)


def render() -> str:
    """Return the whole page."""
    return "\n".join((HEAD, *sections(cli, _context(cli, "stemprover"))))


def main(arguments: list[str]) -> int:
    """Write or compare; returns the exit code."""
    page = render()
    if "--check" in arguments:
        return int(not TARGET.is_file() or TARGET.read_text(encoding="utf-8") != page)
    TARGET.write_text(page, encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
