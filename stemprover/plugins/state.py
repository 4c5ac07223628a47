"""Which plugins the user switched off: one small JSON file in the user's configuration folder."""

from __future__ import annotations

import contextlib
import dataclasses
import json
import os
from pathlib import Path

from stemprover.errors import PluginError

__all__ = ["State", "config_dir", "disable", "enable", "read_state", "state_file"]


@dataclasses.dataclass(frozen=True, slots=True)
class State:
    """Names that are switched off; ``fault`` says why the file could not be read, empty when it could."""

    disabled: frozenset[str] = frozenset()
    fault: str = ""


def config_dir() -> Path:
    """Return the configuration folder: ``STEMPROVER_HOME``, else the platform's own place for such files."""
    if home := os.environ.get("STEMPROVER_HOME"):
        return Path(home).expanduser()
    if xdg := os.environ.get("XDG_CONFIG_HOME"):
        return Path(xdg).expanduser() / "stemprover"
    if os.name == "nt" and (appdata := os.environ.get("APPDATA")):
        return Path(appdata) / "stemprover"
    return Path("~/.config/stemprover").expanduser()


def state_file() -> Path:
    """Return the file that holds the state."""
    return config_dir() / "plugins.json"


def read_state() -> State:
    """Read the state; an absent file means that nothing is switched off. Never raises for a bad file."""
    path = state_file()
    try:
        names = json.loads(path.read_text(encoding="utf-8"))["disabled"]
    except (FileNotFoundError, NotADirectoryError):
        return State()
    except (OSError, ValueError, KeyError, TypeError, RecursionError):
        return State(fault=f"{path} cannot be read; delete it to switch everything on again")
    if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
        return State(fault=f"{path} holds no list of names; delete it to switch everything on again")
    return State(disabled=frozenset(names))


def disable(name: str) -> None:
    """Switch a plugin off, installed or not; nothing of it is imported."""
    _write(_readable().disabled | {name})


def enable(name: str) -> None:
    """Switch a plugin on again."""
    _write(_readable().disabled - {name})


def _readable() -> State:
    state = read_state()
    if state.fault:
        raise PluginError("a readable list of disabled plugins", state.fault, f"delete {state_file()}")
    return state


def _write(disabled: frozenset[str]) -> None:
    path = state_file()
    partial = path.with_name(f"{path.name}.{os.getpid()}.part")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        partial.write_text(json.dumps({"disabled": sorted(disabled)}, indent=2) + "\n", encoding="utf-8")
        partial.replace(path)
    except OSError as error:
        with contextlib.suppress(OSError):
            partial.unlink()
        got = error.strerror or "an error"
        raise PluginError(f"to write {path}", got, "set STEMPROVER_HOME to a folder you may write to") from error
