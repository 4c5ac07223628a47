"""The synthetic test set: true stems with one known artifact each, so that labels are exact.

The stems are those of the test song and test kits, and of synthesised songs with seeds that training never draws.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Sequence

import numpy as np
from quality_sets import CLEAN, SYNTHETIC, Item

from stemprover.data.artifacts import ARTIFACTS, apply_artifacts
from stemprover.data.cuts import add, loudness
from stemprover.data.labels import BLEED_NAMES
from stemprover.data.scenes import Scene
from stemprover.data.separators import Errors, draw_style, simulate_mask, simulate_waveform
from stemprover.data.songs import render_song
from stemprover.spectral.spec import SPEC

__all__ = ["KINDS", "synthetic_items"]

_LEAKAGE = {f"leakage of {source}": f"bleed/{source}" for source in ("drums", "vocals", "bass", "other")}
KINDS = (
    *_LEAKAGE,
    *(name for name in ARTIFACTS if name != "leakage"),
    *("simulated mask", "simulated waveform model"),
)
_SEED = 90_210
_SECONDS = 6.0
_QUIET = 5e-3
_AUDIBLE = 0.03  # an error 30 dB below the stem is none
_ATTEMPTS = 40


def synthetic_items(clean: Sequence[Item], each: int) -> Iterator[Item]:
    """Yield ``each`` stems for every kind of artifact.

    Parameters
    ----------
    clean : sequence of Item
        Clean items of test material; may be empty, then all stems are synthesised.
    each : int
        Stems per kind; every second one is of the test material.
    """
    for kind_number, kind in enumerate(KINDS):
        for number in range(each):
            rng = np.random.default_rng([_SEED, kind_number, number])
            recorded = bool(clean) and number % 2 == 0
            yield _item(kind, clean if recorded else (), rng)


def _item(kind: str, clean: Sequence[Item], rng: np.random.Generator) -> Item:
    for attempt in range(_ATTEMPTS):
        scene = _scene(clean if attempt < _ATTEMPTS // 2 else (), rng)  # the test song has no bass, for instance
        errors = _degrade(kind, scene, rng)
        error = loudness(add(errors.values())) if errors else 0.0
        if loudness(scene.target) > _QUIET and error > _AUDIBLE * loudness(scene.target):
            break
    else:
        raise RuntimeError(f"no stem on which {kind} can be heard after {_ATTEMPTS} attempts")
    target = scene.target.astype(np.float64)
    exact = {cause: audio.astype(np.float64) for cause, audio in errors.items()}
    degraded = target + np.sum(list(exact.values()), axis=0)
    name = scene.stem_class
    mixture = scene.mixture.astype(np.float64)
    return Item(SYNTHETIC, scene.song, kind, "-", {name: target}, {name: degraded}, mixture, {name: exact})


def _degrade(kind: str, scene: Scene, rng: np.random.Generator) -> Errors:
    if kind == "simulated mask":
        return simulate_mask(scene, draw_style(rng), rng)
    if kind == "simulated waveform model":
        return simulate_waveform(scene, rng)
    if kind in _LEAKAGE:
        heard = {name: audio for name, audio in scene.siblings.items() if BLEED_NAMES[name] == _LEAKAGE[kind]}
        return apply_artifacts(dataclasses.replace(scene, siblings=heard), ("leakage",), rng)
    return apply_artifacts(scene, (kind,), rng)


def _scene(clean: Sequence[Item], rng: np.random.Generator) -> Scene:
    """A stem among its siblings, peaks of the mixture at 0.7."""
    samples = round(_SECONDS * SPEC.sample_rate)
    if clean:
        item = clean[rng.integers(len(clean))]
        assert item.group == CLEAN
        song, stems = item.song, item.references
        samples = min(samples, item.mixture.shape[-1])
        start = int(rng.integers(0, item.mixture.shape[-1] - samples + 1))
        stems = {name: audio[:, start : start + samples].astype(np.float32) for name, audio in stems.items()}
    else:
        song, stems = "synthesised", render_song((_SEED, int(rng.integers(0, 2**31))), _SECONDS)
    level = np.float32(0.7 / max(float(np.abs(add(stems.values())).max()), 1e-3))
    stems = {name: audio * level for name, audio in stems.items()}
    name = str(rng.choice(list(stems)))
    return Scene(song, name, stems[name], {other: audio for other, audio in stems.items() if other != name})
