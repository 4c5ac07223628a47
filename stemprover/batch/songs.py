"""Songs to stems, and songs to clean stems."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from pathlib import Path

import torch

from stemprover.batch.jobs import Failure, Source, Target
from stemprover.enhance import Enhanced, Enhancer, Settings
from stemprover.errors import OptionError, OutputError, StemProverError
from stemprover.progress import Progress
from stemprover.separation.base import Separator
from stemprover.separation.songs import separate_song, stem_paths
from stemprover.stems import StemSet

__all__ = ["SEPARATED", "SongJob", "clean_song", "plan_songs"]

SEPARATED = "separated"
"""Folder beside clean stems that holds them as the separator made them."""


@dataclasses.dataclass(frozen=True, slots=True)
class SongJob:
    """One song, and where its stems go.

    Attributes
    ----------
    song : Path
    separated : Mapping[str, Path]
        A file per stem, as the separator makes it.
    targets : Mapping[str, Target]
        The clean stems with their reports; empty when the song is only separated.
    """

    song: Path
    separated: Mapping[str, Path]
    targets: Mapping[str, Target]

    @property
    def files(self) -> tuple[Path, ...]:
        """All files of this song."""
        return (*self.separated.values(), *(Path(file) for target in self.targets.values() for file in target.files))


def plan_songs(
    songs: Sequence[Path],
    separator: Separator,
    folder: Path,
    *,
    clean: bool = False,
    reports: Sequence[str] = (),
    overwrite: bool = False,
) -> tuple[tuple[SongJob, ...], tuple[Failure, ...]]:
    """Settle all outputs before any work starts: ``FOLDER/SONG/STEM.wav``.

    A song that is called like one before it, or of whose files one is there already, fails; the others are done.

    Parameters
    ----------
    songs : sequence of Path
    separator : Separator
        Says which stems there will be.
    folder : Path
        Gets a folder per song.
    clean : bool
        Whether stems are repaired, too; what the separator made then goes to ``FOLDER/SONG/separated/``.
    reports : sequence of str
        ``json`` and ``html`` reports of clean stems.
    overwrite : bool
        Whether files may be replaced.

    Returns
    -------
    tuple of (tuple of SongJob, tuple of Failure)
    """
    jobs: dict[str, SongJob] = {}
    failures: list[Failure] = []
    for song in songs:
        try:
            if song.stem in jobs:
                got = f"'{jobs[song.stem].song}' and '{song}'"
                raise OptionError("songs with different names", got, "run them with a different -o each")
            jobs[song.stem] = _planned(song, separator, folder, clean, reports, overwrite)
        except StemProverError as error:
            failures.append(Failure(Source(str(song)), error))
    return tuple(jobs.values()), tuple(failures)


def _planned(
    song: Path, separator: Separator, folder: Path, clean: bool, reports: Sequence[str], overwrite: bool
) -> SongJob:
    paths = stem_paths(song, separator, folder)
    targets: dict[str, Target] = {}
    if clean:
        targets = {
            stem: Target(str(path), {kind: str(path.with_suffix(f".report.{kind}")) for kind in reports})
            for stem, path in paths.items()
        }
        paths = {stem: path.parent / SEPARATED / path.name for stem, path in paths.items()}
    job = SongJob(song, paths, targets)
    for path in job.files:
        if path.exists() and not overwrite:
            raise OutputError("a new file", f"'{path}', which exists", "use --overwrite or another -o")
    return job


def clean_song(
    job: SongJob,
    separator: Separator,
    enhancer: Enhancer,
    settings: Settings,
    *,
    device: torch.device,
    overwrite: bool = False,
    progress: Progress | None = None,
) -> tuple[StemSet, tuple[Enhanced, ...]]:
    """Separate a song and repair its stems together, each seeing the others and the song.

    Returns
    -------
    tuple of (StemSet, tuple of Enhanced)
        The separated stems, still open for reports, and what became of each; close the set when done.
    """
    separate_song(job.song, separator, job.separated, device=device, overwrite=overwrite, progress=progress)
    stems = StemSet.open(list(job.separated.values()), mixture=job.song)
    try:
        outputs = [Path(target.audio) for target in job.targets.values()]
        return stems, enhancer.enhance_set(stems, settings, outputs=outputs, overwrite=overwrite, progress=progress)
    except BaseException:
        stems.close()
        raise
