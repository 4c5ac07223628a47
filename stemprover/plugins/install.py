"""Install and uninstall plugins: first a plan that can be shown, then the change, then a look at the result.

No plugin is imported on the way. A source folder and a git address are built by the installer, which runs the build
code in them; wheels and adapters on the hub are only unpacked.
"""

from __future__ import annotations

import dataclasses
import shutil
from collections.abc import Iterable, Sequence
from pathlib import Path

from stemprover.errors import PluginError
from stemprover.plugins import resolver
from stemprover.plugins.chosen import chosen
from stemprover.plugins.discovery import EMBEDDED, Plugin, installed
from stemprover.plugins.fields import printable
from stemprover.plugins.hub import HubSource, fetch_adapter, install_adapter, read_hub_manifest, require_free_name
from stemprover.plugins.index import Registry
from stemprover.plugins.packages import DISTRIBUTION, canonical, is_hub_folder
from stemprover.plugins.requests import names_a_place, read_request
from stemprover.plugins.resolver import Change
from stemprover.plugins.state import enable, read_state

__all__ = ["InstallPlan", "plan", "plan_requests", "uninstall"]


@dataclasses.dataclass(frozen=True, slots=True)
class InstallPlan:
    """What an installation would do.

    Attributes
    ----------
    requirements : tuple of str
        For pip or uv.
    adapters : tuple of HubSource
        From the hub.
    changes : tuple of Change
        Every distribution and adapter that would be new or another.
    """

    requirements: tuple[str, ...]
    adapters: tuple[HubSource, ...]
    changes: tuple[Change, ...]
    upgrade: bool = False
    reinstall: bool = False

    def require_host_unchanged(self) -> None:
        """Check that neither the host nor torch would move.

        Raises
        ------
        PluginError
            Names what would move, from which version to which.
        """
        moved = [str(change) for change in self.changes if change.protected]
        if moved:
            fix = "use another version of the plugin, or allow it with --allow-host-changes"
            raise PluginError(f"{' and '.join(resolver.PROTECTED)} to stay as they are", ", ".join(moved), fix)

    def apply(self) -> tuple[Plugin, ...]:
        """Install, and return the plugins that came or changed, whatever their status.

        Raises
        ------
        PluginError
            The installer failed, or an adapter cannot be fetched; what was there before is still there.
        """
        for source in self.adapters:
            fetch_adapter(source)  # what can fail does so before anything is changed
        packages = [change for change in self.changes if not change.name.startswith("hf:")]
        if self.requirements and packages:
            resolver.apply(self.requirements, _kept(), packages, upgrade=self.upgrade, reinstall=self.reinstall)
        fetched = [install_adapter(source) for source in self.adapters]
        names = {canonical(change.name) for change in self.changes} | {plugin.distribution for plugin in fetched}
        return tuple(plugin for plugin in installed() if {canonical(plugin.distribution), plugin.distribution} & names)


def plan_requests(
    texts: Iterable[str], known: Registry, *, upgrade: bool = False, reinstall: bool = False
) -> InstallPlan:
    """Plan the installation of what a user names; see :func:`stemprover.plugins.requests.read_request`.

    Raises
    ------
    PluginError
        Something cannot be found, read or made to fit together with what is installed; nothing was changed.
    """
    asked = list(texts)
    placed = [text for text in asked if upgrade and names_a_place(text)]
    if placed:
        fix = "leave --upgrade out: a wheel, a folder or an address says itself which version it is"
        raise PluginError("names beside --upgrade", printable(placed[0]), fix)
    requests = [read_request(text, known, again=reinstall, upgrade=upgrade) for text in asked]
    requirements = [request.requirement for request in requests if request.requirement]
    adapters = [request.hub for request in requests if request.hub]
    return plan(requirements, adapters, upgrade=upgrade, reinstall=reinstall)


def plan(
    requirements: Sequence[str], adapters: Sequence[HubSource], *, upgrade: bool = False, reinstall: bool = False
) -> InstallPlan:
    """Plan the installation of requirements and adapters; as :func:`plan_requests`."""
    adapters = list(dict.fromkeys(adapters))
    changes: list[Change] = []
    if requirements:
        changes += resolver.resolve(requirements, _kept(), upgrade=upgrade, reinstall=reinstall)
    named: dict[str, HubSource] = {}
    for source in adapters:
        name = read_hub_manifest(source).name
        other = named.setdefault(name, source)
        if other != source:
            fix = "install one of the two"
            raise PluginError(f"one adapter of the name {name}", f"{other} and {source}", fix)
        old = require_free_name(source, name)
        changes.append(Change(f"hf:{source.repository}", old.version if old else "", source.revision[:12]))
    return InstallPlan(tuple(requirements), tuple(adapters), tuple(changes), upgrade, reinstall)


def uninstall(names: Iterable[str]) -> tuple[Plugin, ...]:
    """Remove plugins by their names or their distributions'; returns all plugins that went with them.

    Raises
    ------
    PluginNotFoundError
        Nothing of a name is installed; nothing was removed.
    PluginError
        Several are, or it is a part of the host; nothing was removed. Or the installer could not remove it.
    """
    known = installed()
    asked = [_removable(name, known) for name in names]
    folders = {plugin.folder for plugin in asked if plugin.folder and is_hub_folder(plugin.folder)}
    packages = {plugin.distribution for plugin in asked if plugin.folder not in folders}
    if packages:  # the installer may refuse; then nothing is gone
        resolver.uninstall(sorted(packages))
    for folder in folders:
        _remove_folder(folder)
    left = [plugin for plugin in installed() if plugin.folder in folders or plugin.distribution in packages]
    if left:
        where = str(left[0].folder or "a folder outside this environment")
        fix = "remove it the way it was put there"
        raise PluginError(f"{left[0].name} to be gone", f"it is still in {where}", fix)
    gone = tuple(plugin for plugin in known if plugin.folder in folders or plugin.distribution in packages)
    for plugin in gone:
        if plugin.name in read_state().disabled:
            enable(plugin.name)  # a plugin that is installed again starts anew
    return gone


def _removable(name: str, known: Sequence[Plugin]) -> Plugin:
    found = chosen(name, known)
    distributions = sorted({plugin.distribution for plugin in found})
    if len(distributions) > 1:
        raise PluginError(f"one plugin of the name {name}", " and ".join(distributions), "name the distribution")
    if found[0] in EMBEDDED:
        fix = "it goes with stemprover itself; 'stemprover plugins list' shows what can be removed"
        raise PluginError("a plugin that was installed", f"{name}, a part of stemprover", fix)
    return found[0]


def _remove_folder(folder: Path) -> None:
    gone = folder.with_name(f".{folder.name}.gone")
    try:
        shutil.rmtree(gone, ignore_errors=True)
        folder.rename(gone)  # in one step, so that nothing half-removed is ever listed
        shutil.rmtree(gone)
    except OSError as error:
        raise PluginError(f"to remove {folder}", error.strerror or "an error", "delete it by hand") from error


def _kept() -> list[str]:
    """Distributions of all plugins, which must go on working beside what is new."""
    names = {plugin.distribution for plugin in installed()}
    return sorted(name for name in names if DISTRIBUTION.fullmatch(name) and name != "stemprover")
