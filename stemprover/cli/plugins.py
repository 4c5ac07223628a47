"""``stemprover plugins``: what is installed, what it is, what else there is."""

from __future__ import annotations

import json
import shlex
from collections.abc import Sequence
from typing import TYPE_CHECKING

import click

from stemprover.cli.plugins_author import AUTHORING_COMMANDS
from stemprover.cli.plugins_manage import MANAGING_COMMANDS, registry_option

if TYPE_CHECKING:
    from stemprover.plugins import Plugin, RegistryEntry

__all__ = ["plugins"]


@click.group()
def plugins() -> None:
    """List, describe, find, install, check, switch and remove plugins."""


@plugins.command("list")
@click.option("--json", "as_json", is_flag=True, help="Print one array of objects.")
def list_plugins(as_json: bool) -> None:
    """List what is installed: ok, disabled, incompatible or broken, and why; and what it still needs."""
    from stemprover.plugins import installed

    known = installed()
    if as_json:
        click.echo(json.dumps([plugin.to_dict() for plugin in known], indent=2))
        return
    header = ("NAME", "KIND", "VERSION", "STATUS", "ARTIFACTS OR STEMS", "DISTRIBUTION")
    click.echo(_table(header, [_row(plugin) for plugin in known]))
    reasons: dict[str, list[str]] = {}  # several models of one package need the same
    for plugin in known:
        if plugin.reason:
            status = "" if plugin.status == "ok" else f"{plugin.status}: "
            reasons.setdefault(status + plugin.reason, []).append(plugin.name)
    for reason, names in reasons.items():
        click.echo(f"{', '.join(names)}: {reason}")


@plugins.command()
@click.argument("name")
@click.option("--json", "as_json", is_flag=True, help="Print one object.")
def info(name: str, as_json: bool) -> None:
    """Describe one installed plugin, by its name or its distribution's."""
    from stemprover.plugins.chosen import one_chosen

    plugin = one_chosen(name)
    facts = {**plugin.to_dict(), "summary": plugin.summary, **_details(plugin)}
    if as_json:
        click.echo(json.dumps(facts, indent=2))
        return
    width = max(map(len, facts))
    for key, value in facts.items():
        if value not in ("", [], {}):
            click.echo(f"{key:<{width}}  {_shown(value)}")


@plugins.command()
@click.argument("word", default="")
@click.option("--artifact", default="", help="Only plugins that find or repair this artifact.")
@click.option("--stem", default="", help="Only plugins that work on this stem class.")
@registry_option
@click.option("--json", "as_json", is_flag=True, help="Print one array of objects.")
def search(word: str, artifact: str, stem: str, registries: tuple[str, ...], as_json: bool) -> None:
    """Look for plugins in the registry, by a word in their name or summary."""
    from stemprover.plugins import registry

    index = registry(registries)
    found = index.search(word, artifact, stem)
    for remark in (*index.conflicts, *index.notes):
        click.echo(f"stemprover: warning: {remark}", err=True)
    if as_json:
        click.echo(json.dumps([_entry(entry, registries) for entry in found], indent=2))
    elif found:
        rows = [(e.name, e.kind, ", ".join(e.artifacts) or "-", e.summary, _command(e, registries)) for e in found]
        click.echo(_table(("NAME", "KIND", "ARTIFACTS", "SUMMARY", "INSTALL"), rows))
    else:
        click.echo("nothing found")


for command in (*MANAGING_COMMANDS, *AUTHORING_COMMANDS):
    plugins.add_command(command)


def _row(plugin: Plugin) -> tuple[str, ...]:
    what = ", ".join(plugin.stems if plugin.kind == "separator" else plugin.artifacts) or "-"
    status = "ok, needs more" if plugin.status == "ok" and plugin.reason else plugin.status
    return plugin.name, plugin.kind, plugin.version, status, what, plugin.distribution


def _details(plugin: Plugin) -> dict[str, object]:
    from stemprover.plugins import EMBEDDED
    from stemprover.spectral.spec import SPEC

    if plugin in EMBEDDED:
        return {"sample_rate_hz": SPEC.sample_rate, "download_mb": 0}
    manifest = plugin.manifest
    if manifest is None:
        return {}
    return {
        "host": manifest.host,
        "sample_rate_hz": manifest.sample_rate or "",
        "download_mb": manifest.download_size_mb or (0 if plugin.kind == "separator" else ""),
        "base": manifest.base.id if manifest.base else "",
        "metrics": dict(manifest.metrics),
        "folder": str(plugin.folder),
    }


def _entry(entry: RegistryEntry, registries: Sequence[str]) -> dict[str, object]:
    keys = ("name", "kind", "distribution", "summary", "license", "host", "artifacts", "stems", "homepage")
    values = ((key, getattr(entry, key)) for key in keys)
    facts = {key: list(value) if isinstance(value, tuple) else value for key, value in values}
    return {**facts, "install": _command(entry, registries)}


def _command(entry: RegistryEntry, registries: Sequence[str]) -> str:
    """What installs it; ``install`` must be told of a registry that only this command was told of."""
    return f"{entry.install} --registry {shlex.quote(entry.source)}" if entry.source in registries else entry.install


def _shown(value: object) -> str:
    if isinstance(value, list):
        return ", ".join(map(str, value))
    if isinstance(value, dict):
        return ", ".join(f"{key} {number}" for key, number in value.items())
    return str(value)


def _table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Columns as wide as their widest cell; plain text, because a table library takes longer to import than to list."""
    lines = [header, *rows]
    widths = [max(len(line[column]) for line in lines) for column in range(len(header))]
    padded = ("  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)) for line in lines)
    return "\n".join(line.rstrip() for line in padded)
