"""Use a plugin: check that it may be used, import the code of code plugins, and keep their faults as data."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterable
from typing import Any

from stemprover.errors import BaseMismatchError, PluginError, StemProverError
from stemprover.plugins.base import BaseIdentity, base_identity, host_spectral_spec
from stemprover.plugins.discovery import Plugin
from stemprover.plugins.fields import printable
from stemprover.plugins.hashing import verify_files
from stemprover.plugins.output import printing_to_stderr

__all__ = ["Fault", "create", "is_factory", "load", "load_all", "require_usable", "why_none"]


@dataclasses.dataclass(frozen=True, slots=True)
class Fault:
    """A plugin that was skipped, and why."""

    name: str
    reason: str


def require_usable(plugin: Plugin, base: BaseIdentity | None = None) -> Plugin:
    """Return the plugin if it may be used.

    Raises
    ------
    BaseMismatchError
        It was trained for another base or spectral spec.
    PluginError
        It is disabled, made for another host, or broken.
    """
    if plugin.status == "ok":
        return plugin
    manifest = plugin.manifest
    if plugin.status == "incompatible" and manifest is not None and manifest.base is not None:
        host = base_identity() if base is None else base
        if manifest.base.sha256 != host.sha256 or manifest.spectral_spec != host_spectral_spec():
            expected = f"adapter {plugin.name} to fit base {host.id or '(none)'}"
            raise BaseMismatchError(expected, plugin.reason, f"leave it out with --without {plugin.name}")
    fix = f"see 'stemprover plugins info {plugin.name}'"
    raise PluginError(f"plugin {plugin.name} to be usable", f"status {plugin.status} ({plugin.reason})", fix)


def load(plugin: Plugin) -> Any:
    """Import a code plugin and return the object that its ``entry`` names, as it is.

    The files that its manifest lists are checked first. What the plugin prints while it is imported goes to standard
    error, so that ``--json`` output stays JSON.

    Raises
    ------
    PluginError
        The plugin is not usable, is data only, or failed in any way, ``sys.exit`` included.
    """
    require_usable(plugin)
    entry = plugin.manifest.entry if plugin.manifest else ""
    if not entry:
        raise PluginError("a plugin with code", f"{plugin.name} of kind {plugin.kind}", "use it by name")
    verify_files(plugin)
    return _guarded(plugin, "import", lambda: _import(entry))


def create(plugin: Plugin) -> Any:
    """Load a code plugin and return its object: what the entry builds when it is a factory, else the entry itself.

    Raises
    ------
    PluginError
        As :func:`load`, or the factory failed.
    """
    made = load(plugin)
    return _guarded(plugin, "start", made) if is_factory(made) else made


def load_all(plugins: Iterable[Plugin]) -> tuple[dict[str, Any], tuple[Fault, ...]]:
    """Create the object of each plugin; one that fails becomes a fault and the rest go on."""
    objects: dict[str, Any] = {}
    faults: list[Fault] = []
    for plugin in plugins:
        try:
            objects[plugin.name] = create(plugin)
        except StemProverError as error:
            faults.append(Fault(plugin.name, str(error)))
    return objects, tuple(faults)


def why_none(kind: str, plugins: Iterable[Plugin], faults: Iterable[Fault]) -> str:
    """Say why no plugin of a kind can be used: what failed, what is switched off or broken; empty if none is there."""
    off = (Fault(plugin.name, plugin.reason) for plugin in plugins if plugin.kind == kind and plugin.status != "ok")
    return "; ".join(f"{one.name}: {one.reason}" for one in (*faults, *off))


def _import(entry: str) -> Any:
    from importlib import import_module

    module, _, attribute = entry.partition(":")
    imported = import_module(module)
    return getattr(imported, attribute) if attribute else imported


def is_factory(made: object) -> bool:
    """Tell whether an entry is a class or function that builds the object, not the object itself."""
    import inspect

    return inspect.isclass(made) or inspect.isroutine(made)


def _guarded(plugin: Plugin, step: str, call: Callable[[], Any]) -> Any:
    try:
        with printing_to_stderr():
            return call()
    except (Exception, SystemExit) as error:  # a plugin that exits must not end the host; Ctrl-C still does
        got = f"{type(error).__name__}: {printable(str(error), limit=200)}"
        fix = f"'stemprover plugins disable {plugin.name}' leaves it out"
        raise PluginError(f"plugin {plugin.name} to {step}", got, fix) from error
