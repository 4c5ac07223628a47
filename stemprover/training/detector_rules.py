"""Choosing threshold rules: as sensitive as a bound on false alarms on clean stems allows."""

from __future__ import annotations

import dataclasses
import itertools

import numpy as np

from stemprover.detection.thresholds import DEFAULT_RULES, ThresholdRule
from stemprover.training.detector_data import DETECTED
from stemprover.training.detector_evaluation import Scored, cell_metrics, clean_touched_share

__all__ = ["choose_rule", "choose_rules"]

_CLEAN_TOUCHED = 0.02  # share of clean time in which a false alarm is accepted, all artifacts together
_BASES = np.round(np.arange(0.20, 0.99, 0.02), 2)
_MIN_CELLS = (3, 6, 12)
_HEADROOM = (0.1, 1.0)  # how far above the base a suspicious file can lift its threshold


def _rule(artifact: str, base: float, min_cells: int, headroom: float) -> ThresholdRule:
    ceiling = min(base + headroom, max(base, DEFAULT_RULES[artifact].ceiling))
    return dataclasses.replace(DEFAULT_RULES[artifact], base=base, ceiling=round(ceiling, 2), min_cells=min_cells)


def _of_split(scored: Scored, split: str) -> Scored:
    return scored.where(lambda item: item.pair.split == split)


def _false_alarms(clean: Scored, rules: dict[str, ThresholdRule]) -> float:
    """Share of clean time touched, in the worse of the two splits: the trees know passages near held-out ones."""
    splits = sorted({item.pair.split for item in clean.excerpts})
    return max((clean_touched_share(_of_split(clean, split), rules) for split in splits), default=0.0)


def choose_rule(artifact: str, scored: Scored, allowed: float) -> ThresholdRule:
    """Return the rule that finds most damaged cells and touches at most ``allowed`` of the clean time.

    For each minimum area and headroom the lowest admissible base is searched by bisection, as a higher base never
    touches more; if none is admissible, the highest base stays.
    """
    clean, damaged = scored.where(lambda item: item.clean), scored.where(lambda item: not item.clean)
    candidates = []
    for min_cells, headroom in itertools.product(_MIN_CELLS, _HEADROOM):
        low, high = 0, len(_BASES) - 1
        while low < high:
            middle = (low + high) // 2
            rule = _rule(artifact, float(_BASES[middle]), min_cells, headroom)
            if _false_alarms(clean, {artifact: rule}) <= allowed:
                high = middle
            else:
                low = middle + 1
        candidates.append(_rule(artifact, float(_BASES[low]), min_cells, headroom))
    return max(candidates, key=lambda rule: cell_metrics(damaged, artifact, {artifact: rule})["iou"])


def choose_rules(scored: Scored) -> dict[str, dict[str, ThresholdRule]]:
    """Choose rules for stems with siblings and alone: ``{situation: {artifact: rule}}``."""
    share = _CLEAN_TOUCHED / len(DETECTED)
    return {
        situation: {artifact: choose_rule(artifact, group, share) for artifact in DETECTED}
        for situation, group in scored.situations().items()
    }
