"""Routing: detections and installed adapters become a plan that can be printed."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

from stemprover.detection.types import Detection
from stemprover.errors import OptionError
from stemprover.plugins.discovery import Plugin, claims, find
from stemprover.plugins.loader import require_usable
from stemprover.spectral.segments import Segment

__all__ = ["GENERIC", "AdapterChoice", "Applied", "Plan", "PlanItem", "Unrepaired", "route"]

GENERIC = "base"
"""Name in the plan of a repair by the base without an adapter (``--generic``)."""

_UNKNOWN_SEVERITY = 0.5


@dataclasses.dataclass(frozen=True, slots=True)
class AdapterChoice:
    """An adapter that the user named, with a strength.

    Alone, up to 1 it is wet/dry, and above it turns the adapter up; beside others it is the adapter's share.
    """

    name: str
    strength: float = 1.0


@dataclasses.dataclass(frozen=True, slots=True)
class PlanItem:
    """One repair: where, against what, with which adapter and how strong.

    ``strength`` is the adapter's own times ``share``, which is the ``--strength`` of the whole repair.
    """

    start_s: float
    end_s: float
    artifact: str
    adapter: str
    strength: float
    low_hz: float
    high_hz: float
    confidence: float
    severity: float
    share: float = 1.0

    @property
    def amount(self) -> float:
        """The adapter's own strength, from 0 to 2."""
        return self.strength / self.share if self.share else 0.0


@dataclasses.dataclass(frozen=True, slots=True)
class Unrepaired:
    """Something found that no installed adapter repairs; ``install`` is the command that would help, or advice."""

    artifact: str
    start_s: float
    end_s: float
    low_hz: float
    high_hz: float
    confidence: float
    severity: float
    install: str


@dataclasses.dataclass(frozen=True, slots=True)
class Plan:
    """Everything that will be done to one stem."""

    items: tuple[PlanItem, ...] = ()
    unrepaired: tuple[Unrepaired, ...] = ()


@dataclasses.dataclass(frozen=True, slots=True)
class Applied:
    """What gates left of the changes of one segment, before the strength that was asked for.

    Attributes
    ----------
    segment : Segment
    share : float
        Of repair and second opinion together, 0 to 1, a mean over the energy of each change.
    opinion : float or None
        Of the second opinion alone; None where there was none.
    """

    segment: Segment
    share: float
    opinion: float | None = None


@dataclasses.dataclass(frozen=True, slots=True)
class _Candidates:
    named: tuple[tuple[Plugin, float], ...]
    others: tuple[Plugin, ...]


def route(
    detections: Sequence[Detection],
    plugins: Sequence[Plugin],
    *,
    stem_class: str,
    duration_s: float,
    nyquist_hz: float,
    auto_detect: bool,
    adapters: Sequence[AdapterChoice] = (),
    without: Sequence[str] = (),
    strength: float = 1.0,
    generic: bool = False,
) -> Plan:
    """Choose an adapter for every detection.

    The most specific claim wins, ties go to the better measured gain, then to the name. Adapters that the user named
    come first for what they claim. Without ``auto_detect`` each named adapter works on the whole file.

    Raises
    ------
    PluginNotFoundError, PluginError, OptionError
        For a named adapter that is not installed, cannot be used or is no adapter.
    """
    candidates = _candidates(plugins, adapters, without)
    if not auto_detect:
        return Plan(
            tuple(
                PlanItem(0.0, duration_s, _first_artifact(plugin), plugin.name, amount * strength, 0.0, nyquist_hz,
                         1.0, _UNKNOWN_SEVERITY, strength)
                for plugin, amount in candidates.named
                if amount * strength > 0
            )
        )  # fmt: skip
    items: list[PlanItem] = []
    unrepaired: list[Unrepaired] = []
    advice: dict[str, str] = {}
    for found in detections:
        where = (found.start_s, found.end_s, found.artifact)
        choice = _best(found.artifact, stem_class, candidates) or ((GENERIC, 1.0) if generic else None)
        if choice is None:
            if found.artifact not in advice:  # reading the registry takes as long as detecting in a second of audio
                advice[found.artifact] = _advice(found.artifact, stem_class, plugins, without)
            unrepaired.append(Unrepaired(**dataclasses.asdict(found), install=advice[found.artifact]))
        elif choice[1] * strength > 0:
            name, amount = choice
            band = (found.low_hz, min(found.high_hz, nyquist_hz))
            items.append(PlanItem(*where, name, amount * strength, *band, found.confidence, found.severity, strength))
    return Plan(tuple(items), tuple(unrepaired))


def _candidates(plugins: Sequence[Plugin], adapters: Sequence[AdapterChoice], without: Sequence[str]) -> _Candidates:
    for name in without:
        find(name, plugins)
    named = []
    for choice in adapters:
        plugin = require_usable(find(choice.name, plugins))
        if plugin.kind != "lora":
            raise OptionError("an adapter", f"{choice.name}, a {plugin.kind}", "see 'stemprover plugins list'")
        if not 0.0 <= choice.strength <= 2.0:
            raise OptionError("a strength from 0 to 2", f"{choice.strength} for {choice.name}", "use for example 0.8")
        if choice.name not in without:
            named.append((plugin, choice.strength))
    taken = {plugin.name for plugin, _ in named} | set(without)
    others = (p for p in plugins if p.kind == "lora" and p.status == "ok" and p.name not in taken)
    return _Candidates(tuple(named), tuple(others))


def _best(artifact: str, stem_class: str, candidates: _Candidates) -> tuple[str, float] | None:
    # What the user named is used on any stem; the manifest's list of stems only guides the automatic choice.
    named = [(plugin, amount) for plugin, amount in candidates.named if claims(plugin, artifact, "generic")]
    if named:
        plugin, amount = max(named, key=lambda pair: _rank(pair[0], artifact, "generic"))
        return plugin.name, amount
    others = [plugin for plugin in candidates.others if claims(plugin, artifact, stem_class)]
    return (max(others, key=lambda p: _rank(p, artifact, stem_class)).name, 1.0) if others else None


def _rank(plugin: Plugin, artifact: str, stem_class: str) -> tuple[int, float, str]:
    measured = plugin.manifest.metrics.get("si_sdr_gain_db", 0.0) if plugin.manifest else 0.0
    gain = float(measured) if isinstance(measured, (int, float)) else 0.0
    return claims(plugin, artifact, stem_class), gain, plugin.name


def _first_artifact(plugin: Plugin) -> str:
    return plugin.artifacts[0] if plugin.artifacts else "any"


def _advice(artifact: str, stem_class: str, plugins: Sequence[Plugin], without: Sequence[str]) -> str:
    """What would help: an adapter that is there and may not be used, else one that can be installed."""
    there = [plugin for plugin in plugins if plugin.kind == "lora" and claims(plugin, artifact, stem_class)]
    for plugin in sorted(there, key=lambda plugin: _rank(plugin, artifact, stem_class), reverse=True):
        if plugin.name in without and plugin.status == "ok":
            return f"leave out --without {plugin.name}"
        if plugin.status == "disabled":
            return f"stemprover plugins enable {plugin.name}"
        return f"stemprover plugins doctor ({plugin.name} is {plugin.status})"
    from stemprover.plugins.index import install_command

    return install_command(artifact, stem_class) or "no adapter is known; --generic lets the base alone try"
