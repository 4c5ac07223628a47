"""``stemprover plugins``: what changes the set of plugins, and what checks it."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import click

from stemprover.cli.exits import EXIT_BAD_INPUT, print_error

if TYPE_CHECKING:
    from stemprover.plugins import Plugin
    from stemprover.plugins.health import Problem
    from stemprover.plugins.install import InstallPlan

__all__ = ["MANAGING_COMMANDS", "registry_option"]

registry_option = click.option(
    "--registry", "registries", multiple=True, metavar="PATH|URL", help="One more registry (repeatable)."
)
host_option = click.option("--allow-host-changes", is_flag=True, help="Accept a plan that moves torch or stemprover.")
lock_option = click.option(
    "--file", "path", type=click.Path(dir_okay=False, path_type=Path), help="Lock to use; else one per user."
)


@click.command()
@click.argument("names", metavar="NAME...", nargs=-1, required=True)
@registry_option
@click.option("--upgrade", is_flag=True, help="Take the newest version, installed or not.")
@click.option("--reinstall", is_flag=True, help="Install once more what is installed.")
@host_option
@click.option("--dry-run", is_flag=True, help="Show what would change and change nothing.")
@click.pass_context
def install(
    context: click.Context,
    names: tuple[str, ...],
    registries: tuple[str, ...],
    upgrade: bool,
    reinstall: bool,
    allow_host_changes: bool,
    dry_run: bool,
) -> None:
    """Install plugins into this environment with its own pip or uv.

    NAME is a plugin or distribution of a registry, a wheel, a project folder, a git address, or
    hf:OWNER/REPOSITORY@COMMIT for an adapter on the Hugging Face hub. The host and all plugins are resolved together
    first; a plan that would move torch or stemprover itself is refused.
    """
    from stemprover.plugins import registry
    from stemprover.plugins.install import plan_requests

    known = registry(registries)
    for remark in (*known.conflicts, *known.notes):
        click.echo(f"stemprover: warning: {remark}", err=True)
    plan = plan_requests(names, known, upgrade=upgrade, reinstall=reinstall)
    context.exit(_carry_out([plan], allow_host_changes, dry_run))


@click.command()
@click.argument("names", metavar="NAME...", nargs=-1, required=True)
def uninstall(names: tuple[str, ...]) -> None:
    """Remove plugins, by their names or their distributions'."""
    from stemprover.plugins.install import uninstall as remove

    for plugin in remove(names):
        click.echo(f"{plugin.name}: removed ({plugin.distribution} {plugin.version})")


@click.command()
@click.argument("name")
def enable(name: str) -> None:
    """Switch a plugin on again, or all of a distribution."""
    from stemprover.plugins.chosen import switch_on

    for one in switch_on(name):
        click.echo(f"{one} is switched on")


@click.command()
@click.argument("name")
def disable(name: str) -> None:
    """Switch a plugin off, or all of a distribution; it stays installed."""
    from stemprover.plugins.chosen import switch_off

    for one in switch_off(name):
        click.echo(f"{one} is switched off")


@click.command()
@click.argument("names", metavar="[NAME]...", nargs=-1)
@click.pass_context
def verify(context: click.Context, names: tuple[str, ...]) -> None:
    """Compare plugins with their manifests: every file's SHA-256, the host and the base; all without a NAME.

    NAME is a plugin's or a distribution's. Of what was installed from a wheel, all files are compared with the wheel's
    own list. Without a NAME, or with that of an adapter, the base itself is compared with its SHA-256, too. Exits with
    2 if one is not as it was released or does not fit; the others are checked all the same.
    """
    from stemprover.errors import ModelError, PluginError
    from stemprover.plugins import installed
    from stemprover.plugins.chosen import chosen
    from stemprover.plugins.health import unchecked, verify_base
    from stemprover.plugins.health import verify as check

    failed = False
    plugins = [plugin for name in names for plugin in chosen(name)] if names else installed()
    if not names or any(plugin.kind == "lora" for plugin in plugins):
        try:
            click.echo(f"{verify_base()}: as released")
        except ModelError as error:
            failed = True
            print_error(str(error))
    for plugin in plugins:
        try:
            count = len(check(plugin))
            released = f"{count} file{'' if count == 1 else 's'} as released"
            click.echo(f"{plugin.name}: {released if count else f'nothing to check: {unchecked(plugin)}'}")
        except PluginError as error:
            failed = True
            print_error(f"{plugin.name}: {error}")
    context.exit(EXIT_BAD_INPUT if failed else 0)


