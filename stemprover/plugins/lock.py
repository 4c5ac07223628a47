"""``plugins.lock``: which plugins are installed, exactly, so that they can be brought back.

It lies in the user's configuration folder, outside any environment: after an upgrade of the host, or in a new
environment, ``sync`` installs the same versions from where they came and compares every file. Versions alone would not
say so much: what an index, an address or a folder gives may change.
"""

from __future__ import annotations

import contextlib
import dataclasses
import hashlib
import json
import os
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from stemprover import __version__
from stemprover.errors import PluginError
from stemprover.plugins import fields
from stemprover.plugins.discovery import EMBEDDED, Plugin, installed
from stemprover.plugins.hashing import file_sha256
from stemprover.plugins.hub import parse_source
from stemprover.plugins.install import InstallPlan, plan
from stemprover.plugins.origins import requirement_of
from stemprover.plugins.state import config_dir, disable

__all__ = [
    "Locked",
    "content_sha256",
    "differences",
    "lock_file",
    "plan_sync",
    "read_lock",
    "settle",
    "write_lock",
]

LOCK_VERSION = 1
_MAX_BYTES = 10_000_000
_NAME = r"[A-Za-z0-9][A-Za-z0-9._-]{0,127}"
_SOURCE = re.compile(
    rf"hf:\S+|-e file://\S+|{_NAME}==[A-Za-z0-9.+!_-]+|{_NAME} @ (?:git\+)?(?:https|ssh|file)://\S+", re.ASCII
)


@dataclasses.dataclass(frozen=True, slots=True)
class Locked:
    """One plugin: its name, its distribution and version, where it came from and the hash of all its files."""

    name: str
    distribution: str
    version: str
    source: str
    sha256: str


def lock_file() -> Path:
    """Return the lock's usual place."""
    return config_dir() / "plugins.lock"


def content_sha256(folder: Path) -> str:
    """Return one SHA-256 for all files below a plugin's folder, but for the byte code that Python leaves there."""
    files = (path for path in folder.rglob("*") if path.is_file() and "__pycache__" not in path.parts)
    lines = sorted(f"{path.relative_to(folder).as_posix()} {file_sha256(path)}\n" for path in files)
    return hashlib.sha256("".join(lines).encode()).hexdigest()


def write_lock(path: Path | None = None) -> tuple[tuple[Locked, ...], tuple[Plugin, ...]]:
    """Write what is installed now, disabled plugins too; returns that, and what is too broken to be kept.

    Raises
    ------
    PluginError
        The file cannot be written.
    """
    path = path or lock_file()
    plugins = [(plugin, _lock(plugin)) for plugin in installed() if plugin not in EMBEDDED]
    locked = tuple(one for _, one in plugins if one is not None)
    data = {"version": LOCK_VERSION, "host": __version__, "plugins": [dataclasses.asdict(one) for one in locked]}
    partial = path.with_name(f"{path.name}.{os.getpid()}.part")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        partial.write_text(json.dumps(data, indent=2) + "\n", encoding="utf-8")
        partial.replace(path)
    except OSError as error:
        with contextlib.suppress(OSError):
            partial.unlink()
        raise PluginError(f"to write {path}", error.strerror or "an error", "name another file with --file") from error
    return locked, tuple(plugin for plugin, one in plugins if one is None)


def read_lock(path: Path | None = None) -> tuple[Locked, ...]:
    """Read a lock.

    Raises
    ------
    PluginError
        It is missing, or not a lock of this version.
    """
    path = path or lock_file()
    where = f"a lock in {path}"
    try:
        if path.stat().st_size > _MAX_BYTES:
            raise PluginError(where, f"more than {_MAX_BYTES} bytes", "write it again with 'stemprover plugins lock'")
        data = json.loads(path.read_text(encoding="utf-8"))
        if data["version"] != LOCK_VERSION:
            raise PluginError(where, f"version {fields.printable(data['version'])}", "use the stemprover that wrote it")
        return tuple(_parse(item) for item in data["plugins"])
    except OSError as error:
        fix = "write one with 'stemprover plugins lock'"
        raise PluginError(where, error.strerror or "an unreadable file", fix) from error
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        problem = fields.printable(str(error))
        raise PluginError(where, problem, "write it again with 'stemprover plugins lock'") from error


def differences(locked: Sequence[Locked]) -> list[tuple[Locked, str]]:
    """Return which locked plugins are not here as they were, and in what way."""
    here = {(plugin.distribution, plugin.name): plugin for plugin in installed()}
    found = []
    for one in locked:
        plugin = here.get((one.distribution, one.name))
        if plugin is None or plugin.folder is None:
            found.append((one, "missing"))
        elif plugin.version != one.version:
            found.append((one, f"version {plugin.version}"))
        elif content_sha256(plugin.folder) != one.sha256:
            found.append((one, "other files"))
    return found


def plan_sync(locked: Sequence[Locked]) -> list[InstallPlan]:
    """Plan what brings the locked plugins back; empty when all are here."""
    away = differences(locked)
    adapters = [parse_source(one.source) for one, _ in away if one.source.startswith("hf:")]
    packages = [(one.source, problem) for one, problem in away if not one.source.startswith("hf:")]
    new = [source for source, problem in packages if problem != "other files"]
    changed = [source for source, problem in packages if problem == "other files"]
    plans = [plan(sorted(set(new)), adapters)] if new or adapters else []
    return [*plans, *([plan(sorted(set(changed)), (), reinstall=True)] if changed else [])]


def settle(locked: Sequence[Locked]) -> None:
    """Check after a sync that everything is as locked; what is not is switched off.

    Raises
    ------
    PluginError
        Names the plugins that came with other files than the lock says.
    """
    wrong = [(one, problem) for one, problem in differences(locked) if problem != "missing"]
    for one, _ in wrong:
        disable(one.name)
    missing = [one.name for one, problem in differences(locked) if problem == "missing"]
    if wrong or missing:
        names = [f"{one.name} with {problem}" for one, problem in wrong] + [f"no {name}" for name in missing]
        fix = "what came was switched off; write a new lock if it is what you want"
        raise PluginError("every plugin as the lock says", ", ".join(names), fix)


def _lock(plugin: Plugin) -> Locked | None:
    source = requirement_of(plugin)
    if plugin.status in ("broken", "incompatible") or plugin.folder is None or not _SOURCE.fullmatch(source):
        return None
    sha256 = content_sha256(plugin.folder)
    return Locked(plugin.name, plugin.distribution, plugin.version, source, sha256)


def _parse(item: dict[str, Any]) -> Locked:
    texts = {field.name: item[field.name] for field in dataclasses.fields(Locked)}
    bad = [key for key, value in texts.items() if not isinstance(value, str) or not value.isprintable()]
    if bad or not fields.SHA256.fullmatch(texts["sha256"]) or not _SOURCE.fullmatch(texts["source"]):
        raise ValueError(f"plugin {item.get('name')} without its {(bad or ['source and hash'])[0]}")
    return Locked(**texts)
