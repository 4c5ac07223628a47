"""Training of the detectors: pairs in; models, thresholds, measurements and an updated manifest out.

Calibration and thresholds are chosen on training pairs and one half of the validation pairs, scored by models that
never heard their recordings. The other half is scored in the same way, measured and nothing else. The models that are
stored grow on all training pairs.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from stemprover.data.pairs import read_manifest
from stemprover.detection.calibrated import CalibratedModel
from stemprover.detection.features import SOURCES
from stemprover.detection.thresholds import DEFAULT_RULES, ThresholdRule
from stemprover.errors import TrainingError
from stemprover.training.detector_crossfit import FOLDS, Folds, calibrated, calibration, part_of
from stemprover.training.detector_data import DETECTED, Excerpt, excerpts_of, source_rows
from stemprover.training.detector_evaluation import Scored, cell_metrics, clean_touched_share, score_all
from stemprover.training.detector_models import PRESENT, TreeSettings, fit_artifact, fit_source, store
from stemprover.training.detector_rules import choose_rules

__all__ = ["DetectorRecipe", "train_detectors"]

_CLEAN_SHARE = 1.0  # of the pairs are rendered clean as well: what a clean stem looks like decides the thresholds
Report = Callable[[str, float], None]
_Source = tuple[Any, tuple[str, ...]]


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
    jobs : int
        Parallel processes for the features; the models do not depend on it.
    """

    pairs: Path
    package: Path
    max_pairs: int = 4000
    trees: TreeSettings = dataclasses.field(default_factory=TreeSettings)
    jobs: int = 1


def _silent(stage: str, share: float) -> None:
    """Report to nobody."""


def _for_choosing(excerpt: Excerpt) -> bool:
    """Training excerpts, and half of the validation pairs, choose thresholds; the other half is only measured."""
    return excerpt.pair.split == "train" or part_of(excerpt.pair, 2) == 0


def _read(recipe: DetectorRecipe, split: str, report: Report) -> list[Excerpt]:
    pairs = read_manifest(recipe.pairs, split)[: recipe.max_pairs]
    if not pairs:
        raise TrainingError(f"{split} pairs in {recipe.pairs}", "none", "make some with `stemprover data pairs`")
    return excerpts_of(
        pairs,
        _CLEAN_SHARE,
        recipe.trees.seed,
        lambda done: report(f"features of {split} pairs", done / len(pairs)),
        recipe.jobs,
    )


def _metrics(measured: Scored, rules: Mapping[str, Mapping[str, ThresholdRule]]) -> dict[str, Any]:
    """Measure each situation with its own rules."""
    result: dict[str, Any] = {}
    for situation, group in measured.situations().items():
        clean = group.where(lambda item: item.clean)
        result[situation] = {
            **{artifact: cell_metrics(group, artifact, rules[situation]) for artifact in DETECTED},
            "clean_touched_share": clean_touched_share(clean, rules[situation]),
            "clean_seconds": sum(item.pair.samples / item.pair.sample_rate for item in clean.excerpts),
        }
    return result


def _grow(excerpts: Sequence[Excerpt], trees: TreeSettings) -> tuple[dict[str, CalibratedModel], _Source]:
    """Fit everything that is stored, not calibrated yet."""
    models = {name: fit_artifact(name, excerpts, DEFAULT_RULES[name], trees) for name in DETECTED}
    return models, fit_source(excerpts, trees)


def _sources_named(source: _Source, excerpts: Sequence[Excerpt]) -> np.ndarray:
    """For each cell with bleed, whether its loudest source is named right."""
    if not excerpts:
        return np.empty(0, bool)
    features, truth = source_rows(excerpts, PRESENT)
    return np.asarray(source[0].predict(features) == truth) if len(truth) else np.empty(0, bool)


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
    manifest["metrics"] = {f"{name}_roc_auc": metrics["siblings"][name]["roc_auc"] for name in DETECTED}
    manifest["metrics"]["clean_touched_share"] = metrics["siblings"]["clean_touched_share"]
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
    folds = Folds.of([item.pair for item in training])
    parts, named = [], []
    for fold in range(FOLDS):
        growing = [item for item in training if folds.growing(fold, item.pair)]
        mine = [item for item in (*training, *validation) if folds.scoring(item.pair) == fold]
        report("trees", fold / (FOLDS + 1))
        models, source = _grow(growing, recipe.trees)
        parts.append(score_all(models, mine))
        named.append(_sources_named(source, [item for item in mine if not _for_choosing(item)]))
    report("trees", FOLDS / (FOLDS + 1))
    models, source = _grow(training, recipe.trees)
    report("thresholds and measurements", 0.0)
    raw = Scored.together(parts)
    curves = {name: calibration(name, raw.where(_for_choosing), DEFAULT_RULES[name]) for name in DETECTED}
    models = {name: dataclasses.replace(model, curves=curves[name]) for name, model in models.items()}
    unheard = calibrated(raw, curves)
    rules = choose_rules(unheard.where(_for_choosing))
    measured = unheard.where(lambda item: not _for_choosing(item))
    right = np.concatenate(named)
    metrics = _metrics(measured, rules) | {
        "source_accuracy": float(right.mean()) if len(right) else float("nan"),
        "sources": list(SOURCES),
        "training_excerpts": len(training),
        "measured_excerpts": len(measured.excerpts),
    }
    files = store(recipe.package / "models", models, source)
    rules_file = recipe.package / "models" / "rules.json"
    _write_json(
        rules_file,
        {situation: {name: dataclasses.asdict(rule) for name, rule in by.items()} for situation, by in rules.items()},
    )
    _write_json(recipe.package / "metrics.json", metrics)
    _update_manifest(recipe.package, [*files, rules_file], metrics)
    report("thresholds and measurements", 1.0)
    return metrics
