"""Small items and rows for the tests of the quality benchmark."""

from __future__ import annotations

import numpy as np
from quality_scores import Row
from quality_sets import KITS, Item

__all__ = ["RATE", "item", "noise", "row"]

RATE = 44_100


def noise(seed: int, seconds: float = 4.0) -> np.ndarray:
    return np.random.default_rng(seed).normal(0, 0.1, (2, round(seconds * RATE)))


def item(group: str = KITS, seconds: float = 4.0, bleed: float = 0.3) -> Item:
    """Two noise stems that bleed into each other."""
    stems = {"vocals": noise(1, seconds), "drums": noise(2, seconds)}
    leaked = {name: stem + bleed * stems["drums" if name == "vocals" else "vocals"] for name, stem in stems.items()}
    return Item(group, "piece", "a separator", "no", stems, leaked, stems["vocals"] + stems["drums"])


def row(gain: float, **fields: object) -> Row:
    values: dict[str, object] = {
        "group": KITS,
        "song": "kit",
        "separator": "LarsNet",
        "seen": "yes",
        "stem": "snare",
        "method": "StemProver",
        "context": "siblings",
        "starts": [0.0],
        "artifacts": ["bleed/drums"],
        "scores": {
            "si_sdr": [(10.0, 10.0 + gain)],
            "log_spectral_distance": [(4.0, 3.0)],
            "mr_stft": [(0.5, 0.4)],
            "phase_coherence": [(0.8, 0.9)],
        },
        "bands": {},
        "whole": {},
        "pauses": [],
        "changed": [],
        "segments": 1,
        "repaired": 0.5,
    }
    return Row(**(values | fields))  # type: ignore[arg-type]
