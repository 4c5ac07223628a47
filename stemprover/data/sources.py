"""Recordings that pairs are cut from: decoded once, cached, and limited to the part that belongs to a split.

The layout is that of a data folder with ``multitrack/tracks.csv`` (split, song, stem, path), ``drumkits/<kit>``,
``oneshots`` and ``vocadito``; each part may be absent.
"""

from __future__ import annotations

import csv
import dataclasses
import hashlib
import zlib
from collections.abc import Iterable, Mapping
from pathlib import Path

import numpy as np
import soundfile
import soxr

from stemprover.errors import TrainingError
from stemprover.spectral.spec import SPEC

__all__ = ["KIT_STEMS", "TRAIN_KITS", "Kit", "Library", "Recording", "open_library", "stem_class_of_sample"]

KIT_STEMS = ("kick", "snare", "toms", "hihat", "cymbals")
TRAIN_KITS = ("bluebird", "brooklyn", "roots")
BLOCK = SPEC.sample_rate // 4  # samples per value of the loudness curve
_HELD_OUT = {"song": 0.15, "kit": 0.2, "solo": 0.15}  # last part of every recording: validation
_SAMPLE_CLASSES = {
    "bass": ("bass_",),
    "drums": (
        *("bd_", "drum_", "hat_", "sn_", "ride_", "tabla_", "perc_", "elec_", "glitch_perc", "arovane_beat_"),
        *(
            "loop_amen",
            "loop_break",
            "loop_comp",
            "loop_indus",
            "loop_mehack",
            "loop_perc",
            "loop_safari",
            "loop_tabla",
        ),
    ),
    "vocals": ("mehackit_robot", "ambi_choir"),
}


