"""Measure speed, memory and start-up times, and write ``docs/benchmarks/speed.md`` with ``speed.json`` beside it.

    python benchmarks/speed.py [--only rtf|memory|startup|plugins] [--seconds 60] [--minutes 1 5 30]

The page is made from the JSON file, so parts can be measured one by one. Run it on an idle machine.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

from environment import ROOT, environment, today, weights_of
from many_plugins import list_ms
from memory import peak_megabytes
from speed_page import page
from startup import COMMANDS, median_ms
from timing import Case, measure, new_enhancer

from stemprover.cli.process import prepare_process

PARTS = ("startup", "plugins", "rtf", "memory")
PLUGIN_COUNTS = (0, 100)
QUALITIES = ("fast", "balanced", "best")


def main() -> None:
    """Measure the chosen parts, keep the others, write both files."""
    options = _parser().parse_args()
    prepare_process()  # torch is there already: that matters for peak memory, which is measured in a process of its own
    out: Path = options.output
    stored = out.with_suffix(".json")
    results: dict[str, Any] = json.loads(stored.read_text(encoding="utf-8")) if stored.is_file() else {}
    where = environment()
    measures: dict[str, Callable[[argparse.Namespace], Any]] = {
        "startup": _startup,
        "plugins": _plugins,
        "rtf": _rtf,
        "memory": _memory,
    }
    for part in options.only or PARTS:
        results[part] = {
            "date": today(),
            "environment": where,
            "weights": weights_of(options.base),
            "results": measures[part](options),
        }
        out.parent.mkdir(parents=True, exist_ok=True)
        stored.write_text(json.dumps(results, indent=1) + "\n", encoding="utf-8")
        out.write_text(page(results), encoding="utf-8")
    print(f"wrote {out}")


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--only", choices=PARTS, action="append", help="measure this part only (repeatable)")
    parser.add_argument("--seconds", type=float, default=60.0, help="length of the audio for real-time factors")
    parser.add_argument("--minutes", type=float, nargs="+", default=[1.0, 5.0, 30.0], help="lengths for peak memory")
    parser.add_argument("--memory-quality", choices=QUALITIES, default="fast", help="steps do not change the memory")
    parser.add_argument("--base", help="folder of another base")
    parser.add_argument("--vocoder", default="embedded")
    parser.add_argument("--output", type=Path, default=ROOT / "docs" / "benchmarks" / "speed.md")
    return parser


def _startup(options: argparse.Namespace) -> list[dict[str, Any]]:
    del options
    return [{"command": " ".join(arguments), "median_ms": median_ms(arguments)} for arguments in COMMANDS]


def _plugins(options: argparse.Namespace) -> list[dict[str, Any]]:
    del options
    return [{"count": count, **list_ms(count)} for count in PLUGIN_COUNTS]


def _rtf(options: argparse.Namespace) -> list[dict[str, Any]]:
    rows = []
    for quality in (*QUALITIES, None):
        case = Case(quality or "balanced", quality is not None, options.vocoder)
        timing = measure(new_enhancer(case.repair, options.base), case, options.seconds)
        rows.append({"case": quality or "nothing found", **dataclasses.asdict(timing), "rest": timing.rest})
        print(f"{rows[-1]['case']}: {timing.total / timing.audio:.3f} x real time")
    return rows


def _memory(options: argparse.Namespace) -> list[dict[str, Any]]:
    rows = []
    for minutes in options.minutes:
        found = peak_megabytes(minutes, options.memory_quality, options.base, options.vocoder)
        rows.append({"minutes": minutes, "quality": options.memory_quality, **found})
        print(f"{minutes:g} minutes: {found['peak_mb']:.0f} MB")
    return rows


if __name__ == "__main__":
    main()