@click.command()
@click.option("--json", "as_json", is_flag=True, help="Print one array of objects.")
@click.pass_context
def doctor(context: click.Context, as_json: bool) -> None:
    """Say what is broken and which command mends it, and what plugins still need; imports no plugin.

    Looks at manifests, files, hosts and bases, into adapters' weights, and at what stemprover itself needs. Exits with
    2 if something is broken. A package that a plugin wraps and that is not installed is advice, and no fault: `broken`
    is false with --json.
    """
    from stemprover.cli.process import quieten_libraries
    from stemprover.plugins import installed
    from stemprover.plugins.health import advise, examine

    quieten_libraries()
    plugins = installed()
    problems, advice = list(examine(plugins, _adapter_check(plugins))), list(advise(plugins))
    if as_json:
        found = [(problem, True) for problem in problems] + [(problem, False) for problem in advice]
        click.echo(json.dumps([{**dataclasses.asdict(one), "broken": broken} for one, broken in found], indent=2))
    else:
        for problem in problems:
            click.echo(f"{problem.name}: {problem.what}\n  mend:  {problem.mend}")
        if not problems:
            click.echo("nothing is broken")
        for (what, command), names in _together(advice).items():
            click.echo(f"{', '.join(names)}: {what}\n  advice:  {command}")
    context.exit(EXIT_BAD_INPUT if problems else 0)


@click.command()
@lock_option
@click.pass_context
def lock(context: click.Context, path: Path | None) -> None:
    """Write down which plugins are installed: versions, where they came from, and the hash of all files."""
    from stemprover.plugins.lock import lock_file, write_lock

    locked, left_out = write_lock(path)
    for plugin in left_out:
        print_error(f"{plugin.name} is left out: {plugin.reason or 'nobody knows where it came from'}")
    click.echo(f"{path or lock_file()}: {len(locked)} plugin{'' if len(locked) == 1 else 's'}")
    context.exit(EXIT_BAD_INPUT if left_out else 0)


@click.command()
@lock_option
@host_option
@click.option("--dry-run", is_flag=True, help="Show what would change and change nothing.")
@click.pass_context
def sync(context: click.Context, path: Path | None, allow_host_changes: bool, dry_run: bool) -> None:
    """Bring the plugins of the lock back: the same versions from the same places, every file compared.

    Plugins that the lock does not know stay.
    """
    from stemprover.plugins.lock import plan_sync, read_lock, settle

    locked = read_lock(path)
    plans = plan_sync(locked)
    code = _carry_out(plans, allow_host_changes, dry_run)
    if not dry_run:
        settle(locked)
    if not plans:
        click.echo(f"all {len(locked)} plugins are as locked")
    context.exit(code)


def _carry_out(plans: Sequence[InstallPlan], allow_host_changes: bool, dry_run: bool) -> int:
    """Show plans, check all of them, and only then carry them out; returns the exit code."""
    for plan in plans:
        for change in plan.changes:
            click.echo(str(change))
        if not plan.changes:
            click.echo("nothing to change: it is all installed")
    if not allow_host_changes:
        for plan in plans:
            plan.require_host_unchanged()
    if dry_run:
        return 0
    applied = [_show(plan.apply(), [change.name for change in plan.changes]) for plan in plans if plan.changes]
    return max(applied, default=0)


def _show(plugins: Iterable[Plugin], names: Iterable[str]) -> int:
    """Print what came; returns the exit code."""
    came = tuple(plugins)
    for plugin in came:
        click.echo(f"{plugin.name}: installed")
        if plugin.status != "ok":
            print_error(f"{plugin.name}: {plugin.status}: {plugin.reason}")
    if not came:
        print_error(f"no plugin came with {', '.join(names)}; 'python -m pip uninstall' takes it out again")
    return EXIT_BAD_INPUT if not came or any(plugin.status not in ("ok", "disabled") for plugin in came) else 0


def _adapter_check(plugins: Iterable[Plugin]) -> Callable[[Path], None] | None:
    """What looks into weights; it needs torch, which is imported only when there is an adapter."""
    if not any(plugin.kind == "lora" and plugin.status == "ok" for plugin in plugins):
        return None
    from stemprover.restoration.lora_inspect import inspect_adapter

    return inspect_adapter


def _together(advice: Iterable[Problem]) -> dict[tuple[str, str], list[str]]:
    """Names by what they need and the command for it: several models of one package need the same."""
    names: dict[tuple[str, str], list[str]] = {}
    for one in advice:
        names.setdefault((one.what, one.mend), []).append(one.name)
    return names


MANAGING_COMMANDS = (install, uninstall, enable, disable, verify, doctor, lock, sync)
