"""The parts of the quality benchmark, each measured by itself, spread over processes."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path
from typing import Any, Self

import torch
from quality_ablations import ablation_items, ablations
from quality_adapters import adapter_items, adapter_methods
from quality_baselines import classical_baselines, own_baselines
from quality_detectors import Heard, figures, hear
from quality_pictures import draw_worst
from quality_runs import Bench, Method, shipped
from quality_scores import Judge, Row
from quality_sets import CLEAN, Item, clean_items, demucs_items, kit_items, neural_items, song_items
from quality_synthetic import synthetic_items

from stemprover.cli.process import quieten_libraries
from stemprover.enhance import Enhancer, Settings
from stemprover.stems import StemSet

__all__ = ["PARTS", "Options", "Pool", "items_of"]

_EACH, _QUICK_EACH = 2, 1  # synthetic stems per kind of artifact
_QUICK_EVERY = 3


@dataclasses.dataclass(frozen=True)
class Options:
    """What is measured; ``separators`` never made training pairs, ``used_separators`` did, of other songs.

    ``demucs`` is the file of Hybrid Transformer Demucs, ``pictures`` the folder that those of the worst segments are
    written to.
    """

    data: Path
    seconds: float
    quick: bool
    separators: tuple[Path, ...]
    used_separators: tuple[Path, ...]
    demucs: Path | None
    base: str | None
    quality: str
    vocoder: str
    generic: bool
    pictures: Path

    def bench(self) -> Bench:
        """Load what is measured."""
        settings = Settings(auto_detect=True, quality=self.quality, vocoder=self.vocoder, generic=self.generic)
        return Bench(Enhancer.from_pretrained(self.base), settings)


def items_of(options: Options) -> list[Item]:
    """Return all items: separated music, synthetic stems and clean stems."""
    data, seconds = options.data, options.seconds
    neural = [(folder, "no") for folder in options.separators]
    neural += [(folder, "yes, other songs") for folder in options.used_separators]
    songs = [item for folder, seen in neural for item in neural_items(data, seconds, folder, seen)]
    songs += [*song_items(data, seconds), *demucs_items(data, seconds, options.demucs)]
    kits = list(kit_items(data, seconds))
    separated = [*songs[:1], *kits[:1]] if options.quick else [*songs, *kits]
    clean = list(clean_items(separated))
    synthetic = list(synthetic_items(clean, _QUICK_EACH if options.quick else _EACH))
    return [*separated, *(synthetic[::_QUICK_EVERY] if options.quick else synthetic), *clean] if separated else []


class Pool:
    """Processes that hold the models; a task is one item of one part."""

    def __init__(self, options: Options, jobs: int) -> None:
        self.options = options
        self._pool = ProcessPoolExecutor(jobs, mp_context=get_context("spawn"), initializer=_start, initargs=(options,))

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._pool.shutdown(cancel_futures=True)

    def map(self, work: Callable[..., Any], items: Sequence[Item], *arguments: object) -> Iterator[Any]:
        """Yield the results of ``work(*arguments, item)`` in order; long items are begun first."""
        order = sorted(range(len(items)), key=lambda place: -len(items[place].estimates) * items[place].mixture.size)
        futures: dict[int, Future[Any]] = {place: self._pool.submit(work, *arguments, items[place]) for place in order}
        return (futures[place].result() for place in range(len(items)))


_state: dict[str, Bench] = {}


def _start(options: Options) -> None:
    quieten_libraries()
    torch.set_num_threads(1)
    _state["bench"] = options.bench()


def _run(part: str, item: Item) -> list[Row]:
    judge, rows = Judge(item), []
    for method in _METHODS[part](_state["bench"]):
        if item.group in method.groups:
            repaired = method.run(item)
            rows += judge.rows(method.name, method.context_on(item), repaired, method.full, method.sources)
    return rows


def _baselines(bench: Bench) -> Iterator[Method]:
    yield from classical_baselines(bench)
    yield from own_baselines(bench)


_METHODS: Mapping[str, Callable[[Bench], Iterator[Method]]] = {
    "repairs": shipped,
    "baselines": _baselines,
    "ablations": ablations,
    "adapters": adapter_methods,
}

Report = Callable[[Row], None]


def _rows(pool: Pool, part: str, items: Sequence[Item], report: Report) -> dict[str, Any]:
    rows: list[Row] = []
    for found in pool.map(_run, items, part):
        for row in found:
            report(row)
        rows += found
    return {"rows": rows}


def _repairs(pool: Pool, items: Sequence[Item], report: Report) -> dict[str, Any]:
    measured = _rows(pool, "repairs", items, report)
    return measured | {"drawn": draw_worst(pool.options.bench(), items, measured["rows"], pool.options.pictures)}


def _all_baselines(pool: Pool, items: Sequence[Item], report: Report) -> dict[str, Any]:
    return _rows(pool, "baselines", [item for item in items if item.group != CLEAN], report)


def _ablations(pool: Pool, items: Sequence[Item], report: Report) -> dict[str, Any]:
    return _rows(pool, "ablations", ablation_items(items), report)


def _adapters(pool: Pool, items: Sequence[Item], report: Report) -> dict[str, Any]:
    separated = [item for item in items if item.group != CLEAN]
    return _rows(pool, "adapters", adapter_items(pool.options.bench(), separated), report)


def _hear(item: Item) -> list[Heard]:
    enhancer = _state["bench"].enhancer
    return hear(enhancer.load_detectors(), item)


def _detectors(pool: Pool, items: Sequence[Item], report: Report) -> dict[str, Any]:
    del report
    heard = [one for found in pool.map(_hear, items) for one in found]
    return {"figures": figures(heard, pool.options.bench().enhancer.load_detectors())}


def _example(pool: Pool, items: Sequence[Item], report: Report) -> dict[str, Any]:
    """Repair a separator's published example, for which there is no reference: it must run and be explained."""
    del items, report
    bench, folder = pool.options.bench(), pool.options.data / "spleeter_example"
    if not folder.is_dir():
        return {"stems": []}
    with StemSet.open(folder) as stems:
        return {
            "stems": [
                {
                    "stem": one.stem.name,
                    "repaired": one.repaired_s * one.sample_rate / one.stem.format.samples,
                    "found": sorted({found.artifact for found in one.detections}),
                }
                for one in bench.enhancer.enhance_set(stems, bench.settings)
            ]
        }


PARTS: Mapping[str, Callable[[Pool, Sequence[Item], Report], dict[str, Any]]] = {
    "repairs": _repairs,
    "baselines": _all_baselines,
    "ablations": _ablations,
    "adapters": _adapters,
    "detectors": _detectors,
    "example": _example,
}
"""By name; each maps a pool and all items to its part of ``quality.json``."""
