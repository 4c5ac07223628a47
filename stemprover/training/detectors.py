"""Training of the detectors: pairs in; models, thresholds, measurements and an updated manifest out.

Training pairs are divided by pair into a part that grows the trees and a held-out part that calibrates them. The
validation songs are divided into one half that chooses the thresholds and one that is measured and nothing else.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from stemprover.data.pairs import Pair, read_manifest
from stemprover.detection.features import SOURCES
from stemprover.detection.thresholds import DEFAULT_RULES, ThresholdRule
from stemprover.detection.types import CellScores
from stemprover.errors import TrainingError
from stemprover.training.detector_data import DETECTED, Excerpt, excerpts_of, source_rows
from stemprover.training.detector_evaluation import cell_metrics, clean_touched_share, score_excerpt
from stemprover.training.detector_models import PRESENT, FittedModel, TreeSettings, fit_artifact, fit_source, store

__all__ = ["DetectorRecipe", "choose_base", "train_detectors"]

_HELD_OUT = 5  # one of so many training pairs calibrates
_CLEAN_TOUCHED = 0.02  # share of clean time in which a false alarm is accepted, all artifacts together
_BASES = np.round(np.arange(0.3, 0.98, 0.02), 2)
Report = Callable[[str, float], None]


@dataclasses.dataclass(frozen=True, slots=True)
class DetectorRecipe:
    """What ``stemprover train detectors`` needs to know.

    Attributes
    ----------
    pairs : Path
        A pairs folder with ``train`` and ``validation`` pairs.
    package : Path
        The detectors' package folder: ``models/``, ``metrics.json`` and ``stemprover.json`` in it are rewritten.
    max_pairs : int
        Use at most so many pairs of each split.
    trees : TreeSettings
        Size of the models.
    """

    pairs: Path
    package: Path
    max_pairs: int = 4000
    trees: TreeSettings = dataclasses.field(default_factory=TreeSettings)


@dataclasses.dataclass(frozen=True)
class _Scored:
    """Excerpts with their scores."""

    excerpts: Sequence[Excerpt]
    scores: Sequence[Mapping[str, CellScores]]

    def where(self, keep: Callable[[Excerpt], bool]) -> _Scored:
        kept = [(item, score) for item, score in zip(self.excerpts, self.scores, strict=True) if keep(item)]
        return _Scored([item for item, _ in kept], [score for _, score in kept])


def _silent(stage: str, share: float) -> None:
    """Report to nobody."""


def _part(pair: Pair, parts: int) -> int:
    """A stable part number for a pair, whatever else the folder holds."""
    return hashlib.sha256(pair.id.encode()).digest()[0] % parts


def _read(recipe: DetectorRecipe, split: str, report: Report) -> list[Excerpt]:
    pairs = read_manifest(recipe.pairs, split)[: recipe.max_pairs]
    if not pairs:
        raise TrainingError(f"{split} pairs in {recipe.pairs}", "none", "make some with `stemprover data pairs`")
    return excerpts_of(pairs, recipe.trees.seed, lambda done: report(f"features of {split} pairs", done / len(pairs)))


def choose_base(artifact: str, clean: _Scored, allowed: float) -> ThresholdRule:
    """Return the artifact's rule with the lowest base threshold that touches at most ``allowed`` of the clean time."""
    rule = DEFAULT_RULES[artifact]
    for base in _BASES:
        rule = dataclasses.replace(rule, base=float(base), ceiling=max(rule.ceiling, float(base)))
        if clean_touched_share(clean.scores, clean.excerpts, {artifact: rule}) <= allowed:
            break
    return rule


