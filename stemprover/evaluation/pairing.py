"""Which reference belongs to which estimate."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Sequence
from pathlib import Path

from stemprover.errors import StemSetError
from stemprover.stems import audio_files, guess_stem_class, is_mixture_name, titled_mixture

__all__ = ["StemPair", "pair_stems"]


@dataclasses.dataclass(frozen=True, slots=True)
class StemPair:
    """An estimate, and the references whose sum it should be.

    Attributes
    ----------
    name : str
        The estimate's file name without suffix.
    stem_class : str
        What it holds.
    estimate : Path
    references : tuple of Path
        One file; several where the estimate holds all but one stem (``no_vocals``, ``instrumental``) and no reference
        does.
    """

    name: str
    stem_class: str
    estimate: Path
    references: tuple[Path, ...]


def pair_stems(references: Path, estimates: Path, mixture: Path | None = None) -> tuple[StemPair, ...]:
    """Pair files by name, else by the stem class that their names tell.

    Parameters
    ----------
    references, estimates : Path
        Two files, or two folders; mixtures in them are left out. References without an estimate are left out, too.
    mixture : Path, optional
        The mixture, wherever it is: left out as well, whatever it is called.

    Raises
    ------
    StemSetError
        If an estimate has no reference, or several, or is called like another.
    """
    if references.is_dir() != estimates.is_dir():
        got = f"'{references}' and '{estimates}'"
        raise StemSetError("two files or two folders", got, "give both as folders, or both as files")
    if not estimates.is_dir():
        return (StemPair(estimates.stem, guess_stem_class(estimates), estimates, (references,)),)
    wanted, found = _stems(references, mixture), _stems(estimates, mixture)
    _require_names(found)
    pairs = []
    for path in found:
        stem_class = guess_stem_class(path)
        chosen = _by_name(path, wanted) or _by_class(stem_class, wanted) or _rest(path, stem_class, wanted)
        if not chosen:
            alike = [one.name for one in wanted if guess_stem_class(one) == stem_class != "generic"]
            got = " and ".join(f"'{name}'" for name in alike) or "none with that name or instrument"
            fix = "name true stems like the estimates, or after their instruments"
            raise StemSetError(f"one reference for '{path.name}' in '{references}'", got, fix)
        pairs.append(StemPair(path.stem, stem_class, path, chosen))
    return tuple(pairs)


def _stems(folder: Path, mixture: Path | None) -> list[Path]:
    files = audio_files(folder)
    songs = [*filter(is_mixture_name, files), *(path for path in (titled_mixture(files),) if path)]
    if mixture is not None:
        songs += [path for path in files if path.resolve() == mixture.resolve()]
    return [path for path in files if path not in songs]


def _require_names(estimates: Sequence[Path]) -> None:
    """Scores go by name: ``vocals.wav`` and ``vocals.flac`` would be one."""
    named: dict[str, Path] = {}
    for path in estimates:
        if (first := named.setdefault(path.stem, path)) is not path:
            got = f"'{first.name}' and '{path.name}' in '{path.parent}'"
            raise StemSetError("estimates with different names", got, "move one of them out of the folder")


def _by_name(path: Path, references: Sequence[Path]) -> tuple[Path, ...]:
    return tuple(reference for reference in references if reference.stem == path.stem)[:1]


def _by_class(stem_class: str, references: Sequence[Path]) -> tuple[Path, ...]:
    found = [one for one in references if guess_stem_class(one) == stem_class != "generic"]
    return tuple(found) if len(found) == 1 else ()


def _rest(path: Path, stem_class: str, references: Sequence[Path]) -> tuple[Path, ...]:
    """All references but the one that the estimate says it lacks; ``instrumental`` lacks the vocals."""
    words = re.findall(r"[^\W\d_]+", path.stem.lower())
    said = next((place for place, word in enumerate(words) if word in ("no", "minus", "without")), len(words))
    lacking = "vocals" if stem_class == "instrumental" else guess_stem_class(" ".join(words[said + 1 : said + 2]))
    left_out = [one for one in references if guess_stem_class(one) == lacking != "generic"]
    return tuple(one for one in references if one not in left_out) if len(left_out) == 1 else ()
