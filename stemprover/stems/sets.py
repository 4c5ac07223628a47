"""Stem sets: what a separator made of one song, with or without the mixture."""

from __future__ import annotations

import dataclasses
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Self

from stemprover.errors import OptionError, StemSetError
from stemprover.stems.alignment import find_offsets
from stemprover.stems.folders import audio_files
from stemprover.stems.names import (
    guess_stem_class,
    is_mixture_name,
    lacking_class,
    leading_words,
    song_titles,
    titled_mixture,
)
from stemprover.stems.repeated import require_each_once, require_no_sum
from stemprover.stems.stem import Stem

__all__ = ["DRUM_PARTS", "StemSet", "members"]

DRUM_PARTS = frozenset({"kick", "snare", "toms", "hihat", "cymbals"})
"""Classes of the pieces of a drum kit."""

_INSTRUMENTAL_PARTS = frozenset({"drums", "bass", "other", "piano", "guitar"}) | DRUM_PARTS
_PARTS = {"instrumental": _INSTRUMENTAL_PARTS, "drums": DRUM_PARTS}
# A sum is taken to be fully given by its parts when these are there.
_COVER = {"instrumental": frozenset({"other"}), "drums": frozenset({"kick", "snare"})}


@dataclasses.dataclass(frozen=True, slots=True)
class StemSet:
    """Stems of one song with the same length and sample rate; a context manager.

    Attributes
    ----------
    stems : tuple of Stem
        In the order of their file names.
    mixture : Stem or None
        The song they were separated from.
    """

    stems: tuple[Stem, ...]
    mixture: Stem | None = None

    def __post_init__(self) -> None:
        if not self.stems:
            raise StemSetError("at least one stem", "none", "hand in audio files")
        everything = [*self.stems, *([self.mixture] if self.mixture else [])]
        for stem in everything[1:]:
            _require_match(everything[0], stem)

    @classmethod
    def open(
        cls,
        paths: Path | str | Sequence[Path | str],
        mixture: Path | str | None = None,
        stem_class: str | None = None,
        skip_suffix: str = ".enhanced",
        align: bool = False,
    ) -> StemSet:
        """Open a folder, a file or several files as one set.

        Parameters
        ----------
        paths : path or sequence of paths
            In a folder all audio files are taken, except hidden ones and those whose name ends with ``skip_suffix``
            (earlier results); one of a kind that is not read (``.m4a``, ...) is an error. A file called ``mix``,
            ``mixture`` or ``original`` is the mixture, and so is the file that all others are named after (``song.wav``
            beside ``song_(Vocals)_htdemucs.wav``).
        mixture : path, optional
            The mixture; it overrules one found in the folder.
        stem_class : str, optional
            For a single stem; else classes come from file names.
        align : bool
            Shift stems that are late or early against the mixture (see :mod:`stemprover.stems.alignment`), and cut or
            pad all to its length; without a mixture, to the first stem's.

        Raises
        ------
        AudioError, StemSetError, OptionError
        """
        stems, mixture = members(audio_files(paths, skip_suffix), mixture)
        if stem_class is not None and len(stems) > 1:
            raise OptionError("one stem for --stem", f"{len(stems)} stems", "leave --stem out; file names tell")
        return cls._open_all(stems, mixture, stem_class, align)

    @classmethod
    def _open_all(
        cls, paths: Sequence[Path], mixture: Path | str | None, stem_class: str | None, align: bool
    ) -> StemSet:
        opened: list[Stem] = []
        try:
            opened.extend(Stem.open(path, stem_class) for path in paths)
            if mixture is not None:
                opened.append(Stem.open(mixture, "generic"))
            mixed = opened[-1] if mixture is not None else None
            stems = opened[: len(paths)]
            made = cls(tuple(_aligned(stems, mixed) if align else stems), mixed)
            require_each_once(made.stems)
            require_no_sum(made.cover())
            return made
        except BaseException:
            for stem in opened:
                stem.close()
            raise

    def siblings(self, stem: Stem) -> Mapping[str, Stem]:
        """Return the other stems by class, each part of the song once.

        A sum (``instrumental``, ``drums``) never stands beside its own parts: it is left out when the parts cover it,
        else the parts are; ``no_drums`` stands beside drums and nothing else. A second stem of the same class is called
        ``vocals-2``. Empty for a stem that came alone.
        """
        others = [other for other in self.stems if other is not stem and not _overlap(stem, other)]
        by_class: dict[str, Stem] = {}
        for other in _each_part_once(others):
            count = sum(known.stem_class == other.stem_class for known in by_class.values()) + 1
            by_class[other.stem_class if count == 1 else f"{other.stem_class}-{count}"] = other
        return by_class

    def cover(self) -> tuple[Stem, ...]:
        """Return the stems that hold each part of the song once: those that can sum to the mixture.

        A sum and its own parts are told apart as in :meth:`siblings`.
        """
        return tuple(_each_part_once(self.stems))

    def close(self) -> None:
        """Close all files."""
        for stem in (*self.stems, *([self.mixture] if self.mixture else [])):
            stem.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def _each_part_once(stems: Sequence[Stem]) -> list[Stem]:
    """Leave out sums whose parts are there, else those parts."""
    kept = [stem for stem in stems if not any(_overlap(stem, one) for one in stems if one is not stem and _lacks(stem))]
    kept = kept or list(stems)
    classes = {stem.stem_class for stem in kept}
    for total, parts in _PARTS.items():
        if total in classes:
            drop = {total} if _COVER[total] <= classes else parts
            kept = [stem for stem in kept if stem.stem_class not in drop]
            classes -= drop
    return kept


