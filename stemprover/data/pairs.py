"""The pairs folder: clean / artifact / mixture segments with labels, and the manifest that lists them.

Layout of a folder::

    manifest.jsonl                      one JSON object per pair, appended line by line
    train/0000/train-000012.clean.flac  44.1 kHz stereo, 24 bit; also .artifact.flac and .mixture.flac
    train/0000/train-000012.labels.safetensors
                                        one float32 tensor [cells, n_cell_bands] of severities per artifact name

A line is appended only after all files of its pair are in place, so a folder can be read while it is being written.
"""

from __future__ import annotations

import dataclasses
import functools
import hashlib
import json
import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import soundfile
from safetensors.numpy import load_file, save

from stemprover.errors import TrainingError
from stemprover.spectral.spec import SPEC

__all__ = ["AUDIO_ROLES", "MANIFEST", "NO_MUSIC", "Pair", "PairAudio", "check", "load", "read_manifest", "write_pair"]

MANIFEST = "manifest.jsonl"
NO_MUSIC = frozenset({"synth", "oneshots", "mixed"})
"""What a manifest names as the song of pairs that belong to none."""
AUDIO_ROLES = ("clean", "artifact", "mixture")
SHARD = 250
_REBUILD = "delete the line or rebuild the folder with `stemprover data pairs`"


@dataclasses.dataclass(frozen=True, slots=True)
class Pair:
    """One line of the manifest.

    Attributes
    ----------
    id : str
        Unique name, ``<split>-<index>``.
    song : str
        What the target was cut from, for example ``lithium`` or ``synth``.
    stem : str
        Stem class of the target.
    separator : str
        What made the artifacts: ``mask``, ``larsnet``, ``hpss``, ..., ``controlled``, ``none`` for a clean pair.
    split : str
        ``train`` or ``validation``.
    has_siblings : bool
        Whether a model may look at the siblings (mixture minus artifact) of this pair.
    sdr_db : float | None
        Signal-to-distortion ratio of the artifact against the clean stem; None where they are equal.
    severity : float
        ``clip(1 - sdr_db / 30, 0, 1)`` of the whole segment.
    artifacts : Mapping[str, float]
        Mean severity per artifact name over the cells where it occurs.
    files, sha256 : Mapping[str, str]
        Path relative to the folder and checksum by role: ``clean``, ``artifact``, ``mixture``, ``labels``.
    samples, sample_rate : int
        Length and rate of the audio.
    folder : Path
        The folder the manifest lies in; not part of the line.
    sources : tuple of str
        Songs, kits and solo recordings that any part of the mixture was cut from; none where they are not known.
    """

    id: str
    song: str
    stem: str
    separator: str
    split: str
    has_siblings: bool
    sdr_db: float | None
    severity: float
    artifacts: Mapping[str, float]
    files: Mapping[str, str]
    sha256: Mapping[str, str]
    samples: int
    sample_rate: int
    folder: Path
    sources: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        object.__setattr__(self, "sources", tuple(self.sources))  # JSON has lists

    @property
    def music(self) -> frozenset[str]:
        """Songs, kits and solo recordings that it is known to hold."""
        return frozenset((self.song, *self.sources)) - NO_MUSIC

    def path(self, role: str) -> Path:
        """Return the file of ``clean``, ``artifact``, ``mixture`` or ``labels``."""
        return self.folder / self.files[role]


@dataclasses.dataclass(frozen=True, eq=False)
class PairAudio:
    """A pair in memory.

    Attributes
    ----------
    clean, artifact, mixture : ndarray
        Float32, shape ``[2, samples]``; the siblings are ``mixture - artifact``.
    labels : Mapping[str, ndarray]
        Severity per artifact name, float32, shape ``[cells, n_cell_bands]``; absent names are zero everywhere.
    """

    clean: np.ndarray
    artifact: np.ndarray
    mixture: np.ndarray
    labels: Mapping[str, np.ndarray]


def read_manifest(folder: Path | str, split: str | None = None) -> list[Pair]:
    """Read the manifest of a pairs folder, in the order of writing.

    Parameters
    ----------
    folder : Path or str
        The pairs folder.
    split : str, optional
        Keep only ``train`` or ``validation``.

    Raises
    ------
    TrainingError
        If there is no manifest or a line is not a pair. A last line without its line end is still being written and
        is left out.
    """
    folder = Path(folder)
    path = folder / MANIFEST
    if not path.is_file():
        raise TrainingError(f"a pairs folder with {MANIFEST}", f"{folder}", "make one with `stemprover data pairs`")
    complete = path.read_text(encoding="utf-8").rpartition("\n")[0]
    pairs = [_parse(line, number, folder) for number, line in enumerate(complete.splitlines(), 1) if line]
    return [pair for pair in pairs if split is None or pair.split == split]


