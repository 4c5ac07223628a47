"""How much of a repair to apply: the gate's answer beside fixed shares, on validation pairs and the whole chain.

    python benchmarks/gate.py --pairs runs/pairs
    python benchmarks/gate.py --pairs runs/pairs --alone --count 440

Prints, for the gate, for several fixed shares of the predicted repair and for several groups of pairs, the mean gain of
SI-SDR in dB and the share of pairs made worse by more than 0.1 dB; detection takes part.
"""

from __future__ import annotations

import argparse
import random
from pathlib import Path
from unittest.mock import patch

import numpy as np

from stemprover import Enhancer, Settings, Stem, StemSet
from stemprover.data.pairs import Pair, PairAudio, load, read_manifest
from stemprover.enhanced import QUALITY_STEPS
from stemprover.evaluation import si_sdr
from stemprover.models import EMBEDDED_GATE, Models
from stemprover.spectral.spec import SPEC
from stemprover.synthesis.gate import load_gate

NO_SEPARATORS = ("none", "controlled")
SHARES = (0.3, 0.5, 0.7, 1.0)


def gains(enhancer: Enhancer, pair: Pair, audio: PairAudio, alone: bool, settings: Settings) -> list[float] | None:
    """Gain of the gate's share and of each of ``SHARES``; None if nothing was found."""
    stem = Stem.from_array(audio.artifact, pair.sample_rate, pair.stem)
    stems = StemSet((stem,), None if alone else Stem.from_array(audio.mixture, pair.sample_rate))
    done = enhancer.enhance_set(stems, settings)[0]
    if not done.plan.items:
        return None
    with patch.object(enhancer.models, "gate", lambda seen: seen.new_ones(len(seen), SPEC.n_bands)):
        repair = enhancer.enhance_set(stems, settings)[0].audio - audio.artifact
    before = si_sdr(audio.clean, audio.artifact)
    repaired = [done.audio, *(audio.artifact + share * repair for share in SHARES)]
    return [si_sdr(audio.clean, one) - before for one in repaired]


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--pairs", type=Path, required=True)
    parser.add_argument("--gate", type=Path, default=EMBEDDED_GATE, help="another gate's folder")
    parser.add_argument("--count", type=int, default=150)
    parser.add_argument("--alone", action="store_true", help="of each pair the stem only, controlled artifacts too")
    parser.add_argument("--quality", choices=tuple(QUALITY_STEPS), default="fast")
    chosen = parser.parse_args()
    settings = Settings(auto_detect=True, quality=chosen.quality, generic=True)
    pairs = [
        p
        for p in read_manifest(chosen.pairs, "validation")
        if p.sdr_db is not None and (chosen.alone or (p.has_siblings and p.separator not in NO_SEPARATORS))
    ]
    random.Random(5).shuffle(pairs)
    enhancer = Enhancer.from_pretrained()
    gate = load_gate(chosen.gate).to(enhancer.models.device)
    groups: dict[str, list[list[float]]] = {}
    with patch.object(Models, "gate", lambda _, seen: gate(seen)):
        for pair in pairs[: chosen.count]:
            audio = load(pair)
            row = gains(enhancer, pair, audio, chosen.alone, settings)
            if row is not None:
                quality = f"{min(max(pair.sdr_db or 0.0, -10.0), 30.0) // 10 * 10:+.0f} dB SDR and more"
                for group in ("all", pair.separator, quality):
                    groups.setdefault(group, []).append(row)
    for group in sorted(groups):
        table = np.array(groups[group])
        names = ("gate", *map(str, SHARES))
        cells = (f"{n}: {c.mean():+.2f} dB, {np.mean(c < -0.1):.0%}" for n, c in zip(names, table.T, strict=True))
        print(f"{group:24}{len(table):4} pairs | {' | '.join(cells)}")


if __name__ == "__main__":
    main()
