"""Which plugins a user means: by the name of one, or by a distribution's."""

from __future__ import annotations

import difflib
from collections.abc import Sequence

from stemprover.errors import PluginError, PluginNotFoundError
from stemprover.plugins.discovery import EMBEDDED, Plugin, installed
from stemprover.plugins.fields import printable
from stemprover.plugins.packages import canonical
from stemprover.plugins.state import disable, enable, read_state

__all__ = ["chosen", "one_chosen", "switch_off", "switch_on"]


def chosen(name: str, plugins: Sequence[Plugin] | None = None) -> tuple[Plugin, ...]:
    """Return the plugins of a distribution of this name, else those that have the name themselves.

    Raises
    ------
    PluginNotFoundError
        There are none; with the nearest name if one is near.
    """
    known = installed() if plugins is None else plugins
    found = [plugin for plugin in known if canonical(plugin.distribution) == canonical(name)]
    found = found or [plugin for plugin in known if plugin.name == name]
    if found:
        return tuple(found)
    own = sorted({plugin.name for plugin in known if plugin not in EMBEDDED})
    names = sorted({text for plugin in known for text in (plugin.name, plugin.distribution)})
    near = difflib.get_close_matches(name, names, n=1)
    fix = f"did you mean {near[0]!r}?" if near else "see 'stemprover plugins list'"
    raise PluginNotFoundError(f"an installed plugin ({', '.join(own) or 'none'})", printable(name), fix)


def one_chosen(name: str) -> Plugin:
    """Return the one plugin that a user means; of two of one name, the usable one.

    Raises
    ------
    PluginNotFoundError, PluginError
        There is none, or the distribution has several.
    """
    found = chosen(name)
    names = sorted({plugin.name for plugin in found})
    if len(names) > 1:
        raise PluginError(f"one plugin of {name}", ", ".join(names), "name one of these")
    return next((plugin for plugin in found if plugin.status == "ok"), found[0])


def switch_off(name: str) -> tuple[str, ...]:
    """Switch off one plugin, or all of a distribution; returns their names.

    Raises
    ------
    PluginNotFoundError, PluginError
        Nothing of this name is installed, or it is a part of the host.
    """
    found = chosen(name)
    if any(plugin in EMBEDDED for plugin in found):
        fix = "it is used only where it is asked for; choose another one with --vocoder or --separator"
        raise PluginError("a plugin that was installed", f"{name}, a part of stemprover", fix)
    names = tuple(sorted({plugin.name for plugin in found}))
    for one in names:
        disable(one)
    return names


def switch_on(name: str) -> tuple[str, ...]:
    """Switch on again what is installed, or what was and is still switched off; returns the names.

    Raises
    ------
    PluginNotFoundError
        Nothing of this name is installed or switched off.
    """
    gone = name in read_state().disabled
    names = (name,) if gone else tuple(sorted({plugin.name for plugin in chosen(name)}))
    for one in names:
        enable(one)
    return names
