"""What the gate does on stems of recordings that it has not seen: each is left out of its training in turn.

    python benchmarks/gate_unknown.py --pairs runs/pairs --repairs runs/gate/repairs/train

Takes repairs that ``stemprover train gate`` has kept, trains a gate without those of one recording, and prints the mean
gain of SI-SDR in dB and the share of segments made worse by more than 0.1 dB on that recording, for the gate with one
doubt or several and for half of each repair; then all recordings together, and by stem class and separator. Recordings
of few pairs and what belongs to no song are always in.
"""

from __future__ import annotations

import argparse
import collections
import re
import tempfile
from pathlib import Path

import numpy as np
import torch
from gate import show
from safetensors.torch import load_file

from stemprover.data.pairs import NO_MUSIC, Pair, read_manifest
from stemprover.synthesis.gate import RepairGate, constant_gate, load_gate
from stemprover.training.gate import Outcome
from stemprover.training.gate_draws import SPOILED
from stemprover.training.gate_kept import join
from stemprover.training.loop import read_recipe
from stemprover.training.runs import RECIPES, fit_gate

_HOW = re.compile(r"(-alone)?(-balanced|-best|-spoiled)?$")
"""What a draw's name says after the pair's."""


def recordings(repairs: Path, pairs: Path) -> dict[str, dict[Path, Pair]]:
    """Kept repairs and their pairs, by what their stem was cut from."""
    known = {pair.id: pair for pair in read_manifest(pairs)}
    found: dict[str, dict[Path, Pair]] = collections.defaultdict(dict)
    for path in sorted(repairs.glob("*.safetensors")):
        pair = known[_HOW.sub("", path.stem)]
        found[pair.song][path] = pair
    return dict(found)


@torch.inference_mode()
def gains(judged: Outcome, gate: RepairGate, doubt: float | None) -> np.ndarray:
    """Gain of SI-SDR per segment, of the gate with this doubt or of half of each repair."""
    if doubt is None:
        return judged.gains_db(constant_gate(0.5)(judged.seen))[1].numpy()
    gate.register_to_config(doubt=doubt)
    return judged.gains_db(gate(judged.seen))[1].numpy()


def main() -> None:
    """Train, measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--pairs", type=Path, required=True)
    parser.add_argument("--repairs", type=Path, required=True)
    parser.add_argument("--harm", type=float, default=28.0)
    parser.add_argument("--doubt", type=float, nargs="+", default=[1.5], help="see RepairGate")
    parser.add_argument("--steps", type=int)
    parser.add_argument("--least", type=int, default=50, help="repairs that a recording must have to be left out")
    chosen = parser.parse_args()
    numbers = read_recipe(RECIPES / "gate.yaml", {"steps": chosen.steps})
    by_song = recordings(chosen.repairs, chosen.pairs)
    kept = {path: load_file(path) for pairs in by_song.values() for path in pairs}
    names = [*(f"doubt {doubt:g}" for doubt in chosen.doubt), "half"]
    tables: dict[str, list[np.ndarray]] = collections.defaultdict(list)
    for song, pairs in by_song.items():
        if song in NO_MUSIC or len(pairs) < chosen.least:
            continue
        known = join([kept[path] for other, some in by_song.items() if other != song for path in some])
        judged = {path: pair for path, pair in pairs.items() if not path.stem.endswith(f"-{SPOILED}")}
        with tempfile.TemporaryDirectory() as folder:
            gate = load_gate(fit_gate(known, join([kept[path] for path in judged]), chosen.harm, numbers, Path(folder)))
        for path, pair in judged.items():
            outcome = join([kept[path]])
            if not len(outcome.seen):
                continue  # nothing but silence
            rows = np.stack([gains(outcome, gate, doubt) for doubt in (*chosen.doubt, None)], 1)
            for group in (song, "all", f"stem: {pair.stem}", f"separator: {pair.separator}"):
                tables[group].append(rows)
        show(song, np.concatenate(tables[song]), "segments", names)
    for group in sorted(tables.keys() - by_song.keys()):
        show(group, np.concatenate(tables[group]), "segments", names)


if __name__ == "__main__":
    main()
