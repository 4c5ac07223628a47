"""What there is to check: a project, a package or a wheel, read without importing anything."""

from __future__ import annotations

import dataclasses
import email.parser
import re
import tomllib
import zipfile
import zlib
from configparser import ConfigParser
from configparser import Error as ConfigError
from pathlib import Path
from typing import Any

from stemprover.errors import ManifestError, PluginError
from stemprover.plugins.fields import printable, relative_path
from stemprover.plugins.manifest import MANIFEST_NAME
from stemprover.plugins.packages import ENTRY_POINT_GROUP

__all__ = ["Subject", "opened"]

_MAX_BYTES = 4_000_000_000
_MODULE = re.compile(r"[A-Za-z_]\w*(?:\.[A-Za-z_]\w*)*", re.ASCII)


@dataclasses.dataclass(frozen=True, slots=True)
class Subject:
    """A plugin before it is installed; ``None`` where the place cannot say (a package folder alone).

    Attributes
    ----------
    package : Path
        Folder with the manifest.
    module : str
        The package's dotted name.
    distribution : str
        Name of the distribution, else of the package.
    license, card : str or None
        Licence expression and model card of the distribution.
    entry_points : dict or None
        Those of the group ``stemprover.plugins``.
    unfounded : tuple of str
        Entry points that name no package with a manifest.
    requires, extras : tuple of str or None
        What it depends on, and the extras that it offers.
    """

    package: Path
    module: str
    distribution: str
    license: str | None = None
    card: str | None = None
    entry_points: dict[str, str] | None = None
    requires: tuple[str, ...] | None = None
    extras: tuple[str, ...] | None = None
    unfounded: tuple[str, ...] = ()


def opened(path: Path, scratch: Path) -> tuple[Subject, ...]:
    """Return what is in a project folder, a package folder or a wheel: one subject for each plugin.

    A wheel is unpacked into ``scratch``.

    Raises
    ------
    PluginError
        There is no plugin, or the wheel is damaged or unsafe.
    """
    if path.suffix == ".whl":
        return _wheel(path, scratch)
    if (path / MANIFEST_NAME).is_file():
        return (Subject(path.resolve(), path.resolve().name, path.resolve().name),)
    if (path / "pyproject.toml").is_file():
        return _project(path.resolve())
    fix = "name a project folder, a package folder or a wheel"
    raise PluginError(f"a plugin in {path}", f"neither pyproject.toml nor {MANIFEST_NAME}", fix)


def _project(folder: Path) -> tuple[Subject, ...]:
    file, card = folder / "pyproject.toml", folder / "README.md"
    try:
        data: dict[str, Any] = tomllib.loads(file.read_text(encoding="utf-8"))
        project = data["project"]
        points = {str(key): str(one) for key, one in project.get("entry-points", {}).get(ENTRY_POINT_GROUP, {}).items()}
        name, requires = str(project["name"]), tuple(map(str, project.get("dependencies", ())))
        extras = tuple(map(str, project.get("optional-dependencies", ())))
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        got = printable(f"{type(error).__name__}: {error}", limit=160)
        raise PluginError(f"a table [project] in {file}", got, "mend the file") from error
    try:
        text = card.read_text(encoding="utf-8") if card.is_file() else ""
    except (OSError, UnicodeDecodeError) as error:
        raise PluginError(f"{card} as UTF-8", printable(str(error)), "save it as UTF-8") from error
    licence = project.get("license", "")
    licence = licence if isinstance(licence, str) else ""
    return _subjects(folder, Subject(folder, "", name, licence, text, points, requires, extras))


def _subjects(folder: Path, whole: Subject) -> tuple[Subject, ...]:
    """Return one subject for each package that an entry point names; where none does, for each that is there."""
    points = whole.entry_points or {}
    named = {value: folder.joinpath(*value.split(".")) for value in points.values() if _MODULE.fullmatch(value)}
    found = {module: path for module, path in named.items() if (path / MANIFEST_NAME).is_file()}
    missing = tuple(value for value in points.values() if value not in found)
    if not found:
        below = sorted(path.parent for path in folder.glob(f"*/{MANIFEST_NAME}"))
        found = {path.name: path for path in below}
    if not found:
        raise PluginError(f"a package with {MANIFEST_NAME} in {folder}", "none", "start with 'stemprover plugins new'")
    return tuple(
        dataclasses.replace(whole, package=path, module=module, unfounded=missing) for module, path in found.items()
    )


def _wheel(path: Path, scratch: Path) -> tuple[Subject, ...]:
    try:
        with zipfile.ZipFile(path) as archive:
            _check(archive, path)
            archive.extractall(scratch)
    except (OSError, zipfile.BadZipFile, zlib.error, EOFError, ValueError, RuntimeError) as error:  # damaged, encrypted
        got = printable(f"{type(error).__name__}: {error}", limit=160)
        raise PluginError(f"a whole wheel {path}", got, "build it again with 'pip wheel'") from error
    info = next(iter(sorted(scratch.glob("*.dist-info"))), None)
    if info is None or not (info / "METADATA").is_file():
        raise PluginError(f"a wheel with metadata in {path}", "none", "build it again")
    points = ConfigParser(delimiters=("=",), interpolation=None)
    points.optionxform = str  # type: ignore[assignment,method-assign]  # names keep their case
    try:
        headers = email.parser.Parser().parsestr((info / "METADATA").read_text(encoding="utf-8"))
        points.read(info / "entry_points.txt", encoding="utf-8")
    except (ConfigError, UnicodeDecodeError) as error:
        raise PluginError(f"readable metadata in {path}", printable(str(error)), "build it again") from error
    group = dict(points[ENTRY_POINT_GROUP]) if ENTRY_POINT_GROUP in points else {}
    whole = Subject(
        scratch,
        "",
        str(headers.get("Name", "")),
        str(headers.get("License-Expression", "")),
        str(headers.get_payload()),
        group,
        tuple(map(str, headers.get_all("Requires-Dist", []))),
        tuple(map(str, headers.get_all("Provides-Extra", []))),
    )
    return _subjects(scratch, whole)


def _check(archive: zipfile.ZipFile, path: Path) -> None:
    """Refuse names that would leave the folder, and archives that grow without end."""
    if sum(member.file_size for member in archive.infolist()) > _MAX_BYTES:
        raise PluginError(f"a wheel of at most {_MAX_BYTES} bytes in {path}", "a larger one", "do not install it")
    for member in archive.infolist():
        try:
            relative_path("a file in the wheel", member.filename.rstrip("/"))
        except ManifestError as error:
            raise PluginError(f"files inside the wheel {path}", error.got, "do not install it") from error
