"""Which separator a name means: the embedded one, or a plugin's."""

from __future__ import annotations

from collections.abc import Sequence

from stemprover.errors import OptionError, PluginError
from stemprover.plugins import Plugin, PluginRunner, installed
from stemprover.plugins.missing import missing_modules
from stemprover.separation.base import HostedSeparator
from stemprover.separation.embedded import EmbeddedSeparator
from stemprover.separation.guarded import GuardedSeparator

__all__ = ["choose_separator"]


def choose_separator(name: str, plugins: Sequence[Plugin] | None = None) -> HostedSeparator:
    """Return a separator by name; the code of separator plugins is loaded for other names than the host's only.

    What a plugin makes is handed out behind a guard: see :mod:`stemprover.separation.guarded`.

    Raises
    ------
    OptionError
        Nobody calls a separator that.
    PluginError
        The plugin of this name cannot be used, lacks a package that it wraps, or what it gives is no separator.
    """
    embedded = EmbeddedSeparator()
    if name == embedded.name:
        return embedded
    everything = installed() if plugins is None else plugins
    known = [plugin for plugin in everything if plugin.kind == "separator" and plugin.manifest is not None]
    named = [plugin for plugin in known if plugin.name == name]
    for plugin in named:
        _require_modules(plugin)
    runner = PluginRunner(named or known)
    found = runner.separators()
    if name in found:
        owner = next(plugin for plugin in known if plugin.name == runner.owner(found[name]))
        if owner not in named:
            _require_modules(owner)
        fetches = owner.manifest is not None and owner.manifest.download_size_mb > 0
        return GuardedSeparator(found[name], name, runner, owner.contents, fetches)
    for fault in runner.faults:
        if fault.name == name:
            if (told := runner.own_error(name)) is not None:
                raise told
            fix = f"see 'stemprover plugins info {name}'; --separator light needs nothing"
            raise PluginError(f"separator {name} to start", fault.reason, fix)
    for plugin in named:
        fix = f"see 'stemprover plugins info {name}'"
        raise PluginError(f"separator {name} to be usable", f"status {plugin.status} ({plugin.reason})", fix)
    names = ", ".join([embedded.name, *sorted(found)])
    fix = "choose one of these, or see 'stemprover plugins search separator'"
    raise OptionError(f"a separator that is installed ({names})", f"'{name}'", fix)


def _require_modules(plugin: Plugin) -> None:
    """Find out before the first song what the plugin would find out at each: it imports what it wraps when it works."""
    missing = missing_modules(plugin.manifest) if plugin.status == "ok" and plugin.manifest is not None else None
    if missing is not None:
        fix = f"run: pip install {missing.requirements}, or use --separator light"
        raise PluginError(f"separator {plugin.name} with all that it wraps", f"one that {missing.what}", fix)
