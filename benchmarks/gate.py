"""How much of a repair to apply: the gate's answer beside fixed shares, on validation pairs and the whole chain.

    python benchmarks/gate.py --pairs runs/pairs
    python benchmarks/gate.py --pairs runs/pairs --alone --count 440
    python benchmarks/gate.py --repairs runs/gate/repairs/validation

Prints, for the gate, for several fixed shares of the predicted repair and for several groups of pairs, the mean gain of
SI-SDR in dB and the share of pairs made worse by more than 0.1 dB; detection takes part. With ``--repairs`` it takes
those that ``stemprover train gate`` has kept, segment by segment, and groups them by how they were made.
"""

from __future__ import annotations

import argparse
import random
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from safetensors.torch import load_file

from stemprover import Enhancer, Settings, Stem, StemSet
from stemprover.data.pairs import Pair, PairAudio, load, read_manifest
from stemprover.enhanced import QUALITY_STEPS
from stemprover.evaluation import si_sdr
from stemprover.models import EMBEDDED_GATE
from stemprover.synthesis.gate import Gate, constant_gate, load_gate
from stemprover.training.gate_draws import SPOILED
from stemprover.training.gate_kept import join

NO_SEPARATORS = ("none", "controlled")
SHARES = (0.3, 0.5, 0.7, 1.0)


KINDS = ("fast", "alone", "balanced", "best", SPOILED)


def gains(
    gated: Enhancer, ungated: Enhancer, pair: Pair, audio: PairAudio, alone: bool, settings: Settings
) -> list[float] | None:
    """Gain of the gate's share and of each of ``SHARES``; None if nothing was found."""
    stem = Stem.from_array(audio.artifact, pair.sample_rate, pair.stem)
    stems = StemSet((stem,), None if alone else Stem.from_array(audio.mixture, pair.sample_rate))
    done = gated.enhance_set(stems, settings)[0]
    if not done.plan.items:
        return None
    repair = ungated.enhance_set(stems, settings)[0].audio - audio.artifact
    before = si_sdr(audio.clean, audio.artifact)
    repaired = [done.audio, *(audio.artifact + share * repair for share in SHARES)]
    return [si_sdr(audio.clean, one) - before for one in repaired]


NAMES = ("gate", *map(str, SHARES))


def show(group: str, table: np.ndarray, of: str, names: Sequence[str] = NAMES) -> None:
    """Print one line: a column of the table after the other, by default the gate and then each of ``SHARES``."""
    cells = (f"{n}: {c.mean():+.2f} dB, {np.mean(c < -0.1):.1%}" for n, c in zip(names, table.T, strict=True))
    print(f"{group:24}{len(table):4} {of} | {' | '.join(cells)}")


@torch.inference_mode()
def show_kept(folder: Path, gate: Gate) -> None:
    """Print what the gate makes of repairs that were kept in training."""
    for kind in KINDS:
        paths = [path for path in sorted(folder.glob("*.safetensors")) if kind == _kind(path.stem)]
        if paths:
            kept = join([load_file(path) for path in paths])
            gates = (gate, *map(constant_gate, SHARES))
            show(kind, np.stack([kept.gains_db(one(kept.seen))[1].numpy() for one in gates], 1), "segments")


def _kind(name: str) -> str:
    """``validation-000012-alone`` is of the kind ``alone``."""
    return next((kind for kind in KINDS if name.endswith(f"-{kind}")), "fast")


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    what = parser.add_mutually_exclusive_group(required=True)
    what.add_argument("--pairs", type=Path)
    what.add_argument("--repairs", type=Path, help="those that training the gate has kept")
    parser.add_argument("--gate", type=Path, default=EMBEDDED_GATE, help="another gate's folder")
    parser.add_argument("--count", type=int, default=150)
    parser.add_argument("--alone", action="store_true", help="of each pair the stem only, controlled artifacts too")
    parser.add_argument("--quality", choices=tuple(QUALITY_STEPS), default="fast")
    chosen = parser.parse_args()
    gate = load_gate(chosen.gate)
    if chosen.repairs:
        show_kept(chosen.repairs, gate)
        return
    settings = Settings(auto_detect=True, quality=chosen.quality, generic=True, second_opinion=False)
    pairs = [
        p
        for p in read_manifest(chosen.pairs, "validation")
        if p.sdr_db is not None and (chosen.alone or (p.has_siblings and p.separator not in NO_SEPARATORS))
    ]
    random.Random(5).shuffle(pairs)
    enhancer = Enhancer.from_pretrained()
    gated, ungated = (enhancer.with_gate(one) for one in (gate.to(enhancer.models.device), constant_gate(1.0)))
    groups: dict[str, list[list[float]]] = {}
    for pair in pairs[: chosen.count]:
        audio = load(pair)
        row = gains(gated, ungated, pair, audio, chosen.alone, settings)
        if row is not None:
            quality = f"{min(max(pair.sdr_db or 0.0, -10.0), 30.0) // 10 * 10:+.0f} dB SDR and more"
            for group in ("all", pair.separator, quality):
                groups.setdefault(group, []).append(row)
    for group in sorted(groups):
        show(group, np.array(groups[group]), "pairs")


if __name__ == "__main__":
    main()
