"""What the user named: files, folders, patterns, URLs and manifests become sources, in order, each once."""

from __future__ import annotations

import contextlib
import csv
import dataclasses
import io
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

from stemprover.batch import places
from stemprover.batch.jobs import Failure, Source
from stemprover.errors import AudioError, OptionError, StemProverError, StemSetError
from stemprover.stems import is_audio_name, songs_by_title

__all__ = ["COLUMNS", "find_sources", "read_manifest"]

COLUMNS = ("input", "output", "mixture", "stem", "title")
"""Columns of a manifest that are used; any others are ignored."""


def find_sources(
    inputs: Sequence[str], manifest: str | None = None, skip_suffix: str = ""
) -> tuple[list[Source], list[Failure]]:
    """Look up every input; nothing is opened.

    A folder with audio in it is one stem set, or one for each song if their titles are in the names of all files
    (``title_(Vocals)_model.wav``); otherwise its sub-folders are looked through. Patterns are resolved here
    when the shell did not: ``'songs/**/*.flac'``.

    Parameters
    ----------
    inputs : sequence of str
        Files, folders, patterns; paths or URLs.
    manifest : str, optional
        A CSV file, see :func:`read_manifest`.
    skip_suffix : str
        Files whose names end so are earlier results.

    Returns
    -------
    list of Source
        Without repetition.
    list of Failure
        Inputs at which nothing was found.

    Raises
    ------
    OptionError
        If the manifest is none.
    """
    named = [Source(places.normalised(place)) for place in inputs]
    found: dict[Source, None] = {}
    failures: list[Failure] = []
    for source in [*named, *(read_manifest(manifest) if manifest is not None else ())]:
        try:
            found |= dict.fromkeys(_expand(source, skip_suffix))
        except StemProverError as error:
            failures.append(Failure(source, error))
    return list(found), failures


def _expand(source: Source, skip_suffix: str) -> Iterable[Source]:
    place = source.place
    if source.title:
        return (source,)
    if source.output is not None or source.mixture is not None or source.stem is not None:
        if source.mixture is not None or source.stem is not None or not places.is_folder(place):
            return (source,)  # a row that says more than where: one input as it stands
        titles = songs_by_title(_audio_names(place, skip_suffix))
        return [dataclasses.replace(source, title=title) for title in titles]
    if not places.exists(place) and any(sign in place for sign in "*?["):
        return _matches(place, skip_suffix)
    if places.is_folder(place):
        return _sets_in(place, skip_suffix)
    return (source,)


def _matches(pattern: str, skip_suffix: str) -> list[Source]:
    """Files and stem sets that match; a file in a folder that matches as well belongs to its set."""
    hits = places.matching(pattern)
    folders = {hit.rstrip("/"): None for hit in hits if places.is_folder(hit)}
    found: list[Source] = []
    for hit in hits:
        if hit.rstrip("/") in folders:
            with contextlib.suppress(StemSetError):  # no audio in it
                inside = _sets_in(hit.rstrip("/"), skip_suffix)
                found.extend(Source(one.place, title=one.title) for one in inside)
        elif is_audio_name(places.name_of(hit), skip_suffix) and places.parent_of(hit) not in folders:
            found.append(Source(hit))
    if not found:
        raise AudioError("files that match", f"none for '{pattern}'", "check the pattern, and quote it")
    return found


def _sets_in(folder: str, skip_suffix: str) -> list[Source]:
    """The folder itself if it holds audio, else the nearest folders below it that do."""
    if names := _audio_names(folder, skip_suffix):
        return _songs(folder, "", names)
    found = list(_below(folder, "", skip_suffix))
    if not found:
        fix = "check the path; a folder of stems, or folders of stems below it"
        raise StemSetError("audio files in the folder", f"none in '{folder}'", fix)
    return found


def _below(folder: str, way: str, skip_suffix: str) -> Iterator[Source]:
    for name in places.folder_names(folder):
        if name.startswith("."):
            continue
        child, path = places.join(folder, name), f"{way}/{name}".lstrip("/")
        if names := _audio_names(child, skip_suffix):
            yield from _songs(child, path, names)
        else:
            yield from _below(child, path, skip_suffix)


def _audio_names(folder: str, skip_suffix: str) -> list[Path]:
    return [Path(name) for name in places.file_names(folder) if is_audio_name(name, skip_suffix)]


def _songs(folder: str, below: str, names: Sequence[Path]) -> list[Source]:
    return [Source(folder, below, title=title) for title in songs_by_title(names)]


def read_manifest(place: str) -> Iterator[Source]:
    """Read a CSV file with a column ``input`` and, if wanted, ``output``, ``mixture``, ``stem`` and ``title``.

    Paths are relative to the folder of the manifest. A ``failures.csv`` is a manifest.

    Raises
    ------
    OptionError
        If it cannot be read, has no such column, no rows or a row without input.
    """
    content = places.read(places.normalised(place))
    if content is None:
        raise OptionError("a CSV file", f"nothing at '{place}'", "check the path")
    try:
        rows = csv.DictReader(io.StringIO(content.decode("utf-8-sig"), newline=""))
        if "input" not in (rows.fieldnames or ()):
            got = ", ".join(rows.fieldnames or ()) or "nothing"
            raise OptionError("a column 'input' in the first line", got, f"write {','.join(COLUMNS)}")
        row = None
        for row in rows:
            yield _source(row, place, rows.line_num)
        if row is None:
            fix = "add a row for each, for example 'song/vocals.wav,clean/vocals.wav' below a first line 'input,output'"
            raise OptionError(f"inputs in the manifest '{place}'", "no row below its first line", fix)
    except (UnicodeDecodeError, csv.Error) as error:
        raise OptionError(f"a CSV file in UTF-8 at '{place}'", str(error), "export it again") from error


def _source(row: dict[str, str | None], manifest: str, line: int) -> Source:
    folder = places.parent_of(places.normalised(manifest))
    given = {name: (row.get(name) or "").strip() for name in COLUMNS}
    if not given["input"]:
        raise OptionError("an input in every row", f"none in line {line} of '{manifest}'", "remove or fill it")

    def placed(path: str) -> str | None:
        path = places.normalised(path)
        if not path or places.is_remote(path) or path.startswith("{") or Path(path).is_absolute():
            return path or None
        joined = places.join(folder, path)
        return joined + "/" if path.endswith("/") else joined

    return Source(
        placed(given["input"]) or "",
        output=placed(given["output"]),
        mixture=placed(given["mixture"]),
        stem=given["stem"] or None,
        title=given["title"].casefold(),
    )
