"""Recordings that pairs are cut from: decoded once, cached, and limited to the part that belongs to a split."""

from __future__ import annotations

import dataclasses
import hashlib
import secrets
from pathlib import Path

import numpy as np
import soundfile
import soxr

from stemprover.errors import TrainingError
from stemprover.spectral.spec import SPEC

__all__ = ["BLOCK", "Recording", "open_recording"]

BLOCK = SPEC.sample_rate // 4  # samples per value of the loudness curve
_HELD_OUT = {"song": 0.15, "kit": 0.2, "solo": 0.15}  # last part of every recording: validation


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


def open_recording(path: Path, cache: Path, split: str, kind: str, song: str, stem_class: str) -> Recording:
    """Open a file for one split.

    Parameters
    ----------
    path, cache : Path
        The file, and the folder that keeps it decoded.
    split : str
        ``train`` gets the first part of the recording, ``validation`` the last.
    kind : str
        ``song`` (last 15 % held out), ``kit`` (20 %), ``solo`` (15 %) or ``sample`` (never divided).
    song, stem_class : str
        What the recording belongs to.

    Raises
    ------
    TrainingError
        If there is no such file or it is not audio.
    """
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
        try:
            audio, rate = soundfile.read(path, dtype="float32", always_2d=True)
        except soundfile.LibsndfileError as error:
            raise TrainingError(f"audio in {path}", str(error), "remove the file from the data folder") from error
        if rate != SPEC.sample_rate:
            audio = soxr.resample(audio, rate, SPEC.sample_rate)
        audio = np.repeat(audio, 2, axis=1) if audio.shape[1] == 1 else audio[:, :2]
        padded = np.pad(audio, ((0, -len(audio) % BLOCK), (0, 0)))
        _save(stored, np.clip(np.rint(audio.T * 32768), -32768, 32767).astype(np.int16))
        _save(curve, np.sqrt((padded.reshape(-1, BLOCK * 2) ** 2).mean(1)))
    return np.load(stored, mmap_mode="r"), np.load(curve)


def _save(path: Path, array: np.ndarray) -> None:
    partial = path.with_suffix(f".{secrets.token_hex(4)}.partial.npy")  # several processes may fill one cache
    np.save(partial, array)
    partial.replace(path)
