"""What plugins answer, made into plain values; runs their code, so that it belongs inside a time limit."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Mapping
from types import ModuleType
from typing import Any

from stemprover.plugins.discovery import Plugin
from stemprover.plugins.fields import ARTIFACT, printable
from stemprover.plugins.hooks import ArtifactType, hookimpl
from stemprover.plugins.loader import is_factory

__all__ = ["artifact_types_of", "built_of", "carrier_of"]

_HOOK_OF_KIND = {"detector": "detectors", "vocoder": "vocoders", "separator": "separators", "metric": "metrics"}
_MOST_TYPES = 256
_LONGEST_SUMMARY = 200


def artifact_types_of(answer: Iterable[object]) -> tuple[ArtifactType, ...]:
    """Return artifact types of checked, plain values.

    Raises
    ------
    TypeError, ValueError
        One is no artifact type, its name is none of an artifact, or its summary cannot be printed.
    """
    kinds = tuple(itertools.islice(answer, _MOST_TYPES + 1))
    if len(kinds) > _MOST_TYPES:
        raise ValueError(f"more than {_MOST_TYPES} artifact types")
    return tuple(map(_artifact_type, kinds))


def _artifact_type(kind: object) -> ArtifactType:
    if not isinstance(kind, ArtifactType):
        raise TypeError(f"{type(kind).__name__} is no ArtifactType")
    name, summary, detector = kind.name, kind.summary, kind.detector
    if type(name) is not str or not ARTIFACT.fullmatch(name):
        raise ValueError(f"{printable(name)} is no name of an artifact such as bleed/drums")
    if type(summary) is not str or not summary.isprintable() or len(summary) > _LONGEST_SUMMARY:
        raise ValueError(f"summary of {name} is no line of at most {_LONGEST_SUMMARY} printable characters")
    return ArtifactType(name, summary, detector)


def built_of(factories: Mapping[str, Any]) -> dict[str, Any]:
    """Return what factories build, by name; what is no factory stays as it is.

    Raises
    ------
    TypeError
        A name is no string.
    """
    built: dict[str, Any] = {}
    for name, factory in factories.items():
        if type(name) is not str:  # others may run code when they are compared
            raise TypeError(f"name {printable(name)} is no string")
        built[name] = factory() if is_factory(factory) else factory
    return built


def carrier_of(plugin: Plugin, entry: Any) -> object:
    """Return what pluggy registers: the entry with its hook functions, or one object wrapped in its hook."""
    if any(hasattr(getattr(entry, name, None), "stemprover_impl") for name in dir(entry)):
        return entry() if isinstance(entry, type) else entry
    hook = _HOOK_OF_KIND.get(plugin.kind)
    if hook is None:
        raise TypeError(f"entry has no hookimpl functions, which kind {plugin.kind} needs")
    carrier = ModuleType(plugin.name)
    setattr(carrier, hook, hookimpl(lambda: {plugin.name: entry}))
    return carrier
