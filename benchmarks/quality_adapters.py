"""Each adapter on stems that have its artifact, against the base without it and against the wrong one.

Detection has no say here: the whole stem is repaired as what it has, and the repair is applied in full.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Mapping, Sequence

from quality_runs import ALL, SIBLINGS, Bench, Method
from quality_scores import Repaired
from quality_sets import Item
from quality_truth import LEAVES, labels_of

from stemprover.plugins import Plugin, claims

__all__ = ["CONFIGURATIONS", "adapter_items", "adapter_methods", "leading_of", "responsible"]

CONFIGURATIONS = ("base alone", "adapter", "wrong adapter")
_MOST = 4  # items per adapter
_LEAST = 0.02  # mean severity over all cells


def leading_of(item: Item, stem: str) -> str | None:
    """Return the artifact of ``LEAVES`` with the highest mean severity in a stem, None where there is hardly any."""
    means = {name: float(severity.mean()) for name, severity in labels_of(item, stem).items() if name in LEAVES}
    best = max(means, key=lambda name: means[name], default=None)
    return best if best is not None and means[best] >= _LEAST else None


def responsible(plugins: Sequence[Plugin], artifact: str, stem: str) -> Plugin | None:
    """Return the adapter with the most specific claim."""
    usable = [plugin for plugin in plugins if plugin.kind == "lora" and plugin.status == "ok"]
    best = max(usable, key=lambda plugin: claims(plugin, artifact, stem), default=None)
    return best if best is not None and claims(best, artifact, stem) > 0 else None


def adapter_items(bench: Bench, items: Sequence[Item]) -> list[Item]:
    """Cut items to single stems of which an adapter is responsible, a few per adapter; ``seen`` names it.

    What the other stems hold is given as the mixture.
    """
    found: dict[str, list[Item]] = {}
    for item in items:
        for stem in item.references:
            artifact = leading_of(item, stem)
            plugin = None if artifact is None else responsible(bench.enhancer.plugins, artifact, stem)
            if artifact is None or plugin is None or len(found.setdefault(plugin.name, [])) >= _MOST:
                continue
            alone = {"references": {stem: item.references[stem]}, "estimates": {stem: item.estimates[stem]}}
            errors = {stem: item.errors[stem]} if stem in item.errors else {}
            found[plugin.name].append(
                dataclasses.replace(item, **alone, errors=errors, seen=f"{plugin.name}:{artifact}")
            )
    return [item for chosen in found.values() for item in chosen]


def adapter_methods(bench: Bench) -> Iterator[Method]:
    """Yield the base alone, with the adapter and with the wrong adapter."""
    for name in CONFIGURATIONS:
        yield Method(name, SIBLINGS, _runner(bench, name), ALL)


def _runner(bench: Bench, configuration: str):  # type: ignore[no-untyped-def]
    wrong = bench.wrong

    def run(item: Item) -> Mapping[str, Repaired]:
        artifact = item.seen.partition(":")[2]
        chosen = wrong if configuration == "wrong adapter" and wrong is not None else bench
        settings = {"generic": True, "without": bench.adapters} if configuration == "base alone" else {}
        return chosen.everything(
            configuration, SIBLINGS, ALL, wet=1.0, artifact=artifact, second_opinion=False, **settings
        ).run(item)

    return run
