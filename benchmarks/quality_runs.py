"""StemProver with more and less context, as shipped or with something taken away. A method maps an item to stems."""

from __future__ import annotations

import contextlib
import dataclasses
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

from everything import FlagEverything
from quality_scores import Repaired
from quality_sets import CLEAN, KITS, SONG, SYNTHETIC, Item

from stemprover.enhance import Enhancer, Settings
from stemprover.plugins import Plugin
from stemprover.spectral.spec import SPEC
from stemprover.stems import Stem, StemSet
from stemprover.synthesis.gate import constant_gate

__all__ = ["ALL", "BLIND", "MIXTURE", "OURS", "REAL", "SIBLINGS", "Bench", "Method", "shipped"]

BLIND, SIBLINGS, MIXTURE = "blind", "siblings", "mixture"
REAL, ALL = (SONG, KITS), (SONG, KITS, SYNTHETIC)
OURS = "StemProver"

Run = Callable[[Item], Mapping[str, Repaired]]
Around = Callable[[], contextlib.AbstractContextManager[object]]


@dataclasses.dataclass(frozen=True)
class Method:
    """A method by name.

    Attributes
    ----------
    name, context : str
        What it is and what it is given: ``blind``, ``siblings`` or ``mixture``.
    run : callable
        Maps an item to repaired stems.
    groups : tuple of str
        Sets that it runs on.
    full, sources : bool
        Whether all metrics, and BSS Eval, are of interest.
    """

    name: str
    context: str
    run: Run
    groups: tuple[str, ...]
    full: bool = False
    sources: bool = False

    def context_on(self, item: Item) -> str:
        """What it is given of an item: the siblings of a stem that is there alone are what the mixture holds more."""
        return MIXTURE if self.context == SIBLINGS and len(item.estimates) < 2 else self.context


@dataclasses.dataclass(frozen=True)
class Bench:
    """The enhancer that is measured and its settings."""

    enhancer: Enhancer
    settings: Settings

    @property
    def adapters(self) -> tuple[str, ...]:
        """Names of the adapters that can be used."""
        return tuple(plugin.name for plugin in _adapters(self.enhancer.plugins))

    @property
    def wrong(self) -> Bench | None:
        """The same with each adapter in the place of one for another kind of artifact; None without two kinds."""
        plugins = _swapped(self.enhancer.plugins)
        return None if plugins is None else dataclasses.replace(self, enhancer=Enhancer(self.enhancer.models, plugins))

    def method(
        self,
        name: str,
        context: str,
        groups: tuple[str, ...],
        full: bool = False,
        around: Around = contextlib.nullcontext,
        **settings: Any,
    ) -> Method:
        """Return StemProver with other settings, in a context manager that takes something away."""
        chosen = dataclasses.replace(self.settings, **settings)

        def run(item: Item) -> Mapping[str, Repaired]:
            with around():
                return _repair(self.enhancer, chosen, item, context)

        return Method(name, context, run, groups, full)

    def everything(
        self,
        name: str,
        context: str,
        groups: tuple[str, ...],
        wet: float | None = None,
        artifact: str = "bleed",
        **settings: Any,
    ) -> Method:
        """Return StemProver that repairs every moment and band; a share of ``wet`` is applied, else the gate's."""
        models, plugins = self.enhancer.models, self.enhancer.plugins
        gate = None if wet is None else constant_gate(wet)
        flagging = dataclasses.replace(self, enhancer=Enhancer(models, plugins, [FlagEverything(artifact)], gate))
        return flagging.method(name, context, groups, **settings)

    def without_gate(self, share: float) -> Bench:
        """Return the same with ``share`` of every repair applied."""
        return dataclasses.replace(self, enhancer=self.enhancer.with_gate(constant_gate(share)))


def shipped(bench: Bench) -> Iterator[Method]:
    """Yield StemProver as it is in all contexts."""
    for context, groups in ((BLIND, (*ALL, CLEAN)), (SIBLINGS, (*REAL, CLEAN)), (MIXTURE, ALL)):
        method = bench.method(OURS, context, groups, full=True)
        yield dataclasses.replace(method, sources=context == SIBLINGS)


def _repair(enhancer: Enhancer, settings: Settings, item: Item, context: str) -> Mapping[str, Repaired]:
    stems = [Stem.from_array(audio, SPEC.sample_rate, name, name) for name, audio in item.estimates.items()]
    together = context == SIBLINGS and len(stems) > 1
    mixture = (
        None if together or context == BLIND else Stem.from_array(item.mixture, SPEC.sample_rate, "generic", "mix")
    )
    sets = [StemSet(tuple(stems))] if together else [StemSet((stem,), mixture) for stem in stems]
    done = [one for stem_set in sets for one in enhancer.enhance_set(stem_set, settings)]
    seconds = item.mixture.shape[-1] / SPEC.sample_rate
    return {one.stem.name: Repaired(one.audio, min(1.0, one.repaired_s / seconds)) for one in done}


def _adapters(plugins: Sequence[Plugin]) -> list[Plugin]:
    return [plugin for plugin in plugins if plugin.kind == "lora" and plugin.status == "ok"]


def _swapped(plugins: Sequence[Plugin]) -> tuple[Plugin, ...] | None:
    """Let each adapter claim what the next one of another kind claims: bleed, phasiness and so on in turn."""
    kinds: dict[str, list[Plugin]] = {}
    for plugin in _adapters(plugins):
        kinds.setdefault(plugin.artifacts[0].partition("/")[0], []).append(plugin)
    if len(kinds) < 2:
        return None
    names = sorted(kinds)
    swapped = {}
    for place, kind in enumerate(names):
        for number, plugin in enumerate(kinds[kind]):
            others = kinds[names[(place + 1) % len(names)]]
            other = others[number % len(others)]
            swapped[plugin.name] = dataclasses.replace(plugin, artifacts=other.artifacts, stems=other.stems)
    # A kind with fewer adapters than the next leaves some claims without a wrong one: the first takes them too.
    for place, kind in enumerate(names):
        following = kinds[names[(place + 1) % len(names)]]
        missed = tuple(claim for plugin in following[len(kinds[kind]) :] for claim in plugin.artifacts)
        first = swapped[kinds[kind][0].name]
        swapped[first.name] = dataclasses.replace(first, artifacts=(*first.artifacts, *missed), stems=())
    return tuple(swapped.get(plugin.name, plugin) for plugin in plugins)
