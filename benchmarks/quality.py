"""Measure what repairs gain on test material, and write ``docs/benchmarks/quality.md`` with ``quality.json`` beside it.

    python benchmarks/quality.py [--data ../shared/data] [--quality balanced] [--quick]

Nothing here may be used to choose models or thresholds: it is all test material.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import time
from collections.abc import Iterator
from pathlib import Path

from environment import ROOT, environment, today, weights_of
from quality_page import page
from quality_runs import BLIND, SIBLINGS, Method, methods
from quality_scores import Row, harm_of, score
from quality_sets import CLEAN, Item, clean_items, kit_items, song_items

from stemprover.cli.options import quieten_libraries
from stemprover.enhance import Enhancer, Settings
from stemprover.stems import StemSet

SECONDS, QUICK_SECONDS = 30.0, 20.0


def main() -> None:
    """Run every method on every item and write both files."""
    options = _parser().parse_args()
    quieten_libraries()
    begin = time.perf_counter()
    enhancer = Enhancer.from_pretrained(options.base)
    settings = Settings(auto_detect=True, quality=options.quality, vocoder=options.vocoder, generic=options.generic)
    where, weights = environment(), weights_of(options.base)
    seconds = options.seconds or (QUICK_SECONDS if options.quick else SECONDS)
    rows: list[Row] = []
    for row in _rows(enhancer, settings, options.data, seconds, options.quick):
        rows.append(row)
        _print(row)
    results = {
        "date": today(),
        "environment": where,
        "weights": weights,
        "settings": dataclasses.asdict(settings) | {"seconds": seconds, "quick": options.quick},
        "real_output": _real_output(enhancer, settings, options.data / "spleeter_example"),
        "minutes": round((time.perf_counter() - begin) / 60, 1),
        "rows": [dataclasses.asdict(row) for row in rows],
    }
    out: Path = options.output
    out.parent.mkdir(parents=True, exist_ok=True)
    out.with_suffix(".json").write_text(json.dumps(results) + "\n", encoding="utf-8")
    out.write_text(page(results), encoding="utf-8")
    print(f"wrote {out}")


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument(
        "--data", type=Path, default=ROOT.parent / "shared" / "data", help="folder of the test material"
    )
    parser.add_argument("--quality", choices=("fast", "balanced", "best"), default="balanced")
    parser.add_argument("--quick", action="store_true", help=f"{QUICK_SECONDS:g} s of one kit and one separator")
    parser.add_argument("--seconds", type=float, help=f"length of each excerpt, {SECONDS:g} by default")
    parser.add_argument("--generic", action="store_true", help="let the base repair what no adapter claims")
    parser.add_argument("--base", help="folder of another base")
    parser.add_argument("--vocoder", default="embedded")
    parser.add_argument("--output", type=Path, default=ROOT / "docs" / "benchmarks" / "quality.md")
    return parser


def _rows(enhancer: Enhancer, settings: Settings, data: Path, seconds: float, quick: bool) -> Iterator[Row]:
    groups = [list(found(data, seconds)) for found in (song_items, kit_items)]
    items = [item for group in groups for item in (group[:1] if quick else group)]
    if not items:
        raise SystemExit(f"no test material in {data}: give its folder with --data")
    compared = list(methods(enhancer, settings))
    for item in (*items, *clean_items(items)):
        chosen = compared if item.group != CLEAN else [m for m in compared if m.name == "StemProver"]
        for method in chosen:
            if item.group != CLEAN or method.context in (BLIND, SIBLINGS):
                yield from _run(item, method)


def _run(item: Item, method: Method) -> Iterator[Row]:
    for name, repaired in method.run(item).items():
        reference, before = item.references[name], item.estimates[name]
        pauses, changed, segments = harm_of(reference, before, repaired.audio)
        yield Row(
            group=item.group,
            song=item.song,
            separator=item.separator,
            seen=item.seen,
            stem=name,
            method=method.name,
            context=method.context,
            pauses=pauses,
            changed=changed,
            segments=segments,
            repaired=round(repaired.share, 4),
            **score(reference, before, repaired.audio),
        )


def _real_output(enhancer: Enhancer, settings: Settings, folder: Path) -> list[dict[str, object]]:
    """Repair a separator's published example, for which there is no reference: it must run and be explained."""
    if not folder.is_dir():
        return []
    with StemSet.open(folder) as stems:
        return [
            {
                "stem": one.stem.name,
                "repaired": one.repaired_s * one.sample_rate / one.stem.format.samples,
                "found": sorted({found.artifact for found in one.detections}),
            }
            for one in enhancer.enhance_set(stems, settings)
        ]


def _print(row: Row) -> None:
    mean = sum(after - before for before, after in row.si_sdr) / max(len(row.si_sdr), 1)
    print(f"{row.song} {row.separator} {row.stem}: {row.method} ({row.context}) {mean:+.2f} dB", flush=True)


if __name__ == "__main__":
    main()
