"""Find installed plugin packages through their distributions' metadata, without importing anything.

``importlib.metadata.entry_points()`` would be shorter, but one malformed ``entry_points.txt`` anywhere in the
environment makes it raise for everybody. Here each distribution is read on its own and its faults are kept as data.
"""

from __future__ import annotations

import dataclasses
import json
import re
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from stemprover.plugins.fields import COMMIT, HUB_ID
from stemprover.plugins.manifest import MANIFEST_NAME
from stemprover.plugins.state import config_dir

if TYPE_CHECKING:
    from importlib.metadata import Distribution

__all__ = [
    "DISTRIBUTION",
    "ENTRY_POINT_GROUP",
    "ORIGIN_NAME",
    "Package",
    "canonical",
    "folder_package",
    "folder_source",
    "installed_packages",
    "is_hub_folder",
    "user_folder",
]

ENTRY_POINT_GROUP = "stemprover.plugins"
ORIGIN_NAME = "origin.json"
"""Beside the manifest of an adapter from the hub: its repository and commit."""
DISTRIBUTION = re.compile(r"[A-Za-z0-9](?:[A-Za-z0-9._-]{0,126}[A-Za-z0-9])?")
_PACKAGE = re.compile(r"[A-Za-z_]\w*(?:\.[A-Za-z_]\w*)*", re.ASCII)
_HEADERS = {"name", "version"}


@dataclasses.dataclass(frozen=True, slots=True)
class Package:
    """One entry of the group: a name, the distribution that declares it and the folder of its package.

    ``fault`` says why there is no ``folder``; empty when there is one. ``data_only`` marks what did not come through an
    installer, so that none of its code may run.
    """

    name: str
    distribution: str
    version: str
    folder: Path | None
    fault: str = ""
    data_only: bool = False


def installed_packages() -> tuple[Package, ...]:
    """List all packages of the entry-point group, sorted by distribution and name, then adapters from the hub.

    The order does not depend on the file system, so it is always the same one that wins a disputed name. Of a
    distribution that is on ``sys.path`` more than once, the first counts, as for imports.
    """
    from importlib.metadata import distributions  # 20 ms: not at import, ``--help`` does not need it

    found: dict[str, list[Package]] = {}
    for distribution in distributions():
        text = _read(distribution, "entry_points.txt")
        if ENTRY_POINT_GROUP not in text:
            continue
        headers = _headers(_read(distribution, "METADATA") or _read(distribution, "PKG-INFO"))
        name = headers.get("name") or "(unnamed)"
        found.setdefault(canonical(name), list(_packages(distribution, name, headers.get("version", ""), text)))
    packages = (package for key in sorted(found) for package in found[key])
    ordered = sorted(packages, key=lambda package: (package.distribution.lower(), package.name))
    return (*ordered, *_folder_packages())


def canonical(distribution: str) -> str:
    """Return the one spelling of a distribution's name."""
    return re.sub(r"[-_.]+", "-", distribution).lower()


def user_folder() -> Path:
    """Return the folder that holds adapters from the hub; it belongs to the user, not to an environment."""
    return config_dir() / "plugins"


def is_hub_folder(folder: Path) -> bool:
    """Tell whether a plugin's folder lies in :func:`user_folder`."""
    return folder.parent == user_folder()


def folder_source(folder: Path) -> str:
    """Return ``hf:owner/repository@commit`` of a folder of :func:`user_folder`, empty when it is not known."""
    try:
        origin = json.loads((folder / ORIGIN_NAME).read_bytes()[:4096].decode("utf-8"))
        repository, revision = origin["hub"], origin["revision"]
        known = HUB_ID.fullmatch(repository) and COMMIT.fullmatch(revision)
    except (OSError, ValueError, KeyError, TypeError, RecursionError):
        return ""
    return f"hf:{repository}@{revision}" if known else ""


def folder_package(folder: Path) -> Package:
    """Describe a folder of :func:`user_folder`; its version is the commit."""
    shown = (folder.name if folder.name.isprintable() else ascii(folder.name))[:64]
    repository, _, revision = folder_source(folder).partition("@")
    return Package(shown, repository or f"folder {shown}", revision[:12], folder, data_only=True)


def _folder_packages() -> Iterator[Package]:
    try:
        folders = sorted(path for path in user_folder().iterdir() if path.is_dir() and not path.name.startswith("."))
    except OSError:  # usually there is none
        return
    yield from map(folder_package, folders)


def _read(distribution: Distribution, name: str) -> str:
    try:
        return distribution.read_text(name) or ""
    except (OSError, ValueError):
        return ""


def _headers(metadata: str) -> dict[str, str]:
    """Read name and version from the head of core metadata; parsing all of it as e-mail takes ten times longer."""
    headers: dict[str, str] = {}
    for line in metadata.splitlines():
        if not line:  # the long description follows
            break
        key, _, value = line.partition(":")
        if key.lower() in _HEADERS and value.strip().isprintable():
            headers.setdefault(key.lower(), value.strip()[:128])
    return headers


def _entries(text: str) -> Iterator[tuple[str, str]]:
    """Yield ``name, value`` of our group's section."""
    section = ""
    for line in map(str.strip, text.splitlines()):
        if line.startswith("[") and line.endswith("]"):
            section = line[1:-1].strip()
        elif section == ENTRY_POINT_GROUP and line and not line.startswith(("#", ";")):
            name, _, value = line.partition("=")
            yield name.strip(), value.strip()


def _packages(distribution: Distribution, name: str, version: str, text: str) -> Iterator[Package]:
    for entry, value in _entries(text):
        shown = entry if entry.isprintable() and entry else ascii(entry)
        if not _PACKAGE.fullmatch(value):
            fault = f"entry point {value!a} is not the name of a package"
            yield Package(shown[:64], name, version, None, fault)
            continue
        folder = _locate(distribution, value)
        fault = "" if folder else f"package {value} with {MANIFEST_NAME} is not where {name} says; reinstall {name}"
        yield Package(shown[:64], name, version, folder, fault)


def _locate(distribution: Distribution, package: str) -> Path | None:
    """Return the folder of a package that holds a manifest, or of the package at all, without importing it."""
    parts = package.split(".")
    beside = Path(str(distribution.locate_file("/".join(parts))))
    if (beside / MANIFEST_NAME).exists():  # a wheel; no other package of that name can come between
        return beside
    return next(_editable_folders(parts), beside if beside.is_dir() else None)


def _editable_folders(parts: list[str]) -> Iterator[Path]:
    """Yield the folders where the import system would find a package of an editable install.

    ``find_spec`` imports the parents of a dotted name, so only the top level is asked for.
    """
    from importlib.util import find_spec

    try:
        spec = find_spec(parts[0])
        locations: Iterable[str] = list(spec.submodule_search_locations or ()) if spec else ()
    except Exception:  # another package's finder may raise anything
        return
    for location in locations:
        folder = Path(location).joinpath(*parts[1:])
        if folder.is_dir():
            yield folder
