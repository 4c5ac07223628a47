"""A click group that knows its commands' names and one-line helps without importing them."""

from __future__ import annotations

import importlib
from collections.abc import Callable, Mapping
from typing import Any

import click

__all__ = ["LazyGroup"]


class LazyGroup(click.Group):
    """A group whose commands are imported when they are used.

    Parameters
    ----------
    commands_table : Mapping[str, tuple[str, str]]
        Command name to ``("module:attribute", "one-line help")``, in the order in which help lists them.
    """

    def __init__(
        self,
        name: str | None = None,
        *,
        commands_table: Mapping[str, tuple[str, str]],
        callback: Callable[..., Any] | None = None,
        help: str | None = None,
        params: list[click.Parameter] | None = None,
        context_settings: dict[str, Any] | None = None,
    ) -> None:
        super().__init__(name, callback=callback, help=help, params=params, context_settings=context_settings or {})
        self.commands_table = commands_table

    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: ARG002 - click's signature
        """Return the names in the order of the table."""
        return list(self.commands_table)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:  # noqa: ARG002 - click's signature
        """Import and return one command, or None for an unknown name."""
        if cmd_name not in self.commands_table:
            return None
        module, _, attribute = self.commands_table[cmd_name][0].partition(":")
        command = getattr(importlib.import_module(module), attribute)
        assert isinstance(command, click.Command)
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:  # noqa: ARG002
        """Write the list of commands from the table alone."""
        with formatter.section("Commands"):
            formatter.write_dl([(name, text) for name, (_, text) in self.commands_table.items()])
