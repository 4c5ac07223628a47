"""Pairs from an author's own recordings: true stems, and the same stems as some separator left them."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np

from stemprover.data.labels import cell_labels, sdr_db, severity_of
from stemprover.data.pairs import MANIFEST, PairAudio, write_pair
from stemprover.errors import TrainingError
from stemprover.spectral.spec import SPEC
from stemprover.stems import Stem, resample
from stemprover.stems.names import guess_stem_class

__all__ = ["Imported", "import_pairs"]

_SAMPLES = 4 * SPEC.sample_rate
_SHORTEST = SPEC.sample_rate
_VALIDATION_EVERY = 5


@dataclasses.dataclass(frozen=True, slots=True)
class Imported:
    """How many pairs each split got."""

    train: int
    validation: int


def import_pairs(folder: Path, out: Path, artifact: str, progress: Callable[[int], None] | None = None) -> Imported:
    """Cut recordings into pairs.

    Every fifth recording goes to the validation split as a whole, the last one if there are fewer; of a single
    recording, its last part. Audio is brought to two channels at 44.1 kHz.

    Parameters
    ----------
    folder : Path
        Holds ``clean/`` and ``artifact/``, with files of the same names that are aligned to the sample, and, where
        the mixture is known, ``mixture/``. Stem classes are guessed from the names (``song1-vocals.flac``).
    out : Path
        Pairs folder to make.
    artifact : str
        What separates the two, for example ``bleed/choir``.
    progress : callable, optional
        Called with 1 after each recording.

    Raises
    ------
    TrainingError
        There are no recordings, two of a pair do not fit, or ``out`` holds pairs already.
    """
    if (out / MANIFEST).exists():
        raise TrainingError(f"an empty folder {out}", "pairs that are there already", "choose another --out")
    paths = sorted((folder / "clean").glob("*.*"))
    if not paths:
        raise TrainingError(
            f"recordings in {folder / 'clean'}", "none", "put true stems there, damaged ones in artifact/"
        )
    counts = {"train": 0, "validation": 0}
    for place, path in enumerate(paths):
        segments = list(_segments(folder, path))
        for part, audio in enumerate(segments):
            split = _split(place, len(paths), part, len(segments))
            _write(out, counts[split], split, path, artifact, audio, (folder / "mixture").is_dir())
            counts[split] += 1
        if progress is not None:
            progress(1)
    if not all(counts.values()):
        fix = "add a second recording, or one of at least 8 s"
        raise TrainingError("pairs to train on and pairs to validate with", f"{sum(counts.values())} in all", fix)
    return Imported(**counts)


def _split(place: int, recordings: int, part: int, parts: int) -> str:
    if recordings == 1:
        held = part >= parts - max(1, parts // _VALIDATION_EVERY)
    else:
        held = place % _VALIDATION_EVERY == _VALIDATION_EVERY - 1 or (
            recordings < _VALIDATION_EVERY and place == recordings - 1
        )
    return "validation" if held else "train"


def _segments(folder: Path, clean: Path) -> Iterator[np.ndarray]:
    """Yield clean, damaged and mixture of each stretch, float32 ``[3, 2, samples]``; a short last one gets silence."""
    whole = np.stack([_read(path, clean) for path in _files(folder, clean)])
    for start in range(0, whole.shape[-1], _SAMPLES):
        cut = whole[..., start : start + _SAMPLES]
        if start == 0 or cut.shape[-1] >= _SHORTEST:
            yield np.pad(cut, ((0, 0), (0, 0), (0, _SAMPLES - cut.shape[-1])))


def _files(folder: Path, clean: Path) -> Iterator[Path]:
    """Yield the files of a recording; without a mixture, the damaged stem stands in: no siblings then."""
    yield clean
    damaged = _same_name(folder / "artifact", clean)
    yield damaged
    yield _same_name(folder / "mixture", clean) if (folder / "mixture").is_dir() else damaged


def _same_name(folder: Path, path: Path) -> Path:
    found = next(iter(sorted(folder.glob(f"{path.stem}.*"))), None)
    if found is None:
        raise TrainingError(f"a file called {path.stem} in {folder}", "none", "give the files of a pair one name")
    return found


def _read(path: Path, like: Path) -> np.ndarray:
    with Stem.open(path) as stem, Stem.open(like) as other:
        if (stem.format.samples, stem.format.sample_rate) != (other.format.samples, other.format.sample_rate):
            got = f"{stem.format.samples} at {stem.format.sample_rate} Hz"
            raise TrainingError(f"{path} as long as {like}", got, "align the two and export them at one rate")
        audio = stem.read(0, stem.format.samples)
        stereo = audio if len(audio) == 2 else np.repeat(audio.mean(0, keepdims=True), 2, 0)
        if stem.format.sample_rate != SPEC.sample_rate:
            stereo = resample(stereo, stem.format.sample_rate, SPEC.sample_rate)
    return np.clip(stereo, -1.0, 1.0).astype(np.float32)


def _write(out: Path, index: int, split: str, path: Path, artifact: str, audio: np.ndarray, has_siblings: bool) -> None:
    clean, damaged, mixture = audio
    sdr = sdr_db(clean, damaged)
    description = {
        "song": path.stem,
        "stem": guess_stem_class(path),
        "separator": "recorded",
        "split": split,
        "has_siblings": has_siblings,
        "sdr_db": sdr,
        "severity": 0.0 if sdr is None else float(severity_of(sdr)),
    }
    labels = cell_labels(clean, {artifact: damaged - clean})
    write_pair(out, index, PairAudio(clean, damaged, mixture, labels), description)
