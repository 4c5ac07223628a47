"""Songs to stems, and songs to clean stems."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence, Set
from pathlib import Path

import torch

from stemprover.batch.jobs import Failure, Source, Target
from stemprover.enhance import Enhanced, Enhancer, Settings
from stemprover.errors import OptionError, OutputError, StemProverError
from stemprover.progress import Progress
from stemprover.separation.base import Separator
from stemprover.separation.songs import separate_song, stem_paths
from stemprover.stems import StemSet

__all__ = ["SEPARATED", "SongJob", "check_cleaning", "clean_song", "plan_songs"]

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

    A song that is called like one before it fails, and so does one of whose files one is there already or is a song of
    this run; the others are done.

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
    inputs = {song.resolve() for song in songs}
    for song in dict.fromkeys(songs):
        try:
            if song.stem in jobs:
                got = f"'{jobs[song.stem].song}' and '{song}'"
                raise OptionError("songs with different names", got, "run them with a different -o each")
            job = _planned(song, separator, folder, clean, reports)
            _check_files(job, inputs, overwrite)
            jobs[song.stem] = job
        except StemProverError as error:
            failures.append(Failure(Source(str(song)), error))
    return tuple(jobs.values()), tuple(failures)


def _planned(song: Path, separator: Separator, folder: Path, clean: bool, reports: Sequence[str]) -> SongJob:
    paths = stem_paths(song, separator, folder)
    targets: dict[str, Target] = {}
    if clean:
        targets = {
            stem: Target(str(path), {kind: str(path.with_suffix(f".report.{kind}")) for kind in reports})
            for stem, path in paths.items()
        }
        paths = {stem: path.parent / SEPARATED / path.name for stem, path in paths.items()}
    return SongJob(song, paths, targets)


def _check_files(job: SongJob, inputs: Set[Path], overwrite: bool) -> None:
    for path in job.files:
        if path.resolve() in inputs:
            raise OutputError("an output that is not an input", f"'{path}'", "choose another -o")
        if path.is_dir() or (path.exists() and not overwrite):
            raise OutputError("a new file", f"'{path}', which exists", "use --overwrite or another -o")


def check_cleaning(separator: Separator, enhancer: Enhancer, settings: Settings) -> None:
    """Check what repairs of separated stems need: what would fail after every separation fails here.

    Raises
    ------
    StemProverError
        Settings are bad, do not suit the separator, or networks or detectors cannot be loaded.
    """
    settings.check()
    if settings.mixture_consistent and len(separator.stems) < 2:
        got = f"{separator.name}, which makes {', '.join(separator.stems)} only"
        raise OptionError("a separator of several stems for --mixture-consistent", got, "leave it out")
    enhancer.load_detectors()
    enhancer.models.vocoder(settings.vocoder, enhancer.plugins, enhancer.runner)
    _ = enhancer.models.pipeline  # loaded when it is asked for


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
