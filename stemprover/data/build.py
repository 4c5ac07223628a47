"""Building a pairs folder: in parallel, resumable."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np

from stemprover.data.degrade import Recipe, make_pair
from stemprover.data.installed import find_installed
from stemprover.data.library import Library, open_libraries
from stemprover.data.neural import Source
from stemprover.data.pairs import MANIFEST, read_manifest, write_pair
from stemprover.data.workers import in_processes
from stemprover.separation.trained import find_separators

__all__ = ["Built", "build_pairs"]

CACHE = "cache"
_SPLITS = {"train": 0, "validation": 1}


@dataclasses.dataclass(frozen=True, slots=True)
class Built:
    """How many pairs were written now and how many were there before."""

    written: int
    kept: int


def build_pairs(
    data: Sequence[Path],
    out: Path,
    count: int,
    split: str = "train",
    seed: int = 0,
    jobs: int = 1,
    recipe: Recipe | None = None,
    progress: Callable[[int], None] | None = None,
    separators: Path | None = None,
    installed: Sequence[str] = (),
) -> Built:
    """Write pairs ``0 .. count - 1`` of a split; those already in the manifest are kept.

    Parameters
    ----------
    data : sequence of Path
        Data folders, see :mod:`stemprover.data.library`; their material is put together.
    out, count : Path, int
        Pairs folder (recordings are cached in ``out/cache``) and the number of pairs that the split shall have.
    split : str
        ``train`` or ``validation``; the two never share a stretch of a recording.
    seed : int
        A pair depends on seed, split, recipe, separators and its index only, not on ``jobs`` or on what was there.
    jobs, recipe : int, Recipe
        Parallel processes, and what kinds of pairs in which shares.
    progress : callable, optional
        Called with 1 after each written pair.
    separators : Path, optional
        Folder of runs of ``stemprover train separator``, for the kind ``neural``.
    installed : sequence of str
        Names of installed separators, for the same kind. What plugins trained on is not known: music that they may have
        heard is no material for them.

    Raises
    ------
    OptionError, PluginError
        If no separator of a name is installed, or one cannot be used.
    TrainingError
        If the data folder or the existing manifest cannot be used, or all separators trained on everything.
    ModelError
        If there are no separators where they should be.
    """
    sources: tuple[Source, ...] = (
        *(find_separators(separators) if separators else ()),
        *(find_installed(name) for name in installed),
    )
    job = _Job(tuple(data), out, split, seed, recipe or Recipe(), sources)
    _library.cache_clear()  # the folders may have changed since
    job.library()  # before others open it: it fills the cache, and says what is wrong even if no pair is missing
    missing = _missing(out, count, split)
    for _ in in_processes(functools.partial(_write, job), missing, jobs):
        if progress is not None:
            progress(1)
    return Built(len(missing), count - len(missing))


def _missing(out: Path, count: int, split: str) -> list[int]:
    present = {pair.id for pair in read_manifest(out, split)} if (out / MANIFEST).is_file() else set()
    return [index for index in range(count) if f"{split}-{index:06d}" not in present]


@dataclasses.dataclass(frozen=True, slots=True)
class _Job:
    """What a worker process needs to know."""

    data: tuple[Path, ...]
    out: Path
    split: str
    seed: int
    recipe: Recipe
    separators: tuple[Source, ...]

    def library(self) -> Library:
        return _library(self.data, self.out / CACHE, self.split)


@functools.lru_cache(maxsize=1)
def _library(data: tuple[Path, ...], cache: Path, split: str) -> Library:
    return open_libraries(data, cache, split)


def _write(job: _Job, indices: Sequence[int]) -> list[int]:
    library = job.library()
    for index in indices:
        rng = np.random.default_rng([job.seed, _SPLITS[job.split], index])
        audio, description = make_pair(library, rng, job.recipe, job.separators)
        write_pair(job.out, index, audio, {**description, "split": job.split})
    return list(indices)
