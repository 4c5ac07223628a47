"""Building a pairs folder: draw a scene, degrade its target, label it, write it."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from multiprocessing import get_context
from pathlib import Path

import numpy as np
import torch

from stemprover.data.artifacts import ARTIFACTS, apply_artifacts, draw_artifacts
from stemprover.data.classical import CLASSICAL, separate_classically
from stemprover.data.dtln import separate_with_dtln
from stemprover.data.labels import cell_labels, sdr_db, severity_of
from stemprover.data.library import Library, open_libraries
from stemprover.data.neural import draw_separated
from stemprover.data.pairs import MANIFEST, PairAudio, read_manifest, write_pair
from stemprover.data.scenes import Scene, add, draw_kit_scene, draw_scene, loudness
from stemprover.data.separators import Errors, draw_style, errors_of_estimate, simulate_mask, simulate_waveform
from stemprover.errors import OptionError
from stemprover.separation.trained import TrainedSeparator, find_separators
from stemprover.spectral.spec import SPEC

__all__ = ["KINDS", "PAIR_SECONDS", "Built", "Recipe", "build_pairs", "make_pair"]

PAIR_SECONDS = 4.0
KINDS = ("mask", "waveform", "controlled", "larsnet", "dtln", "classical", "none", "neural")
_SPLITS = {"train": 0, "validation": 1}
CACHE = "cache"
_CHUNK = 20
_BEST_SDR_DB = 32.0
_SIMULATED = ("mask", "waveform", "controlled")
_ATTEMPTS = 6
_SILENT = 0.06
_PEAK = 0.98


@dataclasses.dataclass(frozen=True, slots=True)
class Recipe:
    """How pairs are made.

    Attributes
    ----------
    shares : tuple of float
        Relative share of each of ``KINDS``: simulated masks, waveform-like errors, controlled artifacts, two published
        networks (LarsNet for drum kits, DTLN for vocals), classical separators, clean pairs, and separators that were
        trained here. Simulated masks stand in where the data folder lacks the kits or the models, and for separators
        that are not given.
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


@dataclasses.dataclass(frozen=True, slots=True)
class Built:
    """How many pairs were written now and how many were there before."""

    written: int
    kept: int


def build_pairs(
    data: Sequence[Path],
    out: Path,
    count: int,
    split: str = "train",
    seed: int = 0,
    jobs: int = 1,
    recipe: Recipe | None = None,
    progress: Callable[[int], None] | None = None,
    separators: Path | None = None,
) -> Built:
    """Write pairs ``0 .. count - 1`` of a split; those already in the manifest are kept.

    Parameters
    ----------
    data : sequence of Path
        Data folders, see :mod:`stemprover.data.library`; their material is put together.
    out, count : Path, int
        Pairs folder (recordings are cached in ``out/cache``) and the number of pairs that the split shall have.
    split : str
        ``train`` or ``validation``; the two never share a stretch of a recording.
    seed : int
        A pair depends on seed, split, recipe, separators and its index only, not on ``jobs`` or on what was there.
    jobs, recipe : int, Recipe
        Parallel processes, and what kinds of pairs in which shares.
    progress : callable, optional
        Called with 1 after each written pair.
    separators : Path, optional
        Folder of runs of ``stemprover train separator``, for the kind ``neural``.

    Raises
    ------
    TrainingError
        If the data folder or the existing manifest cannot be used, or all separators trained on everything.
    ModelError
        If there are no separators where they should be.
    """
    library = open_libraries(data, out / CACHE, split)
    missing = _missing(out, count, split)
    job = _Job(tuple(data), out, split, seed, recipe or Recipe(), find_separators(separators) if separators else ())
    work = _serial(library, job, missing) if jobs <= 1 else _parallel(job, missing, jobs)
    for _ in work:
        if progress is not None:
            progress(1)
    return Built(len(missing), count - len(missing))


def _missing(out: Path, count: int, split: str) -> list[int]:
    present = {pair.id for pair in read_manifest(out, split)} if (out / MANIFEST).is_file() else set()
    return [index for index in range(count) if f"{split}-{index:06d}" not in present]


@dataclasses.dataclass(frozen=True, slots=True)
class _Job:
    """What a worker process needs to know."""

    data: tuple[Path, ...]
    out: Path
    split: str
    seed: int
    recipe: Recipe
    separators: tuple[TrainedSeparator, ...]


def _serial(library: Library, job: _Job, indices: list[int]) -> Iterator[int]:
    for index in indices:
        rng = np.random.default_rng([job.seed, _SPLITS[job.split], index])
        audio, description = make_pair(library, rng, job.recipe, job.separators)
        write_pair(job.out, index, audio, {**description, "split": job.split})
        yield index


