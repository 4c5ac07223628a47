"""Training of the detectors on a small folder of pairs with known artifacts."""

from __future__ import annotations

import dataclasses
import json
import shutil
from pathlib import Path

import numpy as np
import pytest

from stemprover.data.labels import cell_labels
from stemprover.data.pairs import Pair, PairAudio, read_manifest, write_pair
from stemprover.detection.thresholds import ThresholdRule
from stemprover.detection.types import CellScores, Detection
from stemprover.errors import TrainingError
from stemprover.spectral.bands import cell_band_edges_hz
from stemprover.spectral.spec import SPEC
from stemprover.training.detector_crossfit import part_of
from stemprover.training.detector_data import excerpts_of
from stemprover.training.detector_evaluation import calibration_error, detected_mask
from stemprover.training.detector_models import TreeSettings
from stemprover.training.detectors import DetectorRecipe, train_detectors

SAMPLES = 3 * SPEC.cell_frames * SPEC.hop
SMALL = TreeSettings(trees=10, leaves=7, max_rows=5_000)


def _hits(rng: np.random.Generator) -> np.ndarray:
    envelope = np.zeros(SAMPLES)
    for start in rng.integers(0, SAMPLES - 5000, 6):
        envelope[start : start + 5000] = np.exp(-np.arange(5000) / 900)
    return np.asarray(0.2 * envelope * rng.normal(size=(2, SAMPLES)), np.float32)


def _pair(rng: np.random.Generator) -> PairAudio:
    time = np.arange(SAMPLES) / SPEC.sample_rate
    tone = sum(np.sin(2 * np.pi * k * rng.uniform(100, 300) * time) / k for k in range(1, 12))
    clean = (0.05 * tone + 0.01 * rng.normal(size=(2, SAMPLES))).astype(np.float32)
    others = {"drums": _hits(rng), "other": np.roll(clean[::-1], 5000, 1)}
    source = rng.choice(list(others))
    errors = {f"bleed/{source}": np.float32(0.3) * others[source]}
    errors["distortion"] = np.float32(0.05) * rng.normal(size=(2, SAMPLES)).astype(np.float32) * (np.sin(9 * time) > 0)
    artifact = clean + sum(errors.values())
    mixture = clean + sum(others.values())
    return PairAudio(*(np.clip(item, -1, 1) for item in (clean, artifact, mixture)), cell_labels(clean, errors))


@pytest.fixture(scope="module")
def pairs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("pairs")
    rng = np.random.default_rng(0)
    for split, count in (("train", 20), ("validation", 8)):
        for index in range(count):
            facts = {"song": "synth", "stem": "vocals", "separator": "controlled", "sdr_db": 10.0, "severity": 0.6}
            write_pair(folder, index, _pair(rng), {**facts, "split": split, "has_siblings": True})
    return folder


def _package(folder: Path) -> Path:
    (folder / "stemprover.json").write_text('{"name": "detectors"}')
    return folder


@pytest.fixture(scope="module")
def trained(pairs: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, object]]:
    package = _package(tmp_path_factory.mktemp("package"))
    stages: list[str] = []
    metrics = train_detectors(DetectorRecipe(pairs, package, trees=SMALL), lambda stage, share: stages.append(stage))
    assert {"trees", "features of train pairs"} <= set(stages)
    return package, metrics


def test_training_writes_models_rules_metrics_and_hashes(trained: tuple[Path, dict[str, object]]) -> None:
    package, metrics = trained
    assert {path.name for path in (package / "models").iterdir()} == {
        "bleed.skops",
        "phasiness.skops",
        "hf-distortion.skops",
        "source.skops",
        "rules.json",
    }
    manifest = json.loads((package / "stemprover.json").read_text())
    assert manifest["name"] == "detectors"
    assert len(manifest["files"]) == 5
    assert json.loads((package / "metrics.json").read_text()).keys() == metrics.keys()


