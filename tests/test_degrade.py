"""How strong the errors of a pair are, and what a pair of DTLN or of a silent separator is."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from stemprover.data import degrade
from stemprover.data.degrade import Recipe, make_pair
from stemprover.data.library import Library
from stemprover.data.scenes import Scene
from stemprover.data.separators import Errors

DRAWS = 1000


def kept_share(sdr_db: float, real: bool) -> tuple[float, list[float]]:
    """Share of errors at an SDR that stay as they are, and the SDRs of the others, in dB."""
    rng = np.random.default_rng(1)
    target = rng.standard_normal((2, 500)).astype(np.float32)
    error = rng.permutation(target.ravel()).reshape(target.shape) * np.float32(10 ** (-sdr_db / 20))
    others = []
    for _ in range(DRAWS):
        scaled = degrade._scale(target, {"distortion": error}, rng, real)["distortion"]
        if scaled is not error:
            others.append(20 * float(np.log10(degrade.loudness(target) / degrade.loudness(scaled))))
    return 1 - len(others) / DRAWS, others


@pytest.mark.parametrize(
    ("sdr_db", "real", "share"),
    [(-5.0, True, 0.75), (-9.0, True, 0.0), (10.0, True, 0.75), (-5.0, False, 0.0), (10.0, False, 0.4)],
)
def test_real_errors_mostly_stay_as_they_are_and_no_error_grows(sdr_db: float, real: bool, share: float) -> None:
    kept, others = kept_share(sdr_db, real)
    assert abs(kept - share) < 0.06
    assert all(max(sdr_db, 0.0) - 1e-3 <= sdr <= 32.001 for sdr in others)


def library(dtln: Path | None = None) -> Library:
    return Library({}, (), (), {}, dtln)


def test_without_a_voice_dtln_leaves_the_instrumental(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    drawn: list[str | None] = []

    def scene(_: Library, samples: int, rng: np.random.Generator, stem_class: str | None = None) -> Scene:
        drawn.append(stem_class)
        own, other = (0.1 * rng.standard_normal((2, samples)).astype(np.float32) for _ in range(2))
        return Scene("song", stem_class or "other", own, {"drums": other})

    monkeypatch.setattr(degrade, "draw_scene", scene)
    monkeypatch.setattr(degrade, "separate_with_dtln", lambda models, mixture: 0.25 * mixture)
    monkeypatch.setattr(degrade, "_scale", lambda target, errors, rng, real: errors)
    for seed in range(12):
        audio, facts = make_pair(library(tmp_path), np.random.default_rng(seed), Recipe.only("dtln"))
        share = 0.25 if facts["stem"] == "vocals" else 0.75
        assert np.abs(audio.artifact - share * audio.mixture).max() < 1e-4
    assert {"vocals", "instrumental"} == set(drawn)


def test_a_separator_that_says_nothing_is_asked_about_another_scene(monkeypatch: pytest.MonkeyPatch) -> None:
    real, calls = degrade._degrade, []

    def silent_at_first(kind: str, scene: Scene, rng: np.random.Generator, recipe: Recipe) -> tuple[str, Errors]:
        calls.append(kind)
        return (kind, {"distortion": -scene.target}) if len(calls) < 3 else real(kind, scene, rng, recipe)

    monkeypatch.setattr(degrade, "_degrade", silent_at_first)
    audio, _ = make_pair(library(), np.random.default_rng(1), Recipe.only("mask"))
    assert len(calls) == 3
    assert np.abs(audio.artifact).max() > 0.01
