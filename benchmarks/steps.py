"""What stage 1 gains with more sampling steps, on validation pairs, at full strength and with the input's phase.

    python benchmarks/steps.py --pairs runs/pairs --base runs/base/final

Prints, for each number of steps, the mean gain of 1 + SI-SDR in dB and the share of segments made worse by over 0.1 dB,
of all, of songs' stems and of pieces of drum kits.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import torch

from stemprover.enhanced import QUALITY_STEPS
from stemprover.restoration.weights import load_pipeline
from stemprover.separation.layout import KIT_STEMS
from stemprover.training.dataset import PairBatches
from stemprover.training.losses import scaled_gain_error_ratio
from stemprover.training.restoration import RestorationTask, applied_gain


@torch.inference_mode()
def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--pairs", type=Path, required=True)
    parser.add_argument("--base", type=Path, help="folder of another base")
    parser.add_argument("--batches", type=int, default=10, help="of eight segments")
    chosen = parser.parse_args()
    pipeline = load_pipeline(chosen.base)
    task = RestorationTask(pipeline.model, None, lambda _: None)
    batches = PairBatches(chosen.pairs, "validation", 8, 1234)
    gains: dict[tuple[int, str], list[float]] = {}
    for number in range(chosen.batches):
        batch = batches.batch(number)
        stem, clean, features, condition = task.prepare(batch, None)
        for steps in QUALITY_STEPS.values():
            restored = pipeline(condition, steps, range(len(batch.stems)))
            gain = applied_gain(features.image, restored, batch.region)
            found = -10.0 * scaled_gain_error_ratio(gain, clean, stem)
            for name, value in zip(batch.stems, found.tolist(), strict=True):
                for group in ("all", "kits" if name in KIT_STEMS else "songs"):
                    gains.setdefault((steps, group), []).append(value)
    for (steps, group), values in sorted(gains.items()):
        worse = sum(value < -0.1 for value in values) / len(values)
        print(f"{steps:2} steps, {group:5} ({len(values)}): {sum(values) / len(values):+.2f} dB, {worse:.0%} worse")


if __name__ == "__main__":
    main()
