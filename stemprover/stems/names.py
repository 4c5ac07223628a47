"""Stem classes and how separators name their files.

====================  ===============================================================================
Demucs                ``song/vocals.wav``, ``song/no_vocals.wav``, ``song/minus_vocals.wav``
Spleeter              ``song/vocals.wav``, ``song/accompaniment.wav``
UVR                   ``1_song_(Instrumental).wav``, ``1_song_(No Drums).wav``
audio-separator       ``song_(Vocals)_htdemucs.flac``, ``song_(ride)_MDX23C-DrumSep.wav``
MVSEP, lalal.ai       ``song_vocals.wav``, ``song_vocals_split_by_lalalai.mp3``
the song itself       ``mix.wav``, ``song_mixture.wav``, ``song_mix.wav``; ``song.wav`` in a folder ``song`` or beside
                      files that begin with its name
====================  ===============================================================================

A stem without a class of its own (strings, reverb, everything but the drums) is ``generic``: it is repaired like any
other, but nothing is known about what belongs into it.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from stemprover.errors import OptionError

__all__ = [
    "STEM_CLASSES",
    "check_stem_class",
    "guess_stem_class",
    "is_mixture_name",
    "lacking_class",
    "leading_words",
    "song_title",
    "song_titles",
    "songs_by_title",
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
    "instrumental": (
        *("instrumental", "instrumentals", "instrum", "instr", "inst", "accompaniment", "karaoke", "backing track"),
        "novocals",
    ),
    "vocals": ("vocals", "vocal", "vox", "voc", "vocs", "voice", "voices", "acapella", "acappella", "a cappella"),
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
# What a name says is not in there: without vocals it is the instrumental, without anything else it has no class.
_LACKING = {
    f"{without} {phrase}": stem_class
    for without in ("no", "minus", "without")
    for phrase, stem_class in _CLASS_OF.items()
}
_CLASS_OF |= {phrase: "instrumental" if lacked == "vocals" else "generic" for phrase, lacked in _LACKING.items()}
# Too common in titles to mean anything there: taken as a whole name, or in brackets.
_WHOLE = {"ride": "cymbals", "crash": "cymbals", "tom": "toms"}
# Stems without a class, in brackets: else the model's name behind them would tell (..._(Woodwinds)_HP-Wind_Inst).
_NO_CLASS = re.compile(r"(no )?(woodwinds|wind|strings|synth|reverb|echo|noise|dry|crowd|effects|dialog)")
_PATTERN = re.compile(r"\b(?:" + "|".join(sorted(_CLASS_OF, key=len, reverse=True)) + r")\b")
_MIXTURE_NAMES = frozenset({"mix", "mixture", "original", "full mix", "original mix", "mixdown"})
_MIXTURE_IN_BRACKETS = frozenset({"mix", "mixture", "original"})


def check_stem_class(name: str) -> str:
    """Return ``name`` in lower case if it is a stem class, else raise ``OptionError`` listing them all."""
    folded = name.strip().lower()
    if folded not in STEM_CLASSES:
        raise OptionError(f"a stem class ({', '.join(STEM_CLASSES)})", f"'{name}'", "choose one of these for --stem")
    return folded


def _words(text: str) -> str:
    """Lower-case words separated by single spaces; CamelCase is split, digits are dropped."""
    return " ".join(re.findall(r"[^\W\d_]+", _split(text).lower()))


def _split(text: str) -> str:
    return re.sub(r"(?<=[a-z])(?=[A-Z])", " ", text)


def _class_in(text: str) -> str | None:
    """Stem class of the last phrase in ``text`` that names one."""
    phrase = _phrase_in(text)
    return _CLASS_OF[phrase] if phrase else None


def _phrase_in(text: str) -> str:
    """The last phrase in ``text`` that names a stem: titles come first, stem names last."""
    found = _PATTERN.findall(_numbered_words(text))
    return str(found[-1]) if found else ""


def _numbered_words(text: str) -> str:
    """As :func:`_words`, but numbers stay: "Mambo No. 5 drums" is no "no drums"."""
    return " ".join(re.findall(r"[^\W\d_]+|\d+", _split(text).lower()))


def _class_in_brackets(text: str) -> str | None:
    words = _words(text)
    return "generic" if _NO_CLASS.fullmatch(words) else _WHOLE.get(words) or _class_in(text)


def guess_stem_class(path: Path | str) -> str:
    """Guess the stem class from a file name.

    A class in brackets wins (what follows the brackets is the model's name), then the last word that names a class,
    then the folder's whole name (``vocals/song.wav``); else ``generic``.
    """
    path = Path(path)
    brackets = re.findall(r"[(\[]([^)\]]*)[)\]]", path.stem)
    found = next(filter(None, map(_class_in_brackets, reversed(brackets))), None)
    if found := found or _WHOLE.get(_words(path.stem)) or _class_in(path.stem):
        return found
    return _CLASS_OF.get(_words(path.parent.name), "generic")


def lacking_class(name: str) -> str | None:
    """Class that a stem says it lacks: ``song_(No Drums)`` holds everything but the drums; None for other names."""
    brackets = re.findall(r"[(\[]([^)\]]*)[)\]]", name)
    return _LACKING.get(next(filter(None, map(_phrase_in, (*reversed(brackets), name))), ""))


def is_mixture_name(path: Path | str) -> bool:
    """Whether a file name says that it holds the whole mixture (``mix.wav``, ``song_mixture.flac``, ``song_mix.wav``).

    A mix of one stem (``drum mix.wav``) is none.
    """
    path = Path(path)
    words = _words(path.stem)
    if words.endswith(" mix") and not _class_in(path.stem):
        return True
    if words in _MIXTURE_NAMES or words.endswith(" mixture"):
        return True
    # A title may have brackets too, before the stem's: "song (Original)_(Vocals)" is no mixture.
    telling = [text for text in re.findall(r"[(\[]([^)\]]*)[)\]]", path.stem) if _tells(text)]
    return bool(telling) and _words(telling[-1]) in _MIXTURE_IN_BRACKETS


def _tells(text: str) -> bool:
    """Whether what stands in brackets says what a file holds."""
    return _words(text) in _MIXTURE_IN_BRACKETS or _class_in_brackets(text) is not None


def song_title(path: Path | str) -> str:
    """Title of the song in names of the form ``1_Title_(Vocals)_model.flac``, in lower case; empty for other names.

    A number in front is UVR's count of files, unless nothing would be left of the title (``1999_(Vocals).wav``).
    """
    return re.sub(r"^\d+_(?=.)", "", _numbered_title(path))


def _numbered_title(path: Path | str) -> str:
    name = Path(path).stem
    brackets = [found for found in re.finditer(r"[(\[]([^)\]]*)[)\]]", name) if _class_in_brackets(found[1])]
    return name[: brackets[-1].start()].rstrip(" _-.").casefold() if brackets else ""


def song_titles(paths: Sequence[Path]) -> dict[Path, str]:
    """Return :func:`song_title` of each, with the number where it tells songs apart.

    It does when the same stem is there with two numbers: ``01_untitled_(Vocals)`` beside ``02_untitled_(Vocals)``.
    """
    numbered = {path: _numbered_title(path) for path in paths}
    different = {(numbered[path], song_title(path), guess_stem_class(path.name)) for path in paths}
    count = Counter((title, stem_class) for _, title, stem_class in different)
    repeated = {title for (title, _), numbers in count.items() if numbers > 1}
    return {path: numbered[path] if song_title(path) in repeated else song_title(path) for path in paths}


def songs_by_title(paths: Sequence[Path]) -> dict[str, list[Path]]:
    """Tell apart songs whose stems lie in one folder, as UVR and audio-separator leave them.

    Returns
    -------
    dict of str to list of Path
        The files of each song by its title, the song itself (``title.wav``) included. All under the empty title when
        there are no two titles, or a file that belongs to none of them.
    """
    titled = song_titles(paths)
    titles = {title for title in titled.values() if title}
    if len(titles) < 2:
        return {"": list(paths)}
    by_title: dict[str, list[Path]] = {title: [] for title in sorted(titles)}
    for path in paths:
        title = titled[path] or path.stem.casefold()
        if title not in titles:
            return {"": list(paths)}
        by_title[title].append(path)
    return by_title


def leading_words(path: Path | str) -> str:
    """What stands before the stem in names that end with it (``song a`` of ``song_a_vocals.wav``), in lower case.

    Empty for other names. It may be a title or say more about the stem (``lead vocals``).
    """
    words, phrase = _numbered_words(Path(path).stem), _phrase_in(Path(path).stem)
    return words.removesuffix(phrase).strip() if phrase and words.endswith(phrase) else ""


def titled_mixture(paths: Sequence[Path]) -> Path | None:
    """Return the song itself among the stems that are named after it (``song.wav`` beside ``song_(Vocals).wav``).

    All other names must begin with its name; without brackets in them, its own name must not be a stem's. A file that
    is called like the folder (``song/song.wav``) is the song if all others are stems by their names.
    """
    for path in paths:
        title, others = path.stem.casefold(), [other for other in paths if other != path]
        if others and all(song_title(other) == title for other in others):
            return path
        is_named = not _class_in(path.stem) and any(_class_in(other.stem) for other in others)
        known = all(guess_stem_class(other.name) != "generic" for other in others)
        if is_named and known and title == path.parent.name.casefold():
            return path
        named_after = all(re.match(re.escape(title) + r"[\W_]", other.stem.casefold()) for other in others)
        if named_after and is_named:
            return path
    return None
