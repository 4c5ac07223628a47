"""The detectors package: a plugin with models that load safely and scores that make sense."""

from __future__ import annotations

import hashlib
import json
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from stemprover.detection import AnalysisBlock, CellScores, Detector, block_levels, detect_cells, rules_of
from stemprover.errors import ModelError
from stemprover.plugins.manifest import read_manifest
from stemprover.spectral.spec import SPEC
from stemprover.spectral.stft import istft, stft

plugin = pytest.importorskip("stemprover_detectors")
FOLDER = Path(plugin.__file__).parent
CELL = SPEC.cell_frames * SPEC.hop
CELLS = 20


@pytest.fixture(scope="module")
def detector() -> Detector:
    made = plugin.detector()
    assert isinstance(made, Detector)
    return made


def voice(seed: int = 0) -> torch.Tensor:
    """A gliding harmonic tone with syllables and a little breath, stereo."""
    rng = np.random.default_rng(seed)
    time = np.arange(CELLS * CELL) / SPEC.sample_rate
    pitch = 220 * 2 ** (np.repeat(rng.integers(-4, 5, CELLS), CELL) / 12) * (1 + 0.01 * np.sin(2 * np.pi * 5 * time))
    phase = 2 * np.pi * np.cumsum(pitch) / SPEC.sample_rate
    tone = sum(np.sin(k * phase) / k**1.2 for k in range(1, 30))
    syllables = 0.2 + np.sin(2 * np.pi * 1.3 * time) ** 2
    return torch.from_numpy(0.1 * syllables * (tone + 0.02 * rng.normal(size=(2, len(time))))).float()


def hits(seed: int = 1) -> torch.Tensor:
    """Noise hits, like a snare, stereo."""
    rng = np.random.default_rng(seed)
    audio = np.zeros((2, CELLS * CELL))
    for start in range(0, CELLS * CELL - 9000, 11025):
        audio[:, start : start + 9000] += rng.normal(size=(2, 9000)) * np.exp(-np.arange(9000) / 1500)
    return torch.from_numpy(0.2 * audio).float()


def masked(stem: torch.Tensor, other: torch.Tensor) -> torch.Tensor:
    """What a soft-mask separator makes of the sum of two signals."""
    spectra = stft(stem), stft(other)
    gain = spectra[0].abs() / (spectra[0].abs() + spectra[1].abs() + 1e-9)
    return istft(gain * (spectra[0] + spectra[1]), stem.shape[1])


def found(detector: Detector, block: AnalysisBlock) -> set[str]:
    rules = rules_of([detector], alone=not block.siblings)
    return {item.artifact for item in detect_cells(detector.score(block), block_levels(block), rules)}


def test_manifest_is_valid_and_its_hashes_hold() -> None:
    manifest = read_manifest(FOLDER)
    assert (manifest.name, manifest.kind) == ("detectors", "detector")
    assert manifest.artifacts == plugin.detector().artifacts
    assert set(manifest.files) == {path.relative_to(FOLDER).as_posix() for path in FOLDER.glob("models/*.*")}
    for name, expected in manifest.files.items():
        assert hashlib.sha256((FOLDER / name).read_bytes()).hexdigest() == expected


def test_importing_the_plugin_does_not_import_scikit_learn() -> None:
    code = "import sys, stemprover_detectors as p; p.detector(); assert not {'sklearn', 'skops'} & set(sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True)


@pytest.mark.parametrize("channels", [1, 2, 6])
@pytest.mark.parametrize("siblings", ["none", "residual", "named"])
def test_scores_have_one_value_per_cell(detector: Detector, channels: int, siblings: str) -> None:
    audio = voice()[:1, : 3 * CELL + 100].expand(channels, -1)
    other = hits()[:1, : 3 * CELL + 100].expand(channels, -1)
    known = {"none": {}, "residual": {"residual": other}, "named": {"drums": other, "piano": other}}[siblings]
    scores = detector.score(AnalysisBlock(audio, known, "vocals"))
    assert set(scores) == set(detector.artifacts)
    for score in scores.values():
        for values in (score.probability, score.severity):
            assert values.shape == (4, SPEC.n_cell_bands)
            assert values.dtype == np.float32
            assert ((values >= 0) & (values <= 1)).all()