@dataclasses.dataclass(frozen=True, eq=False)
class Recording:
    """One decoded file.

    Attributes
    ----------
    name, song, stem_class : str
        File name without suffix, what it belongs to, and its class.
    samples : ndarray
        Int16, shape ``[2, samples]``, memory-mapped.
    loudness : ndarray
        Root-mean-square per ``BLOCK`` samples, full scale = 1.
    first, last : int
        The range of samples that belongs to the split.
    """

    name: str
    song: str
    stem_class: str
    samples: np.ndarray
    loudness: np.ndarray
    first: int
    last: int

    def read(self, start: int, length: int) -> np.ndarray:
        """Return float32 ``[2, length]`` from sample ``start``, zero outside the split's range."""
        audio = np.zeros((2, length), np.float32)
        begin, end = max(start, self.first), min(start + length, self.last)
        if end > begin:
            audio[:, begin - start : end - start] = self.samples[:, begin:end] / np.float32(32768)
        return audio

    def is_active(self, start: int, length: int, floor: float = 1e-3) -> bool:
        """Tell whether any block of a range is louder than ``floor``."""
        return bool((self.loudness[start // BLOCK : (start + length) // BLOCK + 1] > floor).any())


@dataclasses.dataclass(frozen=True, eq=False)
class Kit:
    """A drum performance with a real separator's outputs: recordings by stem."""

    name: str
    mix: Recording
    references: Mapping[str, Recording]
    estimates: Mapping[str, Recording]


@dataclasses.dataclass(frozen=True, eq=False)
class Library:
    """All material of one split.

    Attributes
    ----------
    songs : Mapping[str, tuple[Recording, ...]]
        Tracks that start together, by song.
    kits : tuple[Kit, ...]
    solos : tuple[Recording, ...]
        Unaccompanied singing.
    samples : Mapping[str, tuple[Recording, ...]]
        One-shots and loops by stem class.
    """

    songs: Mapping[str, tuple[Recording, ...]]
    kits: tuple[Kit, ...]
    solos: tuple[Recording, ...]
    samples: Mapping[str, tuple[Recording, ...]]


def open_library(data: Path, cache: Path, split: str) -> Library:
    """Open everything below ``data`` that may be used for ``train`` or ``validation``.

    Parameters
    ----------
    data : Path
        Folder with any of ``multitrack``, ``drumkits``, ``oneshots``, ``vocadito``.
    cache : Path
        Where decoded audio is kept (int16, about 10 MB a minute).
    split : str
        ``train`` or ``validation``: the first and the last part of every train recording, and separate one-shots.

    Raises
    ------
    TrainingError
        If the folder holds none of these or the split has another name.
    """
    if split not in ("train", "validation"):
        raise TrainingError("the split train or validation", split, "test material makes no pairs")
    cache.mkdir(parents=True, exist_ok=True)
    library = Library(
        songs=_songs(data / "multitrack", cache, split),
        kits=tuple(_kit(data / "drumkits" / name, cache, split) for name in TRAIN_KITS if _has_kit(data, name)),
        solos=tuple(
            _open(path, cache, split, "solo", path.stem, "vocals") for path in sorted(data.glob("vocadito/*.wav"))
        ),
        samples=_samples(sorted(data.glob("oneshots/*.flac")), cache, split),
    )
    if not library.songs and not library.kits:
        raise TrainingError("multitrack/tracks.csv or drumkits/ in the data folder", str(data), "see docs/data.md")
    return library


def _songs(folder: Path, cache: Path, split: str) -> dict[str, tuple[Recording, ...]]:
    table = folder / "tracks.csv"
    if not table.is_file():
        return {}
    with table.open(newline="", encoding="utf-8") as file:
        rows = [row for row in csv.DictReader(file) if row["split"] == "train"]
    songs: dict[str, list[Recording]] = {}
    for row in rows:
        track = _open(folder / row["path"], cache, split, "song", row["song"], row["stem"])
        songs.setdefault(row["song"], []).append(track)
    return {song: tuple(tracks) for song, tracks in songs.items()}


def _has_kit(data: Path, name: str) -> bool:
    return (data / "drumkits" / name / "mix.mp3").is_file()


def _kit(folder: Path, cache: Path, split: str) -> Kit:
    def one(path: Path, stem: str) -> Recording:
        return _open(path, cache, split, "kit", folder.name, stem)

    return Kit(
        name=folder.name,
        mix=one(folder / "mix.mp3", "drums"),
        references={stem: one(folder / f"ref.{stem}.mp3", stem) for stem in KIT_STEMS},
        estimates={stem: one(folder / "LarsNet" / f"{stem}.mp3", stem) for stem in KIT_STEMS},
    )


def _samples(paths: Iterable[Path], cache: Path, split: str) -> dict[str, tuple[Recording, ...]]:
    """Every seventh one-shot (by checksum of its name) is held out as a whole."""
    found: dict[str, list[Recording]] = {}
    for path in paths:
        held_out = zlib.crc32(path.stem.encode()) % 7 == 0
        if held_out == (split == "validation"):
            stem_class = stem_class_of_sample(path.stem)
            found.setdefault(stem_class, []).append(_open(path, cache, split, "sample", "oneshots", stem_class))
    return {stem_class: tuple(recordings) for stem_class, recordings in found.items()}


def stem_class_of_sample(name: str) -> str:
    """Return the class of a one-shot by its name: ``bd_808`` is drums, ``ambi_choir`` vocals, the rest other."""
    for stem_class, prefixes in _SAMPLE_CLASSES.items():
        if name.startswith(prefixes):
            return stem_class
    return "other"


def _open(path: Path, cache: Path, split: str, kind: str, song: str, stem_class: str) -> Recording:
    samples, loudness = _decode(path, cache)
    length = samples.shape[1]
    border = round(length * (1.0 - _HELD_OUT.get(kind, 0.0)))
    first, last = (0, border) if split == "train" or kind == "sample" else (border, length)
    return Recording(path.stem, song, stem_class, samples, loudness, first, last)


def _decode(path: Path, cache: Path) -> tuple[np.ndarray, np.ndarray]:
    """Return samples and loudness of a file from the cache, decoding it the first time."""
    if not path.is_file():
        raise TrainingError("a recording", f"no file {path}", "check the data folder")
    key = hashlib.sha256(f"{path.resolve()}:{path.stat().st_size}".encode()).hexdigest()[:16]
    stored, curve = cache / f"{path.stem}-{key}.npy", cache / f"{path.stem}-{key}.loudness.npy"
    if not curve.is_file():
        audio, rate = soundfile.read(path, dtype="float32", always_2d=True)
        if rate != SPEC.sample_rate:
            audio = soxr.resample(audio, rate, SPEC.sample_rate)
        audio = np.repeat(audio, 2, axis=1) if audio.shape[1] == 1 else audio[:, :2]
        padded = np.pad(audio, ((0, -len(audio) % BLOCK), (0, 0)))
        _save(stored, np.clip(np.rint(audio.T * 32768), -32768, 32767).astype(np.int16))
        _save(curve, np.sqrt((padded.reshape(-1, BLOCK * 2) ** 2).mean(1)))
    return np.load(stored, mmap_mode="r"), np.load(curve)


def _save(path: Path, array: np.ndarray) -> None:
    partial = path.with_suffix(".partial.npy")
    np.save(partial, array)
    partial.replace(path)
