"""``stemprover plugins``: what changes the set of plugins, and what checks it."""

from __future__ import annotations

import click

__all__ = ["MANAGING_COMMANDS"]


@click.command()
@click.argument("name")
def enable(name: str) -> None:
    """Switch a plugin on again."""
    from stemprover.plugins import enable as switch_on

    switch_on(name)
    click.echo(f"{name} is switched on")


@click.command()
@click.argument("name")
def disable(name: str) -> None:
    """Switch a plugin off; it stays installed."""
    from stemprover.plugins import disable as switch_off

    switch_off(name)
    click.echo(f"{name} is switched off")


@click.command()
@click.argument("names", metavar="[NAME]...", nargs=-1)
def verify(names: tuple[str, ...]) -> None:
    """Compare plugins' files with the SHA-256 sums of their manifests; all plugins without a NAME."""
    from stemprover.plugins import find, installed, verify_files

    for plugin in [find(name) for name in names] if names else installed():
        checked = verify_files(plugin)
        click.echo(f"{plugin.name}: {len(checked)} file{'' if len(checked) == 1 else 's'} as released")


MANAGING_COMMANDS = (enable, disable, verify)
