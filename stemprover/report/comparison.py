"""Several files beside each other: what they have in common and where each differs from the first."""

from __future__ import annotations

import contextlib
import dataclasses
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import numpy as np

from stemprover.errors import OptionError, StemSetError
from stemprover.report.analysis import Analysis, analyse
from stemprover.report.inputs import AudioSource, SourceFormat
from stemprover.stems import AudioFormat, Stem, find_offsets

__all__ = ["MOST_FILES", "ComparedFile", "Comparison", "open_comparison"]

MOST_FILES = 8
_LETTERS = "ABCDEFGH"
_MOST_PARTS = 4  # of a path, the file's name included


@dataclasses.dataclass(frozen=True)
class ComparedFile:
    """One file of a comparison.

    Attributes
    ----------
    letter : str
        ``R`` for the reference, else ``A``, ``B``, ...
    name : str
        File name, with folders before it where two are called alike.
    source : AudioSource
        Its audio, with the channels and the length that all have.
    offset : int
        By how many samples it is late against the first file; 0 for the first one. With ``aligned`` it was moved back.
    """

    letter: str
    name: str
    source: AudioSource
    offset: int


@dataclasses.dataclass(frozen=True)
class Comparison:
    """What a page or picture of a comparison shows.

    Attributes
    ----------
    files : tuple of ComparedFile
        The first is what the others are measured against: the reference, if there is one.
    has_reference, aligned : bool
    metrics : Mapping[str, Mapping[str, float]]
        By the file's letter: scores against the reference, keys of ``stemprover.evaluation.METRICS``.
    """

    files: tuple[ComparedFile, ...]
    has_reference: bool
    aligned: bool
    metrics: Mapping[str, Mapping[str, float]] = dataclasses.field(default_factory=dict)

    @property
    def format(self) -> SourceFormat:
        """Rate, channels and length of all."""
        return self.files[0].source.format

    @property
    def duration_s(self) -> float:
        """Length in seconds."""
        return self.format.samples / self.format.sample_rate

    def analyses(self) -> tuple[Analysis, ...]:
        """Pictures of every file but the first, each with what it changes of the first."""
        return tuple(analyse(self.files[0].source, other.source) for other in self.files[1:])


class _Channels:
    """A stem with another number of channels: mono is spread, anything else is averaged first."""

    def __init__(self, stem: Stem, channels: int) -> None:
        self._stem = stem
        self.format: AudioFormat = dataclasses.replace(stem.format, channels=channels)

    def read(self, start: int, stop: int) -> np.ndarray:
        """Return ``[channels, stop - start]``."""
        audio = self._stem.read(start, stop)
        if audio.shape[0] == self.format.channels:
            return audio
        return np.repeat(audio.mean(0, keepdims=True), self.format.channels, axis=0)


@contextlib.contextmanager
def open_comparison(paths: Sequence[Path], reference: Path | None = None, align: bool = False) -> Iterator[Comparison]:
    """Open files to compare, without metrics.

    All get the first file's channels. Shorter ones are padded to the longest; with ``align``, all are moved, cut or
    padded to fit the first.

    Raises
    ------
    AudioError, StemSetError, OptionError
        A file cannot be read, rates differ, or there are fewer than two files or too many.
    """
    named = [*([reference] if reference else []), *paths]
    if len(named) < 2 or len(paths) > MOST_FILES:
        raise OptionError(f"two to {MOST_FILES} files, or one and --reference", f"{len(paths)}", "name other files")
    with contextlib.ExitStack() as stack:
        stems = [stack.enter_context(Stem.open(path)) for path in named]
        _require_rate(stems)
        offsets = [0, *(found.samples for found in find_offsets(stems[1:], stems[0]))]
        first = stems[0].format
        length = first.samples if align else max(stem.format.samples for stem in stems)
        moved = [stem.moved(by if align else 0, length) for stem, by in zip(stems, offsets, strict=True)]
        letters = ("R" if reference else "") + _LETTERS
        files = tuple(
            ComparedFile(letter, name, _Channels(stem, first.channels), offset)
            for letter, name, stem, offset in zip(letters, _names(named), moved, offsets, strict=False)
        )
        yield Comparison(files, reference is not None, align)


def _names(paths: Sequence[Path]) -> list[str]:
    """File names, with as many folders before them as tell those apart that are called alike."""
    parts = [path.resolve().parts for path in paths]

    def name(one: tuple[str, ...]) -> str:
        alike = [other for other in parts if other != one]
        depth = next((n for n in range(1, _MOST_PARTS + 1) if all(other[-n:] != one[-n:] for other in alike)), 1)
        return "/".join(one[-depth:])

    return [name(one) for one in parts]


def _require_rate(stems: Sequence[Stem]) -> None:
    for other in stems[1:]:
        if other.format.sample_rate != stems[0].format.sample_rate:
            wanted, got = (f"{stem.format.sample_rate} Hz" for stem in (stems[0], other))
            raise StemSetError(f"{wanted} as in '{stems[0].path}'", f"{got} in '{other.path}'", "resample one of them")
