"""What a user asks to install: a name of a registry, a wheel, a folder, a git address or a commit on the hub."""

from __future__ import annotations

import dataclasses
import difflib
import os
import re
from pathlib import Path

from stemprover.errors import PluginError, PluginNotFoundError
from stemprover.plugins.discovery import EMBEDDED, Plugin, installed
from stemprover.plugins.fields import printable
from stemprover.plugins.hub import HubSource, parse_source
from stemprover.plugins.index import Registry
from stemprover.plugins.origins import came_from_index, requirement_of
from stemprover.plugins.packages import canonical

__all__ = ["Request", "names_a_place", "read_request"]

_NAMED = re.compile(
    r"(?P<name>[A-Za-z0-9][A-Za-z0-9._-]{0,127})(?P<range>(?:[<>=!~]=?|===)[A-Za-z0-9.,*+!<>=~ -]{1,64})?"
)
_GIT = re.compile(r"(?:git\+(?:https|ssh|file)://|https://)[\w./~%+@:-]{1,300}", re.ASCII)


@dataclasses.dataclass(frozen=True, slots=True)
class Request:
    """Where a plugin is: for the installer, or on the hub."""

    requirement: str = ""
    hub: HubSource | None = None


def names_a_place(text: str) -> bool:
    """Tell whether a user named a wheel, a folder or an address rather than a plugin."""
    return "://" in text or _looks_like_path(text)


def read_request(text: str, known: Registry, again: bool = False, upgrade: bool = False) -> Request:
    """Understand one name of ``plugins install``.

    Bare names are looked up in the registries and among what is installed; no other name is asked for in the package
    index, where anyone may have registered it.

    Parameters
    ----------
    again : bool
        Of a plugin that is installed, take what is installed rather than what a registry says.
    upgrade : bool
        Ask for the newest version of a plugin that is installed, not for the one that is there.

    Raises
    ------
    PluginNotFoundError
        No registry knows it, with the nearest name.
    PluginError
        It is a path that does not exist, an address of another kind, or a plugin of which no other version can be
        looked for, because it did not come from the package index.
    """
    if text.startswith("hf:"):
        return Request(hub=parse_source(text))
    if "://" in text:
        return Request(_address(text))
    if _looks_like_path(text):
        return Request(_path(text))
    match = _NAMED.fullmatch(text)
    if match:
        name, versions = match["name"], match["range"] or ""
        there = _there(name, versions) if again else ""
        requirement = there or _registered(name, versions, known) or _there(name, versions, upgrade)
        if requirement.startswith("hf:"):
            return Request(hub=parse_source(requirement))
        if requirement:
            return Request(requirement)
    if Path(text).is_dir():
        return Request(_path(text))
    names = sorted({name for entry in known.entries for name in (entry.name, entry.distribution)})
    near = difflib.get_close_matches(text, names, n=1)
    fix = (
        f"did you mean {near[0]!r}?" if near else "name a wheel, a folder, a git address or hf:owner/repository@commit"
    )
    raise PluginNotFoundError("a plugin of a registry", printable(text), fix)


def _registered(name: str, versions: str, known: Registry) -> str:
    """What to ask for, for a name that a registry knows; empty for any other."""
    for entry in known.entries:
        if name == entry.name or canonical(name) == canonical(entry.distribution):
            return entry.requirement if entry.hub or entry.url else entry.distribution + versions
    return ""


def _there(name: str, versions: str, upgrade: bool = False) -> str:
    """What to ask for, for a plugin that is installed: where it came from, or another version of it."""
    for plugin in installed():
        if plugin not in EMBEDDED and (name == plugin.name or canonical(name) == canonical(plugin.distribution)):
            return _other_version(plugin, versions) if versions or upgrade else requirement_of(plugin)
    return ""


def _other_version(plugin: Plugin, versions: str) -> str:
    """Another version, from the index if this one is: elsewhere the index may hold a stranger's of the same name."""
    if came_from_index(plugin):
        return plugin.distribution + versions
    source = requirement_of(plugin)
    fix = "name the new version's address, file or commit: 'stemprover plugins install ADDRESS'"
    got = f"{plugin.name}, which came from {source or 'an unknown place'}"
    raise PluginError("a plugin that came from the package index, to look for other versions", got, fix)


def _looks_like_path(text: str) -> bool:
    return text.endswith(".whl") or text.startswith((".", "~", "/")) or os.sep in text


def _path(text: str) -> str:
    path = Path(text).expanduser().resolve()
    if not path.exists():
        raise PluginError("a wheel or a folder", f"nothing at {printable(text)}", "check the path")
    if path.is_dir() and not (path / "pyproject.toml").is_file() and not (path / "setup.py").is_file():
        fix = "name the project's folder; 'stemprover plugins pack' makes one of an adapter"
        raise PluginError(f"a project with pyproject.toml in {text}", "none", fix)
    return str(path)


def _address(text: str) -> str:
    """A git address as pip wants it, or that of a wheel."""
    if not _GIT.fullmatch(text):
        raise PluginError("an address such as https://host/project.git", printable(text), "use https, or git+ssh")
    if text.startswith("git+") or text.endswith(".whl"):
        return text
    return f"git+{text}"