def test_a_cell_bleeds_under_one_name_only(detector: Detector) -> None:
    scores = detector.score(AnalysisBlock(voice() + 0.3 * hits(), {"residual": hits()}, "vocals"))
    named = np.stack([score.probability > 0 for name, score in scores.items() if name.startswith("bleed")])
    assert named.sum(0).max() <= 1


def test_silence_is_clean(detector: Detector) -> None:
    silence = torch.zeros(2, 4 * CELL)
    for siblings in ({}, {"residual": hits()[:, : 4 * CELL]}):
        assert found(detector, AnalysisBlock(silence, siblings, "vocals")) == set()


def test_scores_repeat(detector: Detector) -> None:
    block = AnalysisBlock(voice() + 0.3 * hits(), {"drums": hits()}, "vocals")
    first, second = detector.score(block), plugin.detector().score(block)
    for name in first:
        np.testing.assert_array_equal(first[name].probability, second[name].probability)


def test_clean_stem_with_its_mixture_is_clean(detector: Detector) -> None:
    assert found(detector, AnalysisBlock(voice(), {"residual": hits()}, "vocals")) == set()


def test_bleed_of_a_named_sibling_is_found_and_named(detector: Detector) -> None:
    block = AnalysisBlock(voice() + 0.25 * hits(), {"drums": 0.75 * hits(), "bass": 0.1 * voice(7)}, "vocals")
    assert "bleed/drums" in found(detector, block)


def test_a_masked_stem_is_found_damaged(detector: Detector) -> None:
    stem, other = voice(), hits()
    damaged = masked(stem, other)
    assert found(detector, AnalysisBlock(damaged, {"residual": stem + other - damaged}, "vocals")) != set()


def test_long_blocks_score_like_short_ones(detector: Detector) -> None:
    audio, other = voice() + 0.3 * hits(), hits()
    whole = detector.score(AnalysisBlock(audio, {"drums": other}, "vocals"))["phasiness"].probability
    half = slice(0, 16 * CELL)
    part = detector.score(AnalysisBlock(audio[:, half], {"drums": other[:, half]}, "vocals"))["phasiness"].probability
    assert np.abs(whole[:15] - part[:15]).mean() < 0.1


def copied(tmp_path: Path) -> Path:
    return Path(shutil.copytree(FOLDER / "models", tmp_path / "models"))


def test_a_damaged_model_is_refused(tmp_path: Path) -> None:
    folder = copied(tmp_path)
    (folder / "bleed.skops").write_bytes((folder / "bleed.skops").read_bytes()[:1000])
    with pytest.raises(ModelError, match=r"bleed\.skops"):
        plugin.ArtifactDetector(folder).score(AnalysisBlock(voice()[:, :CELL], {}, "vocals"))


def test_a_model_with_other_types_is_refused(tmp_path: Path) -> None:
    from sklearn.svm import SVC
    from skops import io

    folder = copied(tmp_path)
    io.dump({"classifier": CellScores(np.zeros(1), np.zeros(1)), "other": SVC()}, folder / "bleed.skops")
    with pytest.raises(ModelError, match="CellScores"):
        plugin.ArtifactDetector(folder).score(AnalysisBlock(voice()[:, :CELL], {}, "vocals"))


def test_a_model_for_other_features_is_refused(tmp_path: Path) -> None:
    from skops import io

    folder = copied(tmp_path)
    io.dump({"features": "sha256:0"}, folder / "phasiness.skops")
    with pytest.raises(ModelError, match="features"):
        plugin.ArtifactDetector(folder).score(AnalysisBlock(voice()[:, :CELL], {}, "vocals"))


def test_metrics_are_those_of_the_shipped_models() -> None:
    metrics = json.loads((FOLDER / "metrics.json").read_text())
    assert read_manifest(FOLDER).metrics["bleed_roc_auc"] == metrics["siblings"]["bleed"]["roc_auc"]
    for situation in ("siblings", "alone"):
        assert set(metrics[situation]) >= {"bleed", "phasiness", "hf-distortion", "clean_touched_share"}
