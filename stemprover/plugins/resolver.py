"""The running environment's own installer, pip or uv: what would change, change it, take something out.

Nothing of resolving or unpacking is done here. The host, all plugins and what is asked for go into one resolution, so
that a new plugin cannot break an old one or the host without that being in the plan.
"""

from __future__ import annotations

import dataclasses
import json
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterable, Mapping, Sequence
from importlib import invalidate_caches, metadata
from importlib.util import find_spec
from pathlib import Path

from stemprover.errors import PluginError
from stemprover.plugins.fields import printable
from stemprover.plugins.packages import DISTRIBUTION, canonical

__all__ = ["PROTECTED", "Change", "apply", "installed_version", "resolve", "uninstall"]

PROTECTED = ("stemprover", "torch")
"""What an installation of plugins must not move."""

_UV_LINE = re.compile(r"\s*([+~-])\s+([A-Za-z0-9][\w.-]*)(?:==| @ )(\S+)(?:\s+\(from .+\))?", re.ASCII)
_WHEEL_VERSION = re.compile(r".*/[^/]+?-([^-/]+)(?:-[^-/]+){3,4}\.whl")
_NOWHERE = re.compile(r"from versions: none|was not found in the (?:package registry|provided package locations|cache)")
_NEXT = {
    "missing": "no package index that was asked has it: name another with PIP_EXTRA_INDEX_URL (pip) or UV_INDEX (uv), "
    "or a wheel, a folder or a git address",
    "install": "see what is installed with 'stemprover plugins list', or ask for another version with NAME==VERSION",
    "uninstall": "leave it out with 'stemprover plugins disable NAME', or delete its folders in site-packages",
}
_VERSION = re.compile(r"[A-Za-z0-9.!+_-]+", re.ASCII)


@dataclasses.dataclass(frozen=True, slots=True)
class Change:
    """One distribution that would be installed (``before`` empty), replaced or removed (``after`` empty)."""

    name: str
    before: str
    after: str

    @property
    def protected(self) -> bool:
        """Whether it is the host itself or torch that would move."""
        return canonical(self.name) in PROTECTED

    def __str__(self) -> str:
        if not self.before:
            return f"{self.name} {self.after}: new"
        return f"{self.name} {self.before}: removed" if not self.after else f"{self.name} {self.before} -> {self.after}"


def installed_version(distribution: str) -> str:
    """Return the version of an installed distribution, empty when there is none."""
    try:
        return metadata.version(distribution) or ""
    except (metadata.PackageNotFoundError, ValueError):
        return ""


def resolve(requirements: Sequence[str], plugins: Iterable[str], *, upgrade: bool, reinstall: bool) -> list[Change]:
    """Ask the installer what it would do; nothing is changed.

    Parameters
    ----------
    requirements : sequence of str
        What to install, as pip understands it.
    plugins : iterable of str
        Distributions that are installed and shall go on working.
    upgrade : bool
        Prefer newer versions of ``requirements``.
    reinstall : bool
        Install them even if they are there, and nothing else.

    Raises
    ------
    PluginError
        There is no installer, or it finds no solution; with its own words.
    """
    arguments = ["--dry-run", *_arguments(requirements, plugins, upgrade, reinstall)]
    if not _has_pip():
        return _read_uv(_run("install", arguments).stderr)
    report = json.loads(_run("install", ["--quiet", "--report", "-", *arguments]).stdout)
    planned = ((item["metadata"]["name"], item["metadata"]["version"]) for item in report["install"])
    return [Change(name, installed_version(name), version) for name, version in planned]


def apply(
    requirements: Sequence[str], plugins: Iterable[str], changes: Iterable[Change], *, upgrade: bool, reinstall: bool
) -> None:
    """Install what :func:`resolve` said, in exactly those versions.

    Raises
    ------
    PluginError
        The installer failed; with its own words.
    """
    with tempfile.TemporaryDirectory(prefix="stemprover-") as folder:
        pins = Path(folder) / "constraints.txt"
        exact = (change for change in changes if _VERSION.fullmatch(change.after))
        lines = (f"{change.name}=={change.after}\n" for change in exact)
        pins.write_text("".join(lines), encoding="utf-8")
        _run("install", ["--constraint", str(pins), *_arguments(requirements, plugins, upgrade, reinstall)])
    invalidate_caches()


