"""Stem classes and how separators name their files.

====================  ==========================================
Demucs                ``song/vocals.wav``, ``song/no_vocals.wav``
Spleeter              ``song/vocals.wav``, ``song/accompaniment.wav``
UVR                   ``1_song_(Instrumental).wav``
audio-separator       ``song_(Vocals)_htdemucs.flac``
MVSEP, lalal.ai       ``song_vocals.wav``, ``song_vocals_split_by_lalalai.mp3``
====================  ==========================================
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path

from stemprover.errors import OptionError

__all__ = [
    "STEM_CLASSES",
    "check_stem_class",
    "guess_stem_class",
    "is_mixture_name",
    "song_title",
    "titled_mixture",
]

STEM_CLASSES: tuple[str, ...] = (
    "vocals",
    "drums",
    "bass",
    "other",
    "piano",
    "guitar",
    "kick",
    "snare",
    "toms",
    "hihat",
    "cymbals",
    "instrumental",
    "generic",
)

_PHRASES: dict[str, tuple[str, ...]] = {
    "generic": ("no drums", "no bass", "no other", "no piano", "no guitar", "no instrumental", "no kick", "no snare"),
    "instrumental": (
        *("no vocals", "no vocal", "novocals", "minus vocals", "without vocals", "instrumental", "instrumentals"),
        *("instrum", "inst", "accompaniment", "karaoke", "backing track"),
    ),
    "vocals": ("vocals", "vocal", "vox", "voice", "voices", "acapella", "acappella", "a cappella"),
    "kick": ("kick", "kicks", "kick drum", "bass drum", "bassdrum", "kickdrum"),
    "snare": ("snare", "snares", "snare drum"),
    "toms": ("toms", "tom toms"),
    "hihat": ("hihat", "hihats", "hi hat", "hi hats", "hh", "hats"),
    "cymbals": ("cymbals", "cymbal"),
    "drums": ("drums", "drum", "drum kit", "drumkit", "percussion", "perc"),
    "bass": ("bass", "bassline", "bass guitar"),
    "piano": ("piano", "electric piano", "grand piano"),
    "guitar": ("guitar", "guitars", "gtr", "acoustic guitar", "electric guitar"),
    "other": ("other", "others"),
}
_CLASS_OF = {phrase: stem_class for stem_class, phrases in _PHRASES.items() for phrase in phrases}
_PATTERN = re.compile(r"\b(?:" + "|".join(sorted(_CLASS_OF, key=len, reverse=True)) + r")\b")
_MIXTURE_NAMES = frozenset({"mix", "mixture", "original", "full mix", "original mix", "mixdown"})


def check_stem_class(name: str) -> str:
    """Return ``name`` in lower case if it is a stem class, else raise ``OptionError`` listing them all."""
    folded = name.strip().lower()
    if folded not in STEM_CLASSES:
        raise OptionError(f"a stem class ({', '.join(STEM_CLASSES)})", f"'{name}'", "choose one of these for --stem")
    return folded


def _words(text: str) -> str:
    """Lower-case words separated by single spaces; CamelCase is split, digits are dropped."""
    text = re.sub(r"(?<=[a-z])(?=[A-Z])", " ", text)
    return " ".join(re.findall(r"[^\W\d_]+", text.lower()))


def _class_in(text: str) -> str | None:
    """Stem class of the last phrase in ``text`` that names one: titles come first, stem names last."""
    found = _PATTERN.findall(_words(text))
    return _CLASS_OF[found[-1]] if found else None


def guess_stem_class(path: Path | str) -> str:
    """Guess the stem class from a file name.

    A class in brackets wins (what follows the brackets is the model's name), then the last word that names a class,
    then the folder's whole name (``vocals/song.wav``); else ``generic``.
    """
    path = Path(path)
    brackets = re.findall(r"[(\[]([^)\]]*)[)\]]", path.stem)
    for text in (*reversed(brackets), path.stem):
        if found := _class_in(text):
            return found
    return _CLASS_OF.get(_words(path.parent.name), "generic")


def is_mixture_name(path: Path | str) -> bool:
    """Whether a file name says that it holds the whole mixture (``mix.wav``, ``song_mixture.flac``)."""
    path = Path(path)
    words = _words(path.stem)
    brackets = {_words(text) for text in re.findall(r"[(\[]([^)\]]*)[)\]]", path.stem)}
    return words in _MIXTURE_NAMES or words.endswith(" mixture") or bool(brackets & {"mix", "mixture", "original"})


def song_title(path: Path | str) -> str:
    """Title of the song in names of the form ``1_Title_(Vocals)_model.flac``, in lower case; empty for other names."""
    name = re.sub(r"^\d+_(?=.*[(\[])", "", Path(path).stem)
    brackets = [found for found in re.finditer(r"[(\[]([^)\]]*)[)\]]", name) if _class_in(found[1])]
    return name[: brackets[-1].start()].rstrip(" _-.").casefold() if brackets else ""


def titled_mixture(paths: Sequence[Path]) -> Path | None:
    """Return the song itself among the stems that are named after it (``song.wav`` beside ``song_(Vocals).wav``).

    All other names must begin with its name; without brackets in them, its own name must not be a stem's.
    """
    for path in paths:
        title, others = path.stem.casefold(), [other for other in paths if other != path]
        if others and all(song_title(other) == title for other in others):
            return path
        named_after = all(re.match(re.escape(title) + r"[\W_]", other.stem.casefold()) for other in others)
        if others and named_after and not _class_in(path.stem) and any(_class_in(other.stem) for other in others):
            return path
    return None
