"""The community index: ``registry.yaml`` names plugins that can be installed.

The host's own file ships in its wheel. ``STEMPROVER_REGISTRY`` (paths and addresses, separated like ``PATH``) and the
``extra`` argument add others, a company's own for example. They are read in order and a later entry never replaces an
earlier one: it is left out and listed under ``conflicts``.
"""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from stemprover.errors import ManifestError, PluginError
from stemprover.plugins import fields
from stemprover.plugins.manifest import KINDS
from stemprover.plugins.packages import DISTRIBUTION, canonical
from stemprover.plugins.places import places_of_environment, read_place
from stemprover.plugins.versions import valid_range

__all__ = [
    "REGISTRY_FILE",
    "REGISTRY_VERSION",
    "Registry",
    "RegistryEntry",
    "install_command",
    "known_offline",
    "registry",
]

REGISTRY_FILE = Path(__file__).parent.parent / "registry.yaml"
REGISTRY_VERSION = 1
_URL = re.compile(r"https://[\w./~%#?=&+-]{1,300}", re.ASCII)
_WHEEL = re.compile(r"https://[\w./~%+-]{1,300}\.whl", re.ASCII)
_COMMIT = re.compile(rf"(?:{fields.HUB_ID.pattern})@(?:{fields.COMMIT.pattern})", re.ASCII)


@dataclasses.dataclass(frozen=True, slots=True)
class RegistryEntry:
    """One plugin that can be installed.

    Attributes
    ----------
    distribution : str
        What the installer looks for; ``hf:owner/repository`` for an adapter on the hub.
    url, hub, sha256 : str
        Where it is if not in the package index: a wheel's address with its SHA-256, or ``owner/repository@commit`` on
        the hub with the SHA-256 of the manifest. Empty otherwise.
    source : str
        The registry that it comes from.
    """

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
    url: str = ""
    hub: str = ""
    sha256: str = ""

    @property
    def install(self) -> str:
        """The command that installs it into the running environment."""
        return f"stemprover plugins install {self.name}"

    @property
    def requirement(self) -> str:
        """What the installer is asked for."""
        if self.hub:
            return f"hf:{self.hub}#sha256={self.sha256}"
        return f"{self.distribution} @ {self.url}#sha256={self.sha256}" if self.url else self.distribution


@dataclasses.dataclass(frozen=True, slots=True)
class Registry:
    """All entries; one line for each that was left out because its name or distribution is taken; other remarks."""

    entries: tuple[RegistryEntry, ...]
    conflicts: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()

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


def registry(extra: Sequence[str | Path] = (), offline: bool = False) -> Registry:
    """Read the host's registry, those of ``STEMPROVER_REGISTRY`` and the ``extra`` ones, in this order.

    Parameters
    ----------
    extra : sequence of str or Path
        Files and addresses.
    offline : bool
        Use the copies of addresses that were read before.

    Raises
    ------
    PluginError
        One is missing or not a valid registry; names the place and the entry.
    """
    notes: list[str] = []
    entries: list[RegistryEntry] = []
    conflicts: list[str] = []
    taken: dict[str, RegistryEntry] = {}
    for place in map(str, (REGISTRY_FILE, *places_of_environment(), *extra)):
        text, note = read_place(place, offline)
        notes += [note] if note else []
        for entry in _read(text, place):
            keys = f"plugin {entry.name}", f"distribution {canonical(entry.distribution)}"
            first = taken.get(keys[0]) or taken.get(keys[1])
            if first is not None and keys[0] not in taken and first.source == entry.source and not entry.hub:
                first = None  # one distribution may hold several plugins; only its own registry can say so
            if first is None:
                entries.append(entry)
                for key in keys:
                    taken.setdefault(key, entry)
            else:
                conflicts.append(
                    f"{entry.source}: {entry.name} ({entry.distribution}) is left out, "
                    f"{first.source} has {first.name} ({first.distribution})"
                )
    return Registry(tuple(entries), tuple(conflicts), tuple(notes))


def known_offline() -> Registry:
    """Return what is known without a network: all registries as last read; where one cannot be, the host's own."""
    try:
        return registry(offline=True)
    except PluginError:
        return Registry(tuple(_read(*_own())))