def uninstall(distributions: Iterable[str]) -> None:
    """Remove installed distributions; none of their code is run.

    Raises
    ------
    PluginError
        The installer failed, or cannot remove it, because its metadata are damaged for example.
    """
    names = list(distributions)
    for name in names:
        if not DISTRIBUTION.fullmatch(name):
            fix = "delete its folders in site-packages"
            raise PluginError("a distribution with a name", printable(name), fix)
    _run("uninstall", ["--yes", *names] if _has_pip() else names)
    invalidate_caches()


def _arguments(requirements: Sequence[str], plugins: Iterable[str], upgrade: bool, reinstall: bool) -> list[str]:
    wanted = [part for one in requirements for part in _as_arguments(one)]
    if reinstall:  # dependencies are there already, and must not be installed again
        return ["--no-deps", "--force-reinstall", *wanted]
    kept = {name: installed_version(name) for name in ("stemprover", *plugins)}
    if upgrade:  # means all that is named, hence the versions
        named = {canonical(re.split(r"[<>=!~ ]", one)[0]) for one in requirements}
        pins = [f"{name}=={version}" for name, version in kept.items() if version and canonical(name) not in named]
        return ["--upgrade", *pins, *wanted]
    return [*(name for name, version in kept.items() if version), *wanted]


def _as_arguments(requirement: str) -> tuple[str, ...]:
    name, _, address = requirement.partition(" @ ")
    if address.startswith("git+file://"):  # pip before 24.1 wants a host in an address that has a name before it
        return (address,)
    return ("-e", name[3:]) if requirement.startswith("-e ") else (requirement,)


def _has_pip() -> bool:
    return find_spec("pip") is not None


def _run(verb: str, arguments: Sequence[str]) -> subprocess.CompletedProcess[str]:
    """Run pip if this environment has it, else uv on this environment."""
    if _has_pip():
        command = [sys.executable, "-m", "pip", verb, "--disable-pip-version-check", "--no-input"]
    else:
        command = [_uv(), "pip", verb, "--python", sys.executable]
    done = subprocess.run([*command, *arguments], capture_output=True, text=True, check=False)
    if done.returncode != 0:
        tool = "pip" if _has_pip() else "uv"
        reason = _reason(done.stderr or done.stdout)
        fix = f"nothing was changed; {_NEXT['missing' if _NOWHERE.search(reason) else verb]}"
        raise PluginError(f"{tool} {verb} to find a way", reason, fix)
    return done


def _uv() -> str:
    uv = shutil.which("uv")
    if uv is None:
        fix = f"run '{Path(sys.executable).name} -m ensurepip', or install uv"
        raise PluginError("pip or uv to install with", "neither in this environment", fix)
    return uv


def _reason(text: str) -> str:
    """The installer's own words, shortened: its errors if it marks them, else its last line."""
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    marked = [line.partition(": ")[2] for line in lines if line.startswith(("ERROR: ", "error: ", "cause: "))]
    return printable(" ".join(marked or lines[-1:]), limit=400)


def _read_uv(text: str) -> list[Change]:
    """Read uv's list of lines such as ``+ name==version`` or ``+ name @ address``; what is replaced has two."""
    found: dict[str, dict[str, str]] = {}
    for line in text.splitlines():
        match = _UV_LINE.fullmatch(line)
        if match:
            wheel = _WHEEL_VERSION.fullmatch(match[3])
            found.setdefault(match[2], {})[match[1]] = wheel[1] if wheel else match[3]
    return [_uv_change(name, signs) for name, signs in found.items()]


def _uv_change(name: str, signs: Mapping[str, str]) -> Change:
    same = signs.get("~", "")
    return Change(name, signs.get("-", same), signs.get("+", same))