def test_features_do_not_depend_on_the_number_of_processes(pairs: Path) -> None:
    some = read_manifest(pairs, "train")[:3]
    counted: list[int] = []
    alone = excerpts_of(some, 0.5, 1, counted.append)
    together = excerpts_of(some, 0.5, 1, lambda _: None, jobs=2)
    assert counted == [1, 2, 3]
    assert [(item.pair.id, item.clean) for item in alone] == [(item.pair.id, item.clean) for item in together]
    # Sums of floats depend on the number of threads in their last digits.
    assert all(
        np.allclose(*both, atol=1e-3)
        for both in zip(*([i.features for i in part] for part in (alone, together)), strict=True)
    )


def test_trained_detector_tells_damaged_from_clean(trained: tuple[Path, dict[str, object]]) -> None:
    metrics = json.loads((trained[0] / "metrics.json").read_text())
    for artifact in ("bleed", "phasiness", "hf-distortion"):
        assert metrics["siblings"][artifact]["roc_auc"] > 0.8


def test_trained_models_load_in_the_package(trained: tuple[Path, dict[str, object]]) -> None:
    import torch

    from stemprover.detection import AnalysisBlock

    plugin = pytest.importorskip("stemprover_detectors")
    detector = plugin.ArtifactDetector(trained[0] / "models")
    scores = detector.score(AnalysisBlock(torch.zeros(2, SAMPLES), {}, "vocals"))
    assert set(scores) == set(detector.artifacts)
    assert isinstance(scores["phasiness"], CellScores)
    assert detector.rules(alone=True).keys() == {"bleed", "phasiness", "hf-distortion"}
    assert all(isinstance(rule, ThresholdRule) for rule in detector.rules(alone=False).values())


def test_training_repeats(pairs: Path, trained: tuple[Path, dict[str, object]], tmp_path: Path) -> None:
    again = train_detectors(DetectorRecipe(pairs, _package(tmp_path), trees=SMALL))
    assert json.dumps(again) == json.dumps(trained[1])


def test_one_validation_pair_is_enough_to_measure(pairs: Path, tmp_path: Path) -> None:
    """All folds but one have nothing to measure then, and one situation may have no clean stem."""
    folder = tmp_path / "pairs"
    shutil.copytree(pairs, folder)
    lines = (folder / "manifest.jsonl").read_text().splitlines(keepends=True)
    one = next(line for line in lines if part_of(Pair(**json.loads(line), folder=folder), 2) and "validation" in line)
    (folder / "manifest.jsonl").write_text("".join([line for line in lines if '"train"' in line] + [one]))
    metrics = train_detectors(DetectorRecipe(folder, _package(tmp_path), trees=SMALL))
    assert metrics["measured_excerpts"] == 2
    assert 0.0 <= metrics["source_accuracy"] <= 1.0


def test_empty_folders_and_rare_artifacts_are_refused(pairs: Path, tmp_path: Path) -> None:
    recipe = DetectorRecipe(pairs, _package(tmp_path), trees=SMALL)
    with pytest.raises(TrainingError, match="pairs folder"):
        train_detectors(dataclasses.replace(recipe, pairs=tmp_path))
    with pytest.raises(TrainingError, match="make more pairs"):
        train_detectors(dataclasses.replace(recipe, max_pairs=1))


def test_mask_of_a_detection_is_its_rectangle() -> None:
    edges, seconds = cell_band_edges_hz(), SPEC.cell_frames / SPEC.frame_rate
    item = Detection("bleed", 2 * seconds, 4 * seconds, float(edges[3]), float(edges[6]), 0.9, 0.5)
    mask = detected_mask([item, dataclasses.replace(item, artifact="phasiness", end_s=0.0)], "bleed", (6, 16))
    expected = np.zeros((6, 16), bool)
    expected[2:4, 3:6] = True
    np.testing.assert_array_equal(mask, expected)


def test_calibration_error_of_honest_and_of_boastful_probabilities() -> None:
    rng = np.random.default_rng(0)
    probability = rng.uniform(size=50_000)
    assert calibration_error(probability, rng.uniform(size=50_000) < probability) < 0.02
    assert calibration_error(np.full(1000, 0.95), rng.uniform(size=1000) < 0.5) == pytest.approx(0.45, abs=0.05)
