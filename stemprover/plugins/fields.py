"""Checks of single manifest fields.

They are written by hand: a JSON Schema library takes longer to import than all manifests take to read, and its messages
do not say what to do. Every check returns the value in its final type or raises :class:`ManifestError`.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from typing import Any

from stemprover.errors import ManifestError

__all__ = [
    "ARTIFACT",
    "COMMIT",
    "ENTRY",
    "HUB_ID",
    "MODULE",
    "NAME",
    "REQUIREMENT",
    "SHA256",
    "SPEC_DIGEST",
    "STEM",
    "fail",
    "hashes",
    "metrics",
    "names",
    "needs",
    "number",
    "one_line",
    "optional_text",
    "printable",
    "relative_path",
    "text",
]

NAME = re.compile(r"[a-z0-9][a-z0-9._-]{0,63}")
ARTIFACT = re.compile(r"[a-z][a-z0-9-]{0,31}(?:/[a-z][a-z0-9-]{0,31}){0,3}")
STEM = re.compile(r"[a-z][a-z0-9-]{0,31}")
SHA256 = re.compile(r"[0-9a-f]{64}")
MODULE = re.compile(r"[A-Za-z_]\w{0,63}", re.ASCII)
REQUIREMENT = re.compile(r"[A-Za-z0-9](?:[A-Za-z0-9._-]{0,94}[A-Za-z0-9])?(?:\[[a-z0-9]+(?:[,_-][a-z0-9]+)*\])?")
SPEC_DIGEST = re.compile(r"sha256:[0-9a-f]{64}")
COMMIT = re.compile(r"[0-9a-f]{40}")
HUB_ID = re.compile(r"[A-Za-z0-9][\w.-]{0,95}/[A-Za-z0-9][\w.-]{0,95}", re.ASCII)
ENTRY = re.compile(r"[A-Za-z_]\w*(?:\.[A-Za-z_]\w*)*(?::[A-Za-z_]\w*)?", re.ASCII)

# Nothing that runs code when it is opened: no pickle in any of its disguises (.bin, .pt, .ckpt, .npy with objects).
_FILE_SUFFIXES = frozenset({".safetensors", ".json", ".onnx", ".skops", ".md", ".txt", ".yaml"})
_MAX_ITEMS = 256


def printable(value: object, limit: int = 80) -> str:
    """Show untrusted data inside a message: one line, no control characters, at most ``limit`` characters."""
    try:
        shown = ascii(value)
    except RecursionError:  # nested just little enough to be read
        return f"a deeply nested {type(value).__name__}"
    return shown if len(shown) <= limit else shown[: limit - 3] + "..."


def fail(key: str, expected: str, value: object) -> ManifestError:
    """Return the error for a field; the caller raises it."""
    return ManifestError(f"key {key!r} to be {expected}", printable(value), "fix stemprover.json")


def text(data: Mapping[str, Any], key: str, pattern: re.Pattern[str], expected: str) -> str:
    """Return a required string that matches a pattern as a whole."""
    value = data.get(key)
    if not isinstance(value, str) or not pattern.fullmatch(value):
        raise fail(key, expected, value)
    return value


def optional_text(data: Mapping[str, Any], key: str, pattern: re.Pattern[str], expected: str) -> str:
    """Return a string that matches a pattern as a whole, empty when the key is absent."""
    return text(data, key, pattern, expected) if data.get(key) not in (None, "") else ""


def number(data: Mapping[str, Any], key: str, low: float, high: float, expected: str, kind: type = int) -> Any:
    """Return a number of this ``kind`` between two bounds, 0 when the key is absent or null."""
    value: Any = 0 if data.get(key) is None else data[key]
    fits = isinstance(value, kind if kind is int else int | float) and not isinstance(value, bool)
    if not fits or not (value == 0 or low <= value <= high):  # NaN lies between no bounds
        raise fail(key, expected, value)
    return value


def one_line(data: Mapping[str, Any], key: str, limit: int = 200) -> str:
    """Return a required, non-empty, printable string: it goes to terminals, so it may not carry escape sequences."""
    value = data.get(key)
    if not isinstance(value, str) or not value.strip() or len(value) > limit or not value.isprintable():
        raise fail(key, f"one line of 1 to {limit} printable characters", value)
    return value


def names(data: Mapping[str, Any], key: str, pattern: re.Pattern[str], expected: str) -> tuple[str, ...]:
    """Return an optional list of distinct names."""
    value = data.get(key, [])
    if not isinstance(value, list) or len(value) > _MAX_ITEMS:
        raise fail(key, f"a list of {expected}", value)
    for item in value:
        if not isinstance(item, str) or not pattern.fullmatch(item):
            raise fail(key, f"a list of {expected}", item)
    if len(set(value)) != len(value):
        raise fail(key, f"a list of distinct {expected}", value)
    return tuple(value)


def relative_path(key: str, value: object) -> str:
    """Return a POSIX path that stays below the folder it is relative to, on any platform."""
    if not isinstance(value, str) or not value or len(value) > 255 or not value.isprintable():
        raise fail(key, "a relative path inside the package", value)
    parts = value.split("/")
    if "\\" in value or ":" in value or value.startswith("/") or any(part in {"", ".", ".."} for part in parts):
        raise fail(key, "a relative path inside the package", value)
    return value


def hashes(data: Mapping[str, Any], key: str = "files") -> dict[str, str]:
    """Return the optional table of files, relative path to SHA-256; pickle-based formats are refused."""
    value = data.get(key, {})
    if not isinstance(value, dict) or len(value) > _MAX_ITEMS:
        raise fail(key, "an object of paths and SHA-256 sums", value)
    for path, digest in value.items():
        relative_path(key, path)
        name = path.rsplit("/", 1)[-1]
        if name[name.rfind(".") :].lower() not in _FILE_SUFFIXES:
            raise fail(key, "safetensors, onnx, skops or plain data files; pickled weights are never loaded", path)
        if not isinstance(digest, str) or not SHA256.fullmatch(digest):
            raise fail(f"{key}.{path}", "a SHA-256 in 64 lower-case hex digits", digest)
    return dict(value)


def metrics(data: Mapping[str, Any], key: str = "metrics") -> dict[str, float | str]:
    """Return the optional table of measured metrics: finite numbers and short strings."""
    value = data.get(key, {})
    if not isinstance(value, dict) or len(value) > _MAX_ITEMS:
        raise fail(key, "an object of numbers and strings", value)
    for name, metric in value.items():
        number = isinstance(metric, int | float) and not isinstance(metric, bool)
        string = isinstance(metric, str) and metric.isprintable() and len(metric) <= 200
        if not (string or (number and math.isfinite(metric))) or not name.isprintable():
            raise fail(f"{key}.{name}", "a finite number or a short string", metric)
    return dict(value)


def needs(data: Mapping[str, Any], key: str = "needs") -> dict[str, str]:
    """Return the optional table of modules, each with the distribution that brings it; both end up in a command."""
    value = data.get(key, {})
    if not isinstance(value, dict) or len(value) > _MAX_ITEMS:
        raise fail(key, "an object of modules and distributions", value)
    for module, requirement in value.items():
        if not MODULE.fullmatch(module):
            raise fail(key, "names of top-level modules", module)
        if not isinstance(requirement, str) or not REQUIREMENT.fullmatch(requirement):
            raise fail(f"{key}.{module}", "a distribution's name, with extras if need be", requirement)
    return dict(value)