def _parse(line: str, number: int, folder: Path) -> Pair:
    try:
        fields: dict[str, Any] = json.loads(line)
        return Pair(**fields, folder=folder)
    except (json.JSONDecodeError, TypeError) as error:
        raise TrainingError(f"one pair per line in {folder / MANIFEST}", f"line {number}: {error}", _REBUILD) from error


def load(pair: Pair) -> PairAudio:
    """Read audio and labels of a pair.

    Raises
    ------
    TrainingError
        If a file is missing, unreadable or of another length than the manifest says.
    """
    try:
        clean, artifact, mixture = (_read(pair.path(role)) for role in AUDIO_ROLES)
        labels = load_file(pair.path("labels"))
    except (OSError, soundfile.LibsndfileError) as error:
        raise TrainingError(f"the files of pair {pair.id}", str(error), _REBUILD) from error
    if not clean.shape == artifact.shape == mixture.shape == (2, pair.samples):
        got = f"{clean.shape}, {artifact.shape}, {mixture.shape}"
        raise TrainingError(f"pair {pair.id} with shape (2, {pair.samples})", got, _REBUILD)
    return PairAudio(clean, artifact, mixture, labels)


def _read(path: Path) -> np.ndarray:
    audio, _ = soundfile.read(path, dtype="float32", always_2d=True)
    return np.ascontiguousarray(audio.T)


def check(pair: Pair) -> None:
    """Compare the files of a pair with their checksums.

    Raises
    ------
    TrainingError
        If a file is missing or differs.
    """
    for role, expected in pair.sha256.items():
        path = pair.path(role)
        got = hashlib.sha256(path.read_bytes()).hexdigest() if path.is_file() else "no file"
        if got != expected:
            raise TrainingError(f"{pair.files[role]} with SHA-256 {expected[:12]}", got[:12], _REBUILD)


def write_pair(folder: Path, index: int, audio: PairAudio, description: Mapping[str, Any]) -> Pair:
    """Write one pair and append its line to the manifest.

    Parameters
    ----------
    folder : Path
        The pairs folder; made if it is not there.
    index : int
        Number of the pair within its split; with the split it makes the id.
    audio : PairAudio
        Samples must lie within ``[-1, 1]``.
    description : Mapping
        ``song``, ``stem``, ``separator``, ``split``, ``has_siblings``, ``sdr_db`` and ``severity``.
    """
    split = str(description["split"])
    name = f"{split}-{index:06d}"
    shard = Path(split) / f"{index // SHARD:04d}"
    (folder / shard).mkdir(parents=True, exist_ok=True)
    files = {role: (shard / f"{name}.{role}.flac").as_posix() for role in AUDIO_ROLES}
    for role in AUDIO_ROLES:
        _replace(folder / files[role], functools.partial(_write_flac, audio=getattr(audio, role)))
    files["labels"] = (shard / f"{name}.labels.safetensors").as_posix()
    labels = save({key: np.ascontiguousarray(value, dtype=np.float32) for key, value in audio.labels.items()})
    _replace(folder / files["labels"], lambda path: path.write_bytes(labels))
    line = {
        "id": name,
        **description,
        "artifacts": {key: round(_mean_present(value), 4) for key, value in audio.labels.items()},
        "files": files,
        "sha256": {role: hashlib.sha256((folder / path).read_bytes()).hexdigest() for role, path in files.items()},
        "samples": audio.clean.shape[-1],
        "sample_rate": SPEC.sample_rate,
    }
    _append(folder / MANIFEST, json.dumps(line))
    return Pair(**line, folder=folder)


def _mean_present(severity: np.ndarray) -> float:
    present = severity[severity > 0]
    return float(present.mean()) if present.size else 0.0


def _write_flac(path: Path, audio: np.ndarray) -> None:
    soundfile.write(path, audio.T, SPEC.sample_rate, format="FLAC", subtype="PCM_24", compression_level=0.25)


def _replace(path: Path, write: Callable[[Path], object]) -> None:
    """Write next to the target and rename, so that a file is whole or absent."""
    partial = path.with_suffix(path.suffix + ".partial")
    write(partial)
    partial.replace(path)


def _append(path: Path, line: str) -> None:
    """Append with one write call: POSIX keeps appended lines of parallel writers whole."""
    descriptor = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o644)
    try:
        os.write(descriptor, (line + "\n").encode())
    finally:
        os.close(descriptor)
