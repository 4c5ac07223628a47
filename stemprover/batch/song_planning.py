"""Which songs there are, and where the stems of each go; settled by names alone before any work starts.

Songs are found as ``enhance`` finds folders of stems: a folder without songs stands for the nearest folders below it
that have some, and their places below it are kept.
"""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Iterable, Mapping, Sequence, Set
from pathlib import Path

from stemprover.batch import places
from stemprover.batch.inputs import find_sources, folders_with_audio
from stemprover.batch.jobs import Failure, Source, Target
from stemprover.batch.songs import SEPARATED, SongJob
from stemprover.batch.state import read_state
from stemprover.errors import AudioError, OptionError, OutputError, StemProverError
from stemprover.separation.base import Separator
from stemprover.separation.songs import stem_paths
from stemprover.stems import is_audio_name

__all__ = ["FoundSongs", "find_songs", "plan_songs"]


@dataclasses.dataclass(frozen=True, slots=True)
class FoundSongs:
    """What was named.

    Attributes
    ----------
    places : Mapping[Path, str]
        Every song once, in order, with the folders that its own lies in below the results: the path below the folder
        that was named, or below the one that all have in common where names would not tell songs apart.
    failures : tuple of Failure
        Where there are none.
    passed_by : Mapping[str, tuple of str]
        Folders with songs, and those right in them that hold audio too: they are not looked through.
    """

    places: Mapping[Path, str]
    failures: tuple[Failure, ...] = ()
    passed_by: Mapping[str, tuple[str, ...]] = dataclasses.field(default_factory=dict)


def find_songs(named: Sequence[str], results: Path) -> FoundSongs:
    """Look up files, folders, and patterns that the shell left alone.

    Parameters
    ----------
    named : sequence of str
        What earlier runs wrote is left out of folders below these: the stems of one run are not the songs of the next.
    results : Path
        Folder for the results, which nobody expects to be looked through.
    """
    found: dict[Path, str] = {}
    seen: set[str] = set()
    failures: list[Failure] = []
    passed_by: dict[str, tuple[str, ...]] = {}
    for place in map(places.normalised, named):
        try:
            folders = _folders(place)
            songs = _songs(place, folders)
        except StemProverError as error:
            failures.append(Failure(Source(place), error))
            continue
        passed_by |= {folder: beside for folder in folders if (beside := _beside(folder, results))}
        for song, below in songs.items():
            if (absolute := os.path.abspath(song)) not in seen:  # noqa: PTH100  (as named: links stay apart)
                seen.add(absolute)
                found[song] = below
    return FoundSongs(_told_apart(found), tuple(failures), passed_by)


def _folders(place: str) -> dict[str, str]:
    """Folders that hold songs, with their paths below the one that was named; none if that is none."""
    if places.is_remote(place):
        raise AudioError("songs on this machine", f"'{place}'", "fetch them first; enhance reads URLs")
    if not places.is_folder(place):
        return {}
    sources, failures = find_sources([place])
    for failure in failures:
        if isinstance(failure.error, AudioError):  # cannot be looked through; that nothing is in it is told below
            raise failure.error
    return {one.place: one.below for one in sources}


def _songs(place: str, folders: Mapping[str, str]) -> dict[Path, str]:
    if places.is_folder(place):
        inside = {
            places.join(folder, name): way for folder, way in folders.items() for name in places.file_names(folder)
        }
    elif not places.exists(place) and any(sign in place for sign in "*?["):
        inside = dict.fromkeys(places.matching(place), "")
    else:
        return {Path(place): ""}
    songs = {Path(song): below for song, below in inside.items() if _is_song(song, below)}
    if not songs:
        raise AudioError("songs", f"none in '{place}'", "check the path")
    return songs


def _is_song(place: str, below: str) -> bool:
    return is_audio_name(places.name_of(place)) and not (below and read_state(Target(place, {})) is not None)


def _beside(folder: str, results: Path) -> tuple[str, ...]:
    """Folders beside the songs of one that hold audio too, those with the results apart."""
    where = results.resolve()
    if Path(folder).resolve() == where:  # each may be a song's
        return ()
    return tuple(name for name in folders_with_audio(folder) if not Path(folder, name).resolve().is_relative_to(where))


def _told_apart(found: Mapping[Path, str]) -> dict[Path, str]:
    """Keep the folders of all songs below the one that they have in common if two would get the same place."""
    wanted = {(below, song.stem) for song, below in found.items()}
    if len(wanted) == len(found):
        return dict(found)
    parents = {song: os.path.abspath(song.parent) for song in found}  # noqa: PTH100
    common = os.path.commonpath(parents.values())
    ways = {song: Path(os.path.relpath(parent, common)).as_posix() for song, parent in parents.items()}
    return {song: "" if way == "." else way for song, way in ways.items()}


def plan_songs(
    songs: Mapping[Path, str],
    separator: Separator,
    folder: Path,
    *,
    clean: bool = False,
    reports: Sequence[str] = (),
    replaceable: bool = False,
) -> tuple[tuple[SongJob, ...], tuple[Failure, ...]]:
    """Settle all outputs before any work starts: ``FOLDER/BELOW/SONG/STEM.wav``.

    A song of whose files one is there already or is a song of this run fails; the others are done.

    Parameters
    ----------
    songs : Mapping[Path, str]
        With their places below ``folder``, see :class:`FoundSongs`.
    separator : Separator
        Says which stems there will be.
    folder : Path
        Gets a folder per song.
    clean : bool
        Whether stems are repaired, too; what the separator made then goes to ``FOLDER/BELOW/SONG/separated/``.
    reports : sequence of str
        ``json`` and ``html`` reports of clean stems.
    replaceable : bool
        Files that are there may be replaced, or it is settled song by song whether they may.

    Returns
    -------
    tuple of (tuple of SongJob, tuple of Failure)

    Raises
    ------
    OptionError
        Two songs would be written to one place.
    """
    planned = [_planned(song, separator, folder / below, clean, reports) for song, below in songs.items()]
    _check_places(planned)
    jobs: list[SongJob] = []
    failures: list[Failure] = []
    inputs = {song.resolve() for song in songs}
    for job in planned:
        try:
            _check_files(job, inputs, replaceable)
            jobs.append(job)
        except StemProverError as error:
            failures.append(Failure(Source(str(job.song)), error))
    return tuple(jobs), tuple(failures)


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


def _check_places(jobs: Iterable[SongJob]) -> None:
    taken: dict[Path, Path] = {}
    for job in jobs:
        for path in job.files:
            other = taken.setdefault(path, job.song)
            if other != job.song:
                got = f"'{path}' for both '{other}' and '{job.song}'"
                raise OptionError("a different output for every song", got, "rename one, or run it with another -o")


def _check_files(job: SongJob, inputs: Set[Path], replaceable: bool) -> None:
    for path in job.files:
        if path.resolve() in inputs:
            raise OutputError("an output that is not an input", f"'{path}'", "choose another -o")
        if path.is_dir() or (path.exists() and not replaceable):
            raise OutputError("a new file", f"'{path}', which exists", "use --overwrite, --resume or another -o")