def _parallel(job: _Job, indices: list[int], jobs: int) -> Iterator[int]:
    chunks = [indices[k : k + _CHUNK] for k in range(0, len(indices), _CHUNK)]
    with ProcessPoolExecutor(jobs, mp_context=get_context("spawn"), initializer=_one_thread) as pool:
        futures = [pool.submit(_write_chunk, job, chunk) for chunk in chunks]
        for future in as_completed(futures):
            yield from future.result()


def _one_thread() -> None:
    torch.set_num_threads(1)


def _write_chunk(job: _Job, indices: list[int]) -> list[int]:
    return list(_serial(open_libraries(job.data, job.out / CACHE, job.split), job, indices))


def make_pair(
    library: Library, rng: np.random.Generator, recipe: Recipe, separators: Sequence[TrainedSeparator] = ()
) -> tuple[PairAudio, dict[str, object]]:
    """Make one pair in memory: its audio and labels, and its line of the manifest without files."""
    kind = str(rng.choice(KINDS, p=np.array(recipe.shares) / sum(recipe.shares)))
    for _ in range(_ATTEMPTS):  # a weak separator may say nothing, which is nothing to repair
        precise, scene, mixture, errors = _draw(kind, library, rng, recipe, separators)
        if loudness(add([scene.target, *errors.values()])) > _SILENT * loudness(scene.target):
            break
    errors = _scale(scene.target, errors, rng, real=precise not in _SIMULATED)
    artifact = add([scene.target, *errors.values()])
    peak = max(float(np.abs(audio).max()) for audio in (scene.target, artifact, mixture))
    gain = np.float32(min(1.0, _PEAK / max(peak, 1e-9)))
    labels = cell_labels(scene.target, errors)
    sdr = sdr_db(scene.target, artifact)
    description: dict[str, object] = {
        "song": scene.song,
        "stem": scene.stem_class,
        "separator": precise,
        "has_siblings": bool(rng.random() >= recipe.blind),
        "sdr_db": None if sdr is None else round(sdr, 3),
        "severity": 0.0 if sdr is None else round(float(severity_of(sdr)), 4),
    }
    return PairAudio(scene.target * gain, artifact * gain, mixture * gain, labels), description


def _draw(
    kind: str, library: Library, rng: np.random.Generator, recipe: Recipe, separators: Sequence[TrainedSeparator]
) -> tuple[str, Scene, np.ndarray, Errors]:
    """Draw a scene for a kind and degrade its target; returns the precise kind, scene, mixture and errors by cause."""
    samples = round(PAIR_SECONDS * SPEC.sample_rate)
    lacking = {"larsnet": not library.kits, "dtln": library.dtln is None, "neural": not separators}
    kind = "mask" if lacking.get(kind) else kind
    if kind == "larsnet":
        return kind, *_larsnet(library, samples, rng)
    if kind == "neural":
        scene, kind, errors = draw_separated(library, separators, samples, rng)
        return kind, scene, scene.mixture, errors
    voice = kind == "dtln" and rng.random() < 0.7
    stem_class = "vocals" if voice else "instrumental" if kind == "dtln" else None
    scene = draw_scene(library, samples, rng, stem_class)
    if kind == "dtln" and library.dtln is not None:
        estimate = separate_with_dtln(library.dtln, scene.mixture)
        if not voice:
            estimate = scene.mixture - estimate
        return kind, scene, scene.mixture, errors_of_estimate(scene, estimate, scene.mixture)
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


def _larsnet(library: Library, samples: int, rng: np.random.Generator) -> tuple[Scene, np.ndarray, Errors]:
    """A real separator's output for one stem of a drum kit."""
    scene, kit, start = draw_kit_scene(library, samples, rng)
    mixture = kit.mix.read(start, samples)
    estimate = kit.estimates[scene.stem_class].read(start, samples)
    level = np.float32(10 ** (rng.uniform(-9, 3) / 20))
    siblings = {name: audio * level for name, audio in scene.siblings.items()}
    scaled = dataclasses.replace(scene, target=scene.target * level, siblings=siblings)
    return scaled, mixture * level, errors_of_estimate(scaled, estimate * level, mixture * level)


def _scale(target: np.ndarray, errors: Errors, rng: np.random.Generator, real: bool) -> Errors:
    """Shrink the errors of some pairs, and of all very bad ones, so that SDR spreads over 0 to 30 dB.

    Most that a real separator said stays as it is, down to -8 dB: its errors are of one kind, which no scale of
    them is. Simulated errors have no right scale.
    """
    error = loudness(add(errors.values())) if errors else 0.0
    if error == 0.0:
        return {}
    sdr = 20 * float(np.log10(loudness(target) / error))
    wanted = rng.uniform(max(sdr, 0.0), max(_BEST_SDR_DB, sdr + 1))
    if sdr > (-8.0 if real else -3.0) and rng.random() < (0.75 if real else 0.4):
        return errors
    factor = np.float32(10 ** ((sdr - wanted) / 20))
    return {cause: audio * factor for cause, audio in errors.items()}