def _metrics(measured: _Scored, rules: Mapping[str, ThresholdRule]) -> dict[str, Any]:
    groups = {
        "all": measured,
        "with_siblings": measured.where(lambda item: not item.blind),
        "alone": measured.where(lambda item: item.blind),
    }
    clean = measured.where(lambda item: item.clean)
    seconds = sum(item.pair.samples / item.pair.sample_rate for item in clean.excerpts)
    return {
        **{
            artifact: {
                name: cell_metrics(group.scores, group.excerpts, artifact, rules) for name, group in groups.items()
            }
            for artifact in DETECTED
        },
        "clean_touched_share": clean_touched_share(clean.scores, clean.excerpts, rules),
        "clean_seconds": seconds,
    }


def _source_accuracy(source: tuple[Any, tuple[str, ...]], excerpts: Sequence[Excerpt]) -> float:
    features, truth = source_rows(excerpts, PRESENT)
    return float((source[0].predict(features) == truth).mean()) if len(truth) else float("nan")


def _rounded(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _rounded(item) for key, item in value.items()}
    return round(value, 4) if isinstance(value, float) else value


def _write_json(path: Path, content: Mapping[str, Any]) -> None:
    path.write_text(json.dumps(_rounded(dict(content)), indent=2) + "\n", encoding="utf-8")


def _update_manifest(package: Path, files: Sequence[Path], metrics: Mapping[str, Any]) -> None:
    path = package / "stemprover.json"
    manifest = json.loads(path.read_text(encoding="utf-8"))
    hashes = {file: hashlib.sha256(file.read_bytes()).hexdigest() for file in sorted(files)}
    manifest["files"] = {file.relative_to(package).as_posix(): value for file, value in hashes.items()}
    manifest["metrics"] = {f"{name}_roc_auc": metrics[name]["all"]["roc_auc"] for name in DETECTED}
    manifest["metrics"]["clean_touched_share"] = metrics["clean_touched_share"]
    _write_json(path, manifest)


def train_detectors(recipe: DetectorRecipe, report: Report | None = None) -> dict[str, Any]:
    """Train, calibrate, choose thresholds, measure and store.

    Parameters
    ----------
    recipe : DetectorRecipe
        Where things are and how large the models may be.
    report : callable
        Gets the stage and the share of it that is done, 0 to 1.

    Returns
    -------
    dict
        What ``metrics.json`` holds.

    Raises
    ------
    TrainingError
        No pairs, or too few cells with or without an artifact.
    """
    report = report or _silent
    training, validation = _read(recipe, "train", report), _read(recipe, "validation", report)
    fit = [item for item in training if _part(item.pair, _HELD_OUT)]
    held_out = [item for item in training if not _part(item.pair, _HELD_OUT)]
    models: dict[str, FittedModel] = {}
    for number, artifact in enumerate(DETECTED):
        report("trees", number / len(DETECTED))
        models[artifact] = fit_artifact(artifact, fit, held_out, DEFAULT_RULES[artifact], recipe.trees)
    source = fit_source(fit, recipe.trees)
    report("thresholds and measurements", 0.0)
    scored = _Scored(validation, [score_excerpt(models, item) for item in validation])
    choosing = scored.where(lambda item: _part(item.pair, 2) == 0)
    clean = choosing.where(lambda item: item.clean)
    rules = {name: choose_base(name, clean, _CLEAN_TOUCHED / len(DETECTED)) for name in DETECTED}
    measured = scored.where(lambda item: _part(item.pair, 2) == 1)
    metrics = _metrics(measured, rules) | {
        "source_accuracy": _source_accuracy(source, measured.excerpts),
        "sources": list(SOURCES),
        "training_excerpts": len(training),
        "measured_excerpts": len(measured.excerpts),
        "base_thresholds": {name: rule.base for name, rule in rules.items()},
    }
    files = store(recipe.package / "models", models, source)
    rules_file = recipe.package / "models" / "rules.json"
    _write_json(rules_file, {name: dataclasses.asdict(rule) for name, rule in rules.items()})
    _write_json(recipe.package / "metrics.json", metrics)
    _update_manifest(recipe.package, [*files, rules_file], metrics)
    report("thresholds and measurements", 1.0)
    return metrics
