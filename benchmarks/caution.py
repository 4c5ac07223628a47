"""How much of a repair to apply: the whole chain, detection included, on validation pairs.

    python benchmarks/caution.py --pairs runs/pairs
    python benchmarks/caution.py --pairs runs/pairs --alone --count 440

Prints, for several shares of the predicted repair and several groups of pairs, the mean gain of SI-SDR in dB and the
share of pairs made worse by more than 0.1 dB; ``caution`` in ``stemprover/synthesis/blend.py`` was chosen from it.
"""

from __future__ import annotations

import argparse
import random
from pathlib import Path

import numpy as np

from stemprover import Enhancer, Settings, Stem, StemSet
from stemprover.data.pairs import load, read_manifest
from stemprover.evaluation import si_sdr
from stemprover.synthesis.blend import caution

NO_SEPARATORS = ("none", "controlled")
SHARES = (0.3, 0.5, 0.7, 1.0)


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--pairs", type=Path, required=True)
    parser.add_argument("--count", type=int, default=150)
    parser.add_argument("--alone", action="store_true", help="of each pair the stem only, controlled artifacts too")
    chosen = parser.parse_args()
    pairs = [
        p
        for p in read_manifest(chosen.pairs, "validation")
        if p.sdr_db is not None and (chosen.alone or (p.has_siblings and p.separator not in NO_SEPARATORS))
    ]
    random.Random(5).shuffle(pairs)
    enhancer = Enhancer.from_pretrained()
    gains: dict[str, list[list[float]]] = {}
    for pair in pairs[: chosen.count]:
        audio = load(pair)
        stem = Stem.from_array(audio.artifact, pair.sample_rate, pair.stem)
        mixture = Stem.from_array(audio.mixture, pair.sample_rate) if not chosen.alone else None
        settings = Settings(auto_detect=True, quality="fast", generic=True)
        found = enhancer.enhance_set(StemSet((stem,), mixture), settings)[0]
        if found.plan.items:
            repair = (found.audio - audio.artifact) / caution(chosen.alone)
            before = si_sdr(audio.clean, audio.artifact)
            row = [si_sdr(audio.clean, audio.artifact + share * repair) - before for share in SHARES]
            worst = max(item.severity for item in found.plan.items)
            for group in (
                "all",
                pair.separator,
                f"severity {10 * worst // 2 / 5:.1f}",
            ):
                gains.setdefault(group, []).append(row)
    for group in sorted(gains):
        table = np.array(gains[group])
        cells = (f"{s}: {c.mean():+.2f} dB, {np.mean(c < -0.1):.0%}" for s, c in zip(SHARES, table.T, strict=True))
        print(f"{group:16}{len(table):4} pairs | {' | '.join(cells)}")


if __name__ == "__main__":
    main()
