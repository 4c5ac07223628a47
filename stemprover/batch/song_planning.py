"""Which songs there are, and where the stems of each go; settled by names alone before any work starts.

Songs are found as ``enhance`` finds folders of stems: a folder without songs stands for the nearest folders below it
that have some, and their places below it are kept.
"""

from __future__ import annotations

import dataclasses
import os
import re
from collections.abc import Mapping, Sequence, Set
from pathlib import Path

from stemprover.batch import places
from stemprover.batch.beside import unread_in
from stemprover.batch.inputs import find_sources
from stemprover.batch.jobs import Failure, Source, Target
from stemprover.batch.naming import DEFAULT_SUFFIX, SEPARATED
from stemprover.batch.songs import SongJob
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
    folders : tuple of str
        Folders of which the songs right in them were taken.
    """

    places: Mapping[Path, str]
    failures: tuple[Failure, ...] = ()
    folders: tuple[str, ...] = ()


def find_songs(named: Sequence[str], results: Path) -> FoundSongs:
    """Look up files, folders, and patterns that the shell left alone.

    Parameters
    ----------
    named : sequence of str
        What earlier runs wrote is left out of folders below these, and of what patterns find: the stems of one run are
        not the songs of the next.
    results : Path
        Folder for the results; it is looked through only where it, or something in it, is named.
    """
    found: dict[Path, str] = {}
    seen: dict[str, Path] = {}
    failures: list[Failure] = []
    folders: dict[str, None] = {}
    for place in map(places.normalised, named):
        try:
            songs, looked_at = _songs(place, results)
        except StemProverError as error:
            failures.append(Failure(Source(place), error))
            continue
        folders |= dict.fromkeys(looked_at)
        for song, below in songs.items():
            first = seen.setdefault(os.path.abspath(song), song)  # noqa: PTH100  (as named: links stay apart)
            found[first] = found.get(first) or below
    return FoundSongs(_told_apart(found), tuple(failures), tuple(folders))


def _songs(place: str, results: Path) -> tuple[dict[Path, str], list[str]]:
    """Songs with their folders below the place, and the folders in which they were looked for."""
    if places.is_remote(place):
        raise AudioError("songs on this machine", f"'{place}'", "fetch them first; enhance reads URLs")
    if places.is_folder(place):
        folders = _folders(place)
        songs = {
            song: below
            for folder, below in folders.items()
            for song in _right_in(folder)
            if not below or _is_new(song, Path(place), results)
        }
    elif not places.exists(place) and any(sign in place for sign in "*?["):
        hits = places.matching(place)
        folders = dict.fromkeys((folder for hit in hits for folder in _folders(hit)), "")
        inside = [*map(Path, filter(_is_song, hits)), *(song for folder in folders for song in _right_in(folder))]
        fixed = Path(re.split(r"[*?\[]", place)[0] + "x").parent
        songs = {song: "" for song in inside if _is_new(song, fixed, results)}
    else:
        return {Path(place): ""}, []
    if not songs:
        looked_at = folders or ([place] if places.is_folder(place) else [])
        unread = next((name for folder in looked_at for name in unread_in(folder)), None)
        if unread is not None:
            raise AudioError("songs in WAV, FLAC, AIFF, OGG or MP3", f"'{unread}' in '{place}'", "convert it")
        raise AudioError("songs", f"none in '{place}'", "check the path")
    taken = {str(song.parent) for song in songs}
    return songs, [folder for folder in folders if str(Path(folder)) in taken]


def _folders(place: str) -> dict[str, str]:
    """Folders that hold songs, with their paths below the one that was named; none if that is none."""
    if not places.is_folder(place):
        return {}
    sources, failures = find_sources([place], skip_suffix=DEFAULT_SUFFIX)
    for failure in failures:
        if isinstance(failure.error, AudioError):  # cannot be looked through; that nothing is in it is told later
            raise failure.error
    return {one.place: one.below for one in sources}


def _right_in(folder: str) -> list[Path]:
    return [Path(places.join(folder, name)) for name in places.file_names(folder) if _is_song(name)]


def _is_song(place: str) -> bool:
    return is_audio_name(places.name_of(place), DEFAULT_SUFFIX)


def _is_new(song: Path, named: Path, results: Path) -> bool:
    """Whether a song that was found below a named folder is no result, of this run's folder or of an earlier run."""
    song, named, results = (Path(os.path.abspath(path)) for path in (song, named, results))  # noqa: PTH100
    is_result = song.is_relative_to(results) and not named.is_relative_to(results)
    return not is_result and read_state(Target(str(song), {})) is None


def _told_apart(found: Mapping[Path, str]) -> dict[Path, str]:
    """Keep the folders of all songs below the one that they have in common if two would get the same place.

    Names that differ in capitals only are one on many disks.
    """
    wanted = {(below.casefold(), song.stem.casefold()) for song, below in found.items()}
    if len(wanted) == len(found):
        return dict(found)
    parents = {song: os.path.abspath(song.parent) for song in found}  # noqa: PTH100
    try:
        common = os.path.commonpath(parents.values())
    except ValueError as error:
        raise OptionError(
            "songs with different names", "equal ones on several drives", "run each drive alone"
        ) from error
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

    A song of whose files one is there already, is a song of this run or would be another song's too fails; the others
    are done.

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
    """
    jobs: list[SongJob] = []
    failures: list[Failure] = []
    inputs = {song.resolve() for song in songs}
    taken: dict[Path, Path] = {}
    for song, below in songs.items():
        job = _planned(song, separator, folder / below, clean, reports)
        try:
            _check_files(job, inputs, taken, replaceable)
        except StemProverError as error:
            failures.append(Failure(Source(str(song)), error))
        else:
            jobs.append(job)
            taken |= dict.fromkeys(job.files, song)
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


def _check_files(job: SongJob, inputs: Set[Path], taken: Mapping[Path, Path], replaceable: bool) -> None:
    for path in job.files:
        if path in taken:
            got = f"'{path}' for both '{taken[path]}' and '{job.song}'"
            raise OptionError("a different output for every song", got, "rename one, or run it with another -o")
        if path.resolve() in inputs:
            raise OutputError("an output that is not an input", f"'{path}'", "choose another -o")
        if path.is_dir() or (path.exists() and not replaceable):
            raise OutputError("a new file", f"'{path}', which exists", "use --overwrite, --resume or another -o")