def _overlap(stem: Stem, other: Stem) -> bool:
    """Whether one of the two holds the other, or all of it but what it lacks."""
    return any(
        part.stem_class in _PARTS.get(whole.stem_class, ()) or _lacks(whole) not in (None, part.stem_class)
        for whole, part in ((stem, other), (other, stem))
    )


def _lacks(stem: Stem) -> str | None:
    return lacking_class(stem.name) if stem.stem_class == "generic" else None


def _require_match(first: Stem, other: Stem) -> None:
    if first.format.sample_rate != other.format.sample_rate:
        expected, got = f"{first.format.sample_rate} Hz", f"{other.format.sample_rate} Hz"
        fix = "resample one of them"
    elif first.format.samples != other.format.samples:
        expected, got = f"{first.format.samples} samples", f"{other.format.samples} samples"
        fix = "--align brings them to one length and shifts those that are late; or run them one by one"
    else:
        return
    raise StemSetError(f"{expected} as in '{first.path or first.name}'", f"{got} in '{other.path or other.name}'", fix)


def _aligned(stems: Sequence[Stem], mixture: Stem | None) -> list[Stem]:
    """Move stems that are late or early, and give all the length of the mixture or of the first stem."""
    first = mixture or stems[0]
    for stem in stems:
        if stem.format.sample_rate != first.format.sample_rate:
            _require_match(first, stem)
    length = first.format.samples
    moves = [(found.stem, found.samples) for found in find_offsets(stems, mixture)]
    return [stem.moved(offset, length) if offset or stem.format.samples != length else stem for stem, offset in moves]


def members(files: Sequence[Path], mixture: Path | str | None = None) -> tuple[list[Path], Path | str | None]:
    """Tell stems and mixture among the files of a set by their names; none is opened.

    Raises
    ------
    StemSetError
        If there are several mixtures or songs, or no stems.
    """
    named = _mixtures(files)
    stems = [path for path in files if path not in named and not _is_same(path, mixture)]
    if mixture is None and len(named) > 1:
        raise StemSetError("one mixture", " and ".join(f"'{path}'" for path in named), "name it with --mixture")
    _require_one_song(stems)
    if not stems:
        raise StemSetError("at least one stem", "only a mixture", "hand in stems, not the song they come from")
    return stems, mixture if mixture is not None else next(iter(named), None)


def _mixtures(files: Sequence[Path]) -> list[Path]:
    if len(files) < 2:
        return []
    titled = titled_mixture(files)
    return [path for path in files if is_mixture_name(path)] or ([titled] if titled else [])


def _require_one_song(stems: Sequence[Path]) -> None:
    """Refuse a folder in which several songs lie side by side: one would count as bleed into the other.

    What stands before a stem in brackets is a separator's name for the song. Without brackets it may as well say which
    vocals they are; it is a song's when others have just the same two stems or more.
    """
    titles = {title for title in song_titles(stems).values() if title}
    if len(titles) < 2:
        classes = defaultdict(set)
        for stem in stems:
            classes[leading_words(stem)].add(guess_stem_class(stem.name))
        alike = Counter(frozenset(found) for words, found in classes.items() if words and len(found) > 1)
        titles = {words for words, found in classes.items() if words and alike[frozenset(found)] > 1}
    if len(titles) > 1:
        songs = " and ".join(f"'{title}'" for title in sorted(titles)[:3])
        raise StemSetError("the stems of one song", f"{len(titles)} songs ({songs})", "give each song a folder")


def _is_same(path: Path, mixture: Path | str | None) -> bool:
    return mixture is not None and path.resolve() == Path(mixture).resolve()
