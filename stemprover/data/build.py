"""Building a pairs folder: draw a scene, degrade its target, label it, write it."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor, as_completed
from multiprocessing import get_context
from pathlib import Path

import numpy as np
import torch

from stemprover.data.artifacts import draw_artifacts
from stemprover.data.classical import CLASSICAL, separate_classically
from stemprover.data.labels import cell_labels, sdr_db, severity_of
from stemprover.data.pairs import MANIFEST, PairAudio, read_manifest, write_pair
from stemprover.data.scenes import Scene, add, draw_kit_scene, draw_scene, loudness
from stemprover.data.separators import Errors, draw_style, errors_of_estimate, simulate_mask, simulate_waveform
from stemprover.data.sources import Library, open_library
from stemprover.spectral.spec import SPEC

__all__ = ["PAIR_SECONDS", "Built", "build_pairs", "make_pair"]

PAIR_SECONDS = 4.0
_KINDS = {"mask": 0.4, "waveform": 0.08, "controlled": 0.25, "larsnet": 0.1, "classical": 0.07, "none": 0.1}
_SPLITS = {"train": 0, "validation": 1}
_BEST_SDR_DB = 32.0
_PEAK = 0.98


@dataclasses.dataclass(frozen=True, slots=True)
class Built:
    """How many pairs were written now and how many were there before."""

    written: int
    kept: int


def build_pairs(
    data: Path,
    out: Path,
    count: int,
    split: str = "train",
    seed: int = 0,
    jobs: int = 1,
    progress: Callable[[int], None] | None = None,
) -> Built:
    """Write pairs ``0 .. count - 1`` of a split; those already in the manifest are kept.

    Parameters
    ----------
    data : Path
        Data folder, see :mod:`stemprover.data.sources`.
    out : Path
        Pairs folder; decoded recordings are cached in ``out/cache``.
    count : int
        Number of pairs that the split shall have.
    split : str
        ``train`` or ``validation``; the two never share a stretch of a recording.
    seed : int
        A pair depends on seed, split and its index only, not on ``jobs`` or on what was there before.
    jobs : int
        Parallel processes.
    progress : callable, optional
        Called with 1 after each written pair.

    Raises
    ------
    TrainingError
        If the data folder or the existing manifest cannot be used.
    """
    library = open_library(data, out / "cache", split)
    present = {pair.id for pair in read_manifest(out, split)} if (out / MANIFEST).is_file() else set()
    missing = [index for index in range(count) if f"{split}-{index:06d}" not in present]
    work = (
        _serial(library, out, missing, split, seed) if jobs <= 1 else _parallel(data, out, missing, split, seed, jobs)
    )
    for _ in work:
        if progress is not None:
            progress(1)
    return Built(len(missing), count - len(missing))


def _serial(library: Library, out: Path, indices: list[int], split: str, seed: int) -> Iterator[int]:
    for index in indices:
        _write(library, out, index, split, seed)
        yield index


def _parallel(data: Path, out: Path, indices: list[int], split: str, seed: int, jobs: int) -> Iterator[int]:
    chunks = [indices[k : k + 20] for k in range(0, len(indices), 20)]
    with ProcessPoolExecutor(jobs, mp_context=get_context("spawn"), initializer=_one_thread) as pool:
        futures = [pool.submit(_write_chunk, data, out, chunk, split, seed) for chunk in chunks]
        for future in as_completed(futures):
            yield from future.result()


def _one_thread() -> None:
    torch.set_num_threads(1)


def _write_chunk(data: Path, out: Path, indices: list[int], split: str, seed: int) -> list[int]:
    return list(_serial(open_library(data, out / "cache", split), out, indices, split, seed))


def _write(library: Library, out: Path, index: int, split: str, seed: int) -> None:
    rng = np.random.default_rng([seed, _SPLITS[split], index])
    audio, description = make_pair(library, rng)
    write_pair(out, index, audio, {**description, "split": split})


def make_pair(library: Library, rng: np.random.Generator) -> tuple[PairAudio, dict[str, object]]:
    """Make one pair in memory: its audio and labels, and its line of the manifest without files."""
    samples = round(PAIR_SECONDS * SPEC.sample_rate)
    kind = str(rng.choice(list(_KINDS), p=list(_KINDS.values())))
    if kind == "larsnet" and not library.kits:
        kind = "mask"
    if kind == "larsnet":
        scene, mixture, errors = _larsnet(library, samples, rng)
    else:
        scene = draw_scene(library, samples, rng)
        mixture = scene.mixture
        kind, errors = _degrade(kind, scene, rng)
    errors = _scale(scene.target, errors, rng)
    artifact = add([scene.target, *errors.values()])
    peak = max(float(np.abs(audio).max()) for audio in (scene.target, artifact, mixture))
    gain = np.float32(min(1.0, _PEAK / max(peak, 1e-9)))
    labels = cell_labels(scene.target, errors)
    sdr = sdr_db(scene.target, artifact)
    description: dict[str, object] = {
        "song": scene.song,
        "stem": scene.stem_class,
        "separator": kind,
        "has_siblings": bool(rng.random() > 0.15),
        "sdr_db": None if sdr is None else round(sdr, 3),
        "severity": 0.0 if sdr is None else round(float(severity_of(sdr)), 4),
    }
    return PairAudio(scene.target * gain, artifact * gain, mixture * gain, labels), description


def _degrade(kind: str, scene: Scene, rng: np.random.Generator) -> tuple[str, Errors]:
    """Run what ``kind`` says; returns its precise name and the errors by cause."""
    if kind == "mask":
        return kind, simulate_mask(scene, draw_style(rng), rng)
    if kind == "waveform":
        return kind, simulate_waveform(scene, rng)
    if kind == "controlled":
        return kind, draw_artifacts(scene, rng)
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
    scaled = Scene(
        scene.song, scene.stem_class, scene.target * level, {k: v * level for k, v in scene.siblings.items()}
    )
    return scaled, mixture * level, errors_of_estimate(scaled, estimate * level, mixture * level)


def _scale(target: np.ndarray, errors: Errors, rng: np.random.Generator) -> Errors:
    """Shrink the errors of about half of the pairs, and of all very bad ones, so that SDR spreads over 0 to 30 dB."""
    error = loudness(add(errors.values())) if errors else 0.0
    if error == 0.0:
        return {}
    sdr = 20 * float(np.log10(loudness(target) / error))
    wanted = rng.uniform(max(sdr, 0.0), max(_BEST_SDR_DB, sdr + 1))
    if sdr > -3.0 and rng.random() < 0.4:
        return errors
    factor = np.float32(10 ** ((sdr - wanted) / 20))
    return {cause: audio * factor for cause, audio in errors.items()}
