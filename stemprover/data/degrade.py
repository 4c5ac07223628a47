"""One pair in memory: draw a scene, degrade its target, label it."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from stemprover.data.artifacts import ARTIFACTS, apply_artifacts, draw_artifacts
from stemprover.data.classical import CLASSICAL, separate_classically
from stemprover.data.cuts import add, loudness
from stemprover.data.dtln import separate_with_dtln
from stemprover.data.labels import cell_labels, sdr_db, severity_of
from stemprover.data.library import Kit, Library
from stemprover.data.neural import Source, draw_separated
from stemprover.data.pairs import PairAudio
from stemprover.data.scenes import Scene, draw_kit_scene, draw_scene
from stemprover.data.separators import Errors, draw_style, errors_of_estimate, simulate_mask, simulate_waveform
from stemprover.errors import OptionError
from stemprover.spectral.spec import SPEC

__all__ = ["KINDS", "PAIR_SECONDS", "Recipe", "make_pair"]

PAIR_SECONDS = 4.0
KINDS = ("mask", "waveform", "controlled", "larsnet", "dtln", "classical", "none", "neural")
_SIMULATED = ("mask", "waveform", "controlled")
_AS_IT_IS = {True: (-8.0, 0.75), False: (-3.0, 0.4)}  # of real and simulated errors: lowest SDR in dB, and share, kept
_BEST_SDR_DB = 32.0
_VOICES = 0.7
_SILENT = 0.06  # of the target's root-mean-square, -24 dB
_ATTEMPTS = 6
_PEAK = 0.98


@dataclasses.dataclass(frozen=True, slots=True)
class Recipe:
    """How pairs are made.

    Attributes
    ----------
    shares : tuple of float
        Relative share of each of ``KINDS``: simulated masks, waveform-like errors, controlled artifacts, two published
        networks (LarsNet for drum kits; DTLN for vocals, and for what is left without them), classical separators,
        clean pairs, and separators that were trained here or are installed. Simulated masks stand in where the data
        folder lacks the kits or the models, and for separators that are not given.
    artifacts : tuple of str
        Controlled artifacts to apply, all of them at once; empty for a random choice.
    blind : float
        Share of pairs that are marked as without siblings.
    """

    shares: tuple[float, ...] = (0.2, 0.06, 0.15, 0.08, 0.02, 0.05, 0.09, 0.35)
    artifacts: tuple[str, ...] = ()
    blind: float = 0.15

    def __post_init__(self) -> None:
        unknown = sorted(set(self.artifacts) - set(ARTIFACTS))
        if unknown:
            raise OptionError(f"artifacts out of {', '.join(ARTIFACTS)}", ", ".join(unknown), "name one of these")
        if len(self.shares) != len(KINDS) or min(self.shares) < 0 or sum(self.shares) <= 0:
            raise OptionError(f"one share of 0 or more per kind ({', '.join(KINDS)})", str(self.shares), "see Recipe")

    @classmethod
    def only(cls, *kinds: str, artifacts: tuple[str, ...] = ()) -> Recipe:
        """Return a recipe of some kinds in equal shares: ``Recipe.only("controlled", artifacts=("holes",))``."""
        return cls(shares=tuple(float(kind in kinds) for kind in KINDS), artifacts=artifacts)


def make_pair(
    library: Library, rng: np.random.Generator, recipe: Recipe, separators: Sequence[Source] = ()
) -> tuple[PairAudio, dict[str, object]]:
    """Make one pair in memory: its audio and labels, and its line of the manifest without files."""
    kind = str(rng.choice(KINDS, p=np.array(recipe.shares) / sum(recipe.shares)))
    for _ in range(_ATTEMPTS):  # a weak separator may leave nothing, and nothing cannot be repaired
        separator, scene, mixture, errors = _draw(kind, library, rng, recipe, separators)
        if loudness(add([scene.target, *errors.values()])) > _SILENT * loudness(scene.target):
            break
    errors = _scale(scene.target, errors, rng, real=separator not in _SIMULATED)
    artifact = add([scene.target, *errors.values()])
    peak = max(float(np.abs(audio).max()) for audio in (scene.target, artifact, mixture))
    gain = np.float32(min(1.0, _PEAK / max(peak, 1e-9)))
    labels = cell_labels(scene.target, errors)
    sdr = sdr_db(scene.target, artifact)
    description: dict[str, object] = {
        "song": scene.song,
        "sources": sorted(scene.sources),
        "stem": scene.stem_class,
        "separator": separator,
        "has_siblings": bool(rng.random() >= recipe.blind),
        "sdr_db": None if sdr is None else round(sdr, 3),
        "severity": 0.0 if sdr is None else round(float(severity_of(sdr)), 4),
    }
    return PairAudio(scene.target * gain, artifact * gain, mixture * gain, labels), description


def _draw(
    kind: str, library: Library, rng: np.random.Generator, recipe: Recipe, separators: Sequence[Source]
) -> tuple[str, Scene, np.ndarray, Errors]:
    """Draw a scene for a kind and degrade its target; returns the precise kind, scene, mixture and errors by cause."""
    samples = round(PAIR_SECONDS * SPEC.sample_rate)
    recorded = [kit for kit in library.kits if kit.estimates]
    lacking = {"larsnet": not recorded, "dtln": library.dtln is None, "neural": not separators}
    kind = "mask" if lacking.get(kind) else kind
    if kind == "larsnet":
        return kind, *_larsnet(recorded, samples, rng)
    if kind == "neural":
        scene, kind, errors = draw_separated(library, separators, samples, rng)
        return kind, scene, scene.mixture, errors
    if kind == "dtln" and library.dtln is not None:
        return kind, *_dtln(library, library.dtln, samples, rng)
    scene = draw_scene(library, samples, rng)
    kind, errors = _degrade(kind, scene, rng, recipe)
    return kind, scene, scene.mixture, errors


def _degrade(kind: str, scene: Scene, rng: np.random.Generator, recipe: Recipe) -> tuple[str, Errors]:
    """Run what ``kind`` says; returns its precise name and the errors by cause."""
    if kind == "mask":
        return kind, simulate_mask(scene, draw_style(rng), rng)
    if kind == "waveform":
        return kind, simulate_waveform(scene, rng)
    if kind == "controlled":
        named = recipe.artifacts
        return kind, apply_artifacts(scene, named, rng) if named else draw_artifacts(scene, rng)
    if kind == "classical":
        method = str(rng.choice(CLASSICAL))
        return method, separate_classically(method, scene, rng)
    return kind, {}


def _larsnet(kits: Sequence[Kit], samples: int, rng: np.random.Generator) -> tuple[Scene, np.ndarray, Errors]:
    """A real separator's output for one stem of a drum kit."""
    scene, kit, start = draw_kit_scene(kits, samples, rng)
    mixture = kit.mix.read(start, samples)
    estimate = kit.estimates[scene.stem_class].read(start, samples)
    level = np.float32(10 ** (rng.uniform(-9, 3) / 20))
    siblings = {name: audio * level for name, audio in scene.siblings.items()}
    scaled = dataclasses.replace(scene, target=scene.target * level, siblings=siblings)
    return scaled, mixture * level, errors_of_estimate(scaled, estimate * level, mixture * level)


