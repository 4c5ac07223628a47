"""Pairs of clean and damaged audio that an author measures a plugin on."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from stemprover.data.pairs import MANIFEST, load, read_manifest
from stemprover.errors import InputError
from stemprover.spectral.spec import SPEC
from stemprover.stems import Stem
from stemprover.stems.names import guess_stem_class

__all__ = ["AudioPair", "read_audio_pairs"]


@dataclasses.dataclass(frozen=True, eq=False)
class AudioPair:
    """A stem as it should be and as it came out of a separator.

    Attributes
    ----------
    name : str
        For messages.
    clean, degraded : ndarray
        Float64, shape ``[channels, samples]``, aligned.
    mixture : ndarray or None
        What the stem was separated from, same shape.
    sample_rate : int
        Hz.
    stem_class : str
        ``vocals``, ``drums``, ... or ``generic``.
    """

    name: str
    clean: np.ndarray
    degraded: np.ndarray
    mixture: np.ndarray | None
    sample_rate: int
    stem_class: str


def read_audio_pairs(folder: Path) -> tuple[AudioPair, ...]:
    """Read a pairs folder of ``stemprover data``, or files of the same names in ``clean/`` and ``artifact/``.

    Of a pairs folder the split ``validation`` is read; what an adapter was trained on says nothing about it. Beside
    ``clean/`` and ``artifact/`` there may be ``mixture/``.

    Raises
    ------
    InputError
        There are none, or two files of a pair do not fit each other.
    """
    pairs = tuple(_built(folder) if (folder / MANIFEST).is_file() else _plain(folder))
    if not pairs:
        what = f"validation pairs in {folder}, or files in {folder / 'clean'} and {folder / 'artifact'}"
        raise InputError(what, "none", "make them first; docs/plugins/testing.md says how")
    return pairs


def _built(folder: Path) -> Iterator[AudioPair]:
    for pair in read_manifest(folder, "validation"):
        audio = load(pair)
        mixture = audio.mixture if pair.has_siblings else None
        yield AudioPair(pair.id, audio.clean, audio.artifact, mixture, SPEC.sample_rate, pair.stem)


def _plain(folder: Path) -> Iterator[AudioPair]:
    for path in sorted((folder / "clean").glob("*.*")):
        found = {role: _same_name(folder / role, path.stem) for role in ("artifact", "mixture")}
        if found["artifact"] is None:
            raise InputError(f"a file called {path.stem} in {folder / 'artifact'}", "none", "name both files alike")
        clean, rate = _read(path)
        others = {role: _fitting(other, clean, rate) if other else None for role, other in found.items()}
        degraded = others["artifact"]
        assert degraded is not None
        yield AudioPair(path.stem, clean, degraded, others["mixture"], rate, guess_stem_class(path))


def _same_name(folder: Path, name: str) -> Path | None:
    return next(iter(sorted(folder.glob(f"{name}.*"))), None)


def _read(path: Path) -> tuple[np.ndarray, int]:
    with Stem.open(path) as stem:
        return stem.read(0, stem.format.samples), stem.format.sample_rate


def _fitting(path: Path, clean: np.ndarray, rate: int) -> np.ndarray:
    audio, other_rate = _read(path)
    if audio.shape != clean.shape or other_rate != rate:
        got = f"{list(audio.shape)} at {other_rate} Hz"
        raise InputError(f"{path} as long as its clean file, {list(clean.shape)} at {rate} Hz", got, "align the pair")
    return audio
