"""How well the installed detectors find what is wrong: cell by cell, in rectangles, and on clean stems."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence

import numpy as np
import torch
from quality_runs import BLIND, MIXTURE, SIBLINGS
from quality_sets import CLEAN, Item
from quality_truth import labels_of

from stemprover.detection import AnalysisBlock, CellScores, Detector, ThresholdRule, block_levels, rules_of
from stemprover.detection.thresholds import audible_cells
from stemprover.training.detector_data import DETECTED
from stemprover.training.detector_evaluation import Scored, cell_metrics, clean_touched_share

__all__ = ["Heard", "figures", "hear"]

_FULL_CELLS = 8  # fewer say nothing about a file's own distribution


@dataclasses.dataclass(frozen=True, eq=False)
class Heard:
    """What detectors said about one stem, and the truth.

    Attributes
    ----------
    group, context : str
        Set, and what the detectors were given.
    scores : Mapping[str, CellScores]
        By artifact of ``DETECTED``; the most probable member stands for a family.
    levels_db : ndarray
        Shape ``[cells, n_cell_bands]``.
    severity : ndarray
        Truth, shape ``[len(DETECTED), cells, n_cell_bands]``.
    """

    group: str
    context: str
    scores: Mapping[str, CellScores]
    levels_db: np.ndarray
    severity: np.ndarray


def hear(detectors: Sequence[Detector], item: Item) -> list[Heard]:
    """Let all detectors score every stem of an item, alone and with what it came with."""
    heard = []
    for name, estimate in item.estimates.items():
        if not item.references[name].any():
            continue
        labels = labels_of(item, name)
        for context in (BLIND, SIBLINGS if len(item.estimates) > 1 else MIXTURE):
            block = AnalysisBlock(_tensor(estimate), _siblings(item, name, context), name)
            levels = block_levels(block)
            truth = np.zeros((len(DETECTED), *levels.shape), np.float32)
            for number, artifact in enumerate(DETECTED):
                if artifact in labels:
                    part = labels[artifact][: len(levels)]
                    truth[number, : len(part)] = part
            if len(levels) >= _FULL_CELLS:
                heard.append(Heard(item.group, context, _families(detectors, block), levels, truth))
    return heard


def _siblings(item: Item, name: str, context: str) -> dict[str, torch.Tensor]:
    if context == BLIND:
        return {}
    if context == MIXTURE:
        return {"residual": _tensor(item.mixture - item.estimates[name])}
    return {other: _tensor(audio) for other, audio in item.estimates.items() if other != name}


def _tensor(audio: np.ndarray) -> torch.Tensor:
    return torch.from_numpy(np.ascontiguousarray(audio, np.float32))


def _families(detectors: Sequence[Detector], block: AnalysisBlock) -> dict[str, CellScores]:
    scores: dict[str, CellScores] = {}
    for detector in detectors:
        scores |= detector.score(block)
    found = {}
    for root in DETECTED:
        members = [one for name, one in scores.items() if f"{name}/".startswith(f"{root}/")]
        if members:
            probability = np.stack([one.probability for one in members])
            severity = np.stack([one.severity for one in members])
            best = probability.argmax(0)[None]
            found[root] = CellScores(
                np.take_along_axis(probability, best, 0)[0], np.take_along_axis(severity, best, 0)[0]
            )
    return found


def figures(heard: Sequence[Heard], detectors: Sequence[Detector]) -> list[dict[str, object]]:
    """Return one row per set, context and artifact, and the false alarms on clean stems."""
    rows: list[dict[str, object]] = []
    for group, context in dict.fromkeys((one.group, one.context) for one in heard):
        chosen = [one for one in heard if (one.group, one.context) == (group, context)]
        rules = rules_of(detectors, alone=context == BLIND)
        scored = Scored(chosen, [one.scores for one in chosen])
        names = [name for name in DETECTED if all(name in one.scores for one in chosen)]
        about = {"group": group, "context": context, "stems": len(chosen)}
        if group == CLEAN:
            alarms = clean_touched_share(scored, {name: _rule(name, rules) for name in names})
            rows.append({**about, "artifact": "any", "false_alarms": round(alarms, 4)})
            continue
        for name in names:
            if _audible(chosen, name, rules):
                found = cell_metrics(scored, name, rules)
                rows.append({**about, "artifact": name, **{key: round(value, 4) for key, value in found.items()}})
    return rows


def _rule(name: str, rules: Mapping[str, ThresholdRule]) -> ThresholdRule:
    return rules.get(name, ThresholdRule())


def _audible(heard: Sequence[Heard], name: str, rules: Mapping[str, ThresholdRule]) -> bool:
    """Whether there is any cell to judge and any with the artifact."""
    number = DETECTED.index(name)
    masks = [audible_cells(one.levels_db, _rule(name, rules)) for one in heard]
    return any((one.severity[number][mask] > 0).any() for one, mask in zip(heard, masks, strict=True))