def install_command(artifact: str, stem: str = "") -> str | None:
    """Return the command that installs an adapter for an artifact, ``None`` when no registry knows one.

    It is only advice beside a result, so it asks no network, and a registry that cannot be read is no reason to fail.
    """
    entry = known_offline().adapter_for(artifact, stem)
    return entry.install if entry else None


def _covers(claim: str, artifact: str) -> bool:
    return f"{artifact}/".startswith(f"{claim}/")


def _related(claim: str, artifact: str) -> bool:
    """``bleed`` finds adapters for ``bleed/drums`` and the other way round."""
    return _covers(claim, artifact) or _covers(artifact, claim)


def _own() -> tuple[str, str]:
    return read_place(str(REGISTRY_FILE))[0], str(REGISTRY_FILE)


def _read(text: str, place: str) -> Iterable[RegistryEntry]:
    import yaml

    where = f"a registry in {place}"
    try:
        # The safe loader still follows aliases, which can grow without end; a registry needs none.
        if any(isinstance(token, yaml.AliasToken) for token in yaml.scan(text, Loader=yaml.SafeLoader)):
            raise PluginError(where, "YAML aliases", "write the values out")
        data = yaml.safe_load(text)
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        raise PluginError(where, fields.printable(" ".join(str(error).split())), "mend the YAML") from error
    if (
        not isinstance(data, dict)
        or data.get("version") != REGISTRY_VERSION
        or not isinstance(data.get("plugins"), list)
    ):
        raise PluginError(where, fields.printable(data), f"it needs 'version: {REGISTRY_VERSION}' and a list 'plugins'")
    return [_entry(item, place, number) for number, item in enumerate(data["plugins"], start=1)]


def _entry(item: Any, place: str, number: int) -> RegistryEntry:
    try:
        if not isinstance(item, dict):
            raise fields.fail("plugins", "an object", item)
        return _parse(item, place)
    except ManifestError as error:
        raise PluginError(f"entry {number} of {place}: {error.expected}", error.got, "mend the registry") from error


def _parse(item: Mapping[str, Any], source: str) -> RegistryEntry:
    kind, host = item.get("kind"), fields.one_line(item, "host")
    if kind not in KINDS:
        raise fields.fail("kind", "one of " + ", ".join(KINDS), kind)
    if not valid_range(host):
        raise fields.fail("host", "a version range such as '>=0.1,<1'", host)
    if ("hub" in item) + ("distribution" in item) != 1:
        raise fields.fail("distribution", "a distribution name, or 'hub' in its place", item.get("hub"))
    hub = fields.optional_text(item, "hub", _COMMIT, "owner/repository@<40 hex digits of a commit>")
    url = fields.optional_text(item, "url", _WHEEL, "the https address of a wheel")
    on_hub = f"hf:{hub.partition('@')[0]}" if hub else ""
    entry = RegistryEntry(
        name=fields.text(item, "name", fields.NAME, "lower-case letters, digits, '.', '_' and '-'"),
        kind=kind,
        distribution=on_hub or fields.text(item, "distribution", DISTRIBUTION, "a distribution name"),
        summary=fields.one_line(item, "summary"),
        license=fields.one_line(item, "license", limit=64),
        host=host,
        artifacts=fields.names(item, "artifacts", fields.ARTIFACT, "artifact names such as bleed/drums"),
        stems=fields.names(item, "stems", fields.STEM, "stem classes such as vocals"),
        homepage=fields.text(item, "homepage", _URL, "an https address") if item.get("homepage") else "",
        base=fields.one_line(item, "base", limit=96) if item.get("base") else "",
        metrics=fields.metrics(item),
        source=source,
        url=url,
        hub=hub,
        sha256=fields.text(item, "sha256", fields.SHA256, "64 lower-case hex digits") if hub or url else "",
    )
    for key in ("artifacts", "base") if kind == "lora" else ("artifacts",) if kind == "detector" else ():
        if not getattr(entry, key):
            raise fields.fail(key, f"present for kind {kind}", None)
    if hub and kind != "lora":
        raise fields.fail("hub", "for adapters only: code is a distribution", hub)
    return entry
