"""Measure how many files an hour takes, and write ``docs/benchmarks/throughput.md`` with ``throughput.json`` beside it.

    python benchmarks/throughput.py [--quick] [--only jobs|files|sets|ray|memory] [--output PATH]

Run it on an idle machine; it takes about forty minutes on two cores. ``benchmarks/scale.py`` makes ``docs/scale.md``
of the figures.
"""

from __future__ import annotations

import argparse
import importlib.util
import json
import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from environment import ROOT, environment, today, weights_of
from scale import scale_page
from throughput_page import page, per_file
from throughput_run import Batch, measure

Row = dict[str, Any]

WAVES = 4
"""Files per worker at least: the first wave does not count, and an uneven last one counts little."""


def main() -> None:
    """Measure the chosen parts, keep the others, write all files."""
    options = _parser().parse_args()
    out: Path = options.output
    stored = out.with_suffix(".json")
    results: dict[str, Any] = json.loads(stored.read_text(encoding="utf-8")) if stored.is_file() else {}
    where = environment()
    size = (4, 3.0, 20) if options.quick else (24, 8.0, 200)
    for part in options.only or PARTS:
        results[part] = {
            "date": today(),
            "environment": where,
            "weights": weights_of(),
            "quick": options.quick,
            "results": PARTS[part](*size),
        }
        out.parent.mkdir(parents=True, exist_ok=True)
        stored.write_text(json.dumps(results, indent=1) + "\n", encoding="utf-8")
        out.write_text(page(results), encoding="utf-8")
    if not options.quick and set(PARTS) <= set(results):
        out.parent.parent.joinpath("scale.md").write_text(scale_page(results), encoding="utf-8")
    print(f"wrote {out}")


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--only", choices=PARTS, action="append", help="measure this part only (repeatable)")
    parser.add_argument("--quick", action="store_true", help="a few short files: does it work?")
    parser.add_argument("--output", type=Path, default=ROOT / "docs" / "benchmarks" / "throughput.md")
    return parser


def _told(rows: Sequence[Batch]) -> list[Row]:
    found = []
    for batch in rows:
        found.append(measure(batch))
        each = f"{per_file(found[-1]):.2f} s per file of {batch.seconds:g} s"
        print(f"{batch.engine}, {batch.workers} x {batch.threads}: {each}")
    return found


def _jobs(files: int, seconds: float, many: int) -> list[Row]:
    """One thread per job, more and more jobs; then all cores for one job; then files in which nothing is found."""
    del many
    cores = len(os.sched_getaffinity(0))
    counts = sorted({1, *(2**power for power in range(10) if 2**power <= cores), cores})
    rows = [Batch(max(files, WAVES * count), seconds, count) for count in counts]
    quiet = Batch(max(4 * files, WAVES * cores), seconds, cores, repair=False)
    return _told([*rows, *([Batch(files, seconds, 1, cores)] if cores > 1 else []), quiet])


def _files(files: int, seconds: float, many: int) -> list[Row]:
    """The same audio as a batch of short files, of longer and longer ones, and with a process for each file."""
    del many
    few = max(2, files // 4)
    # Two files are the first wave of one job; of what follows, enough that no single one decides.
    batches = [Batch(max(2 + WAVES, round(files / times)), seconds * times) for times in (0.5, 1.0, 2.0, 6.0)]
    return _told([*batches, Batch(few, seconds, engine="one by one")])


def _sets(files: int, seconds: float, many: int) -> list[Row]:
    """Songs: four stems and their mixture, repaired jointly; then sets in which nothing is found."""
    del many
    few = max(2 + WAVES, files // 4)
    long = 4 * seconds
    return _told([Batch(few, long, stems=4), Batch(4 * few, long, repair=False, stems=4)])


def _ray(files: int, seconds: float, many: int) -> list[Row]:
    """The cluster engine with as many workers as cores, and what it costs to hand a job out at all."""
    if importlib.util.find_spec("ray") is None:
        raise SystemExit("the part 'ray' needs Ray: pip install 'stemprover[ray]', or choose other parts with --only")
    cores = len(os.sched_getaffinity(0))
    counts = sorted({1, cores})
    rows = [Batch(max(files, WAVES * count), seconds, count, engine="ray") for count in counts]
    idle = [
        Batch(max(many, WAVES * cores), 0.5, cores, engine=engine, repair=False, again=True)
        for engine in ("local", "ray")
    ]
    return _told([*rows, *idle])


def _memory(files: int, seconds: float, many: int) -> list[Row]:
    """Many short files, and what is resident after each: the first half fills caches and pools."""
    del files, seconds
    cores = len(os.sched_getaffinity(0))
    return _told([Batch(5 * max(many, WAVES * cores), 1.5, cores, quality="fast")])


PARTS: dict[str, Callable[[int, float, int], list[Row]]] = {
    "jobs": _jobs,
    "files": _files,
    "sets": _sets,
    "ray": _ray,
    "memory": _memory,
}

if __name__ == "__main__":
    main()
