"""The community index: ``registry.yaml`` names plugins that can be installed.

The host's own file ships in its wheel. ``STEMPROVER_REGISTRY`` (paths, separated like ``PATH``) and the ``extra``
argument add others, a company's own for example. They are read in order and a later entry never replaces an earlier
one: it is left out and listed under ``conflicts``.
"""

from __future__ import annotations

import dataclasses
import os
import re
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from stemprover.errors import ManifestError, PluginError
from stemprover.plugins import fields
from stemprover.plugins.manifest import KINDS
from stemprover.plugins.versions import valid_range

__all__ = ["REGISTRY_FILE", "REGISTRY_VERSION", "Registry", "RegistryEntry", "install_command", "registry"]

REGISTRY_FILE = Path(__file__).parent.parent / "registry.yaml"
REGISTRY_VERSION = 1
_MAX_BYTES = 10_000_000
_DISTRIBUTION = re.compile(r"[A-Za-z0-9](?:[A-Za-z0-9._-]{0,126}[A-Za-z0-9])?")
_URL = re.compile(r"https://[\w./~%#?=&+-]{1,300}", re.ASCII)


@dataclasses.dataclass(frozen=True, slots=True)
class RegistryEntry:
    """One plugin that can be installed; ``source`` says which registry file it comes from."""

    name: str
    kind: str
    distribution: str
    summary: str
    license: str
    host: str
    artifacts: tuple[str, ...]
    stems: tuple[str, ...]
    homepage: str
    base: str
    metrics: Mapping[str, float | str]
    source: str

    @property
    def install(self) -> str:
        """The command that installs it into the running environment."""
        return f"pip install {self.distribution}"


@dataclasses.dataclass(frozen=True, slots=True)
class Registry:
    """All entries, and one line for each that was left out because its name or distribution is taken."""

    entries: tuple[RegistryEntry, ...]
    conflicts: tuple[str, ...] = ()

    def search(self, word: str = "", artifact: str = "", stem: str = "") -> tuple[RegistryEntry, ...]:
        """Return entries that contain ``word``, repair or find ``artifact`` and work on ``stem``; empty means any."""
        return tuple(
            entry
            for entry in self.entries
            if word.lower() in f"{entry.name} {entry.distribution} {entry.kind} {entry.summary}".lower()
            and (not artifact or any(_related(claim, artifact) for claim in entry.artifacts))
            and (not stem or not entry.stems or stem in entry.stems)
        )

    def adapter_for(self, artifact: str, stem: str = "") -> RegistryEntry | None:
        """Return the adapter with the most specific claim on an artifact; of equals, the first."""
        claiming = [
            (max(len(claim) for claim in entry.artifacts if _covers(claim, artifact)), -position, entry)
            for position, entry in enumerate(self.search(stem=stem))
            if entry.kind == "lora" and any(_covers(claim, artifact) for claim in entry.artifacts)
        ]
        return max(claiming, key=lambda ranked: ranked[:2])[2] if claiming else None


def registry(extra: Sequence[str | Path] = ()) -> Registry:
    """Read the host's registry, those of ``STEMPROVER_REGISTRY`` and the ``extra`` ones, in this order.

    Raises
    ------
    PluginError
        A file is missing or not a valid registry; names the file and the entry.
    """
    named = [Path(part) for part in os.environ.get("STEMPROVER_REGISTRY", "").split(os.pathsep) if part]
    entries: list[RegistryEntry] = []
    conflicts: list[str] = []
    taken: dict[str, RegistryEntry] = {}
    for path in (REGISTRY_FILE, *named, *map(Path, extra)):
        for entry in _read(path):
            keys = f"plugin {entry.name}", f"distribution {_canonical(entry.distribution)}"
            first = next((taken[key] for key in keys if key in taken), None)
            if first is None:
                entries.append(entry)
                taken.update(dict.fromkeys(keys, entry))
            else:
                conflicts.append(
                    f"{entry.source}: {entry.name} ({entry.distribution}) is left out, "
                    f"{first.source} has {first.name} ({first.distribution})"
                )
    return Registry(tuple(entries), tuple(conflicts))


def install_command(artifact: str, stem: str = "") -> str | None:
    """Return the command that installs an adapter for an artifact, ``None`` when no registry knows one."""
    entry = registry().adapter_for(artifact, stem)
    return entry.install if entry else None


def _covers(claim: str, artifact: str) -> bool:
    return f"{artifact}/".startswith(f"{claim}/")


def _related(claim: str, artifact: str) -> bool:
    """``bleed`` finds adapters for ``bleed/drums`` and the other way round."""
    return _covers(claim, artifact) or _covers(artifact, claim)


def _canonical(distribution: str) -> str:
    return re.sub(r"[-_.]+", "-", distribution).lower()


def _read(path: Path) -> Iterable[RegistryEntry]:
    import yaml

    where = f"a registry in {path}"
    try:
        if path.stat().st_size > _MAX_BYTES:
            raise PluginError(where, f"more than {_MAX_BYTES} bytes", "name another file")
        # The safe loader still follows aliases, which can grow without end; a registry needs none.
        text = path.read_text(encoding="utf-8")
        if any(isinstance(token, yaml.AliasToken) for token in yaml.scan(text, Loader=yaml.SafeLoader)):
            raise PluginError(where, "YAML aliases", "write the values out")
        data = yaml.safe_load(text)
    except OSError as error:
        fix = "name an existing file in STEMPROVER_REGISTRY or --registry"
        raise PluginError(where, error.strerror or "an unreadable file", fix) from error
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        raise PluginError(where, fields.printable(" ".join(str(error).split())), "mend the YAML") from error
    if (
        not isinstance(data, dict)
        or data.get("version") != REGISTRY_VERSION
        or not isinstance(data.get("plugins"), list)
    ):
        raise PluginError(where, fields.printable(data), f"it needs 'version: {REGISTRY_VERSION}' and a list 'plugins'")
    return [_entry(item, path, number) for number, item in enumerate(data["plugins"], start=1)]


def _entry(item: Any, path: Path, number: int) -> RegistryEntry:
    try:
        if not isinstance(item, dict):
            raise fields.fail("plugins", "an object", item)
        return _parse(item, str(path))
    except ManifestError as error:
        raise PluginError(f"entry {number} of {path}: {error.expected}", error.got, "mend the registry") from error


def _parse(item: Mapping[str, Any], source: str) -> RegistryEntry:
    kind, host = item.get("kind"), fields.one_line(item, "host")
    if kind not in KINDS:
        raise fields.fail("kind", "one of " + ", ".join(KINDS), kind)
    if not valid_range(host):
        raise fields.fail("host", "a version range such as '>=0.1,<1'", host)
    return RegistryEntry(
        name=fields.text(item, "name", fields.NAME, "lower-case letters, digits, '.', '_' and '-'"),
        kind=kind,
        distribution=fields.text(item, "distribution", _DISTRIBUTION, "a distribution name"),
        summary=fields.one_line(item, "summary"),
        license=fields.one_line(item, "license", limit=64),
        host=host,
        artifacts=fields.names(item, "artifacts", fields.ARTIFACT, "artifact names such as bleed/drums"),
        stems=fields.names(item, "stems", fields.STEM, "stem classes such as vocals"),
        homepage=fields.text(item, "homepage", _URL, "an https address") if item.get("homepage") else "",
        base=fields.one_line(item, "base", limit=96) if item.get("base") else "",
        metrics=fields.metrics(item),
        source=source,
    )