def _dtln(library: Library, models: Path, samples: int, rng: np.random.Generator) -> tuple[Scene, np.ndarray, Errors]:
    """A voice as DTLN isolates it, or what is left without it."""
    voice = rng.random() < _VOICES
    scene = draw_scene(library, samples, rng, "vocals" if voice else "instrumental")
    mixture = scene.mixture
    found = separate_with_dtln(models, mixture)
    return scene, mixture, errors_of_estimate(scene, found if voice else mixture - found, mixture)


def _scale(target: np.ndarray, errors: Errors, rng: np.random.Generator, real: bool) -> Errors:
    """Shrink the errors of some pairs, and of all very bad ones, to an SDR between 0 and 32 dB.

    Three in four that a real separator made stay as they are, down to -8 dB: its errors are of one kind, which no scale
    of them is. Of simulated errors, which have no right scale, two in five do, down to -3 dB.
    """
    error = loudness(add(errors.values())) if errors else 0.0
    if error == 0.0:
        return {}
    sdr = 20 * float(np.log10(loudness(target) / error))
    wanted = rng.uniform(max(sdr, 0.0), max(_BEST_SDR_DB, sdr + 1))
    worst_db, share = _AS_IT_IS[real]
    if sdr > worst_db and rng.random() < share:
        return errors
    factor = np.float32(10 ** ((sdr - wanted) / 20))
    return {cause: audio * factor for cause, audio in errors.items()}
