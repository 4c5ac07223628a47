"""Choosing threshold rules: as sensitive as a bound on false alarms on clean stems of every recording allows."""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Collection, Mapping, Sequence

import numpy as np

from stemprover.detection.thresholds import DEFAULT_RULES, ThresholdRule
from stemprover.training.detector_data import DETECTED
from stemprover.training.detector_evaluation import Scored, cell_metrics, clean_touched_share

__all__ = ["choose_rule", "choose_rules"]

_CLEAN_TOUCHED = 0.02  # share of clean time in which a false alarm is accepted, all artifacts together
_PARTS = (1.0, 0.75, 0.5, 1.0 / len(DETECTED))  # tried in turn: what of it one artifact may use up in a recording
_TELLING_S = 60.0  # clean time from which a recording is looked at by itself
_ONE_EXCERPT = 1.0 + 1e-6  # flagged from start to end, and what rounding adds
_BASES = np.round(np.arange(0.20, 0.99, 0.02), 2)
_MIN_CELLS = (3, 6, 12)
_HEADROOM = (0.1, 1.0)  # how far above the base a suspicious file can lift its threshold


def _rule(artifact: str, base: float, min_cells: int, headroom: float) -> ThresholdRule:
    ceiling = min(base + headroom, max(base, DEFAULT_RULES[artifact].ceiling))
    return dataclasses.replace(DEFAULT_RULES[artifact], base=base, ceiling=round(ceiling, 2), min_cells=min_cells)


def _of(clean: Scored, songs: Collection[str]) -> Scored:
    return clean.where(lambda item: item.pair.song in songs)


def _by_recording(clean: Scored) -> list[Scored]:
    """Part clean excerpts by recording; those of which there is too little to tell are together."""
    seconds: dict[str, float] = {}
    for item in clean.excerpts:
        seconds[item.pair.song] = seconds.get(item.pair.song, 0.0) + item.pair.samples / item.pair.sample_rate
    long = sorted(name for name, length in seconds.items() if length >= _TELLING_S)
    parts = [_of(clean, songs) for songs in (*([name] for name in long), sorted(seconds.keys() - set(long)))]
    return [part for part in parts if part.excerpts]


def _stays_clean(
    recordings: Sequence[Scored], rules: Mapping[str, ThresholdRule], allowed: float, of_each: float
) -> bool:
    """Whether at most ``allowed`` of all clean time is touched, and at most ``of_each`` of every recording's.

    A mean hides the song that is unlike all others, and a user's song may be such a one. One excerpt is no evidence.
    """
    if not recordings:
        return True
    shares = [clean_touched_share(part, rules) for part in recordings]
    bounds = [max(of_each, _ONE_EXCERPT / len(part.excerpts)) for part in recordings]
    sizes = [sum(item.levels_db.shape[0] for item in part.excerpts) for part in recordings]
    within = all(share <= bound for share, bound in zip(shares, bounds, strict=True))
    return within and float(np.average(shares, weights=sizes)) <= allowed


def choose_rule(artifact: str, scored: Scored, allowed: float, of_each: float = _CLEAN_TOUCHED) -> ThresholdRule:
    """Return the rule that finds most damaged cells and touches few clean ones.

    At most ``allowed`` of all clean time and ``of_each`` of every recording's (or one excerpt) are touched, unless even
    the highest base touches more.
    For each minimum area and headroom the lowest admissible base is searched by bisection, as a higher base never
    touches more; if none is admissible, the highest base stays.
    """
    clean, damaged = _by_recording(scored.where(lambda item: item.clean)), scored.where(lambda item: not item.clean)
    candidates = []
    for min_cells, headroom in itertools.product(_MIN_CELLS, _HEADROOM):
        low, high = 0, len(_BASES) - 1
        while low < high:
            middle = (low + high) // 2
            rule = _rule(artifact, float(_BASES[middle]), min_cells, headroom)
            if _stays_clean(clean, {artifact: rule}, allowed, of_each):
                high = middle
            else:
                low = middle + 1
        candidates.append(_rule(artifact, float(_BASES[low]), min_cells, headroom))
    return max(candidates, key=lambda rule: cell_metrics(damaged, artifact, {artifact: rule})["iou"])


def choose_rules(scored: Scored) -> dict[str, dict[str, ThresholdRule]]:
    """Choose rules for stems with siblings and alone: ``{situation: {artifact: rule}}``."""
    return {situation: _together(group) for situation, group in scored.situations().items()}


def _together(scored: Scored) -> dict[str, ThresholdRule]:
    """Choose rules that keep recordings clean all together; alarms of different artifacts mostly add up.

    Each artifact may use up all that is accepted in one recording, or a part of it if that is too much together; if
    the smallest part is, too, it stays at that. One excerpt is accepted of each artifact whatever the part.
    """
    clean = _by_recording(scored.where(lambda item: item.clean))
    for part in _PARTS:
        limits = _CLEAN_TOUCHED / len(DETECTED), _CLEAN_TOUCHED * part
        rules = {artifact: choose_rule(artifact, scored, *limits) for artifact in DETECTED}
        if _stays_clean(clean, rules, _CLEAN_TOUCHED, _CLEAN_TOUCHED):
            break
    return rules
