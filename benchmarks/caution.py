"""How much of a repair to apply: the whole chain, detection included, on validation pairs.

    python benchmarks/caution.py --pairs runs/pairs

Prints, for several shares of the predicted repair, the mean gain of SI-SDR in dB and the share of pairs made worse by
more than 0.1 dB; ``_CAUTION`` in ``stemprover/render.py`` was chosen from it.
"""

from __future__ import annotations

import argparse
import random
from pathlib import Path

import numpy as np

from stemprover import Enhancer, Settings, Stem, StemSet
from stemprover.data.pairs import load, read_manifest
from stemprover.evaluation import si_sdr
from stemprover.render import _CAUTION

SEPARATORS = ("larsnet", "mask", "waveform", "dtln")
SHARES = (0.3, 0.6, 1.0)


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--pairs", type=Path, required=True)
    parser.add_argument("--count", type=int, default=70)
    chosen = parser.parse_args()
    pairs = [p for p in read_manifest(chosen.pairs, "validation") if p.separator in SEPARATORS and p.sdr_db is not None]
    random.Random(3).shuffle(pairs)
    enhancer = Enhancer.from_pretrained()
    gains = []
    for pair in pairs[: chosen.count]:
        audio = load(pair)
        stem = Stem.from_array(audio.artifact, pair.sample_rate, pair.stem)
        mixture = Stem.from_array(audio.mixture, pair.sample_rate) if pair.has_siblings else None
        found = enhancer.enhance_set(StemSet((stem,), mixture), Settings(auto_detect=True, quality="fast"))[0]
        if found.plan.items:
            repair = (found.audio - audio.artifact) / _CAUTION
            before = si_sdr(audio.clean, audio.artifact)
            gains.append([si_sdr(audio.clean, audio.artifact + share * repair) - before for share in SHARES])
    table = np.array(gains)
    print(f"{len(table)} pairs repaired")
    for share, column in zip(SHARES, table.T, strict=True):
        print(f"share {share}: mean gain {column.mean():+.2f} dB, worse {np.mean(column < -0.1):.0%}")


if __name__ == "__main__":
    main()
