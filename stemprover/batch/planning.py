"""Which input becomes which output, settled by names alone before any work starts."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Sequence
from pathlib import Path

from stemprover.batch import places
from stemprover.batch.beside import unread_in
from stemprover.batch.inputs import find_sources
from stemprover.batch.jobs import Failure, Job, Source
from stemprover.batch.naming import DEFAULT_SUFFIX, Naming
from stemprover.errors import AudioError, OptionError, OutputError, StemSetError
from stemprover.stems import check_output_name, is_audio_name, members, songs_by_title

__all__ = ["Plan", "Selection", "plan_jobs"]


@dataclasses.dataclass(frozen=True, slots=True)
class Selection:
    """The options that say what is read and where the results go; None is the default of each.

    Attributes
    ----------
    mixture, stem : str or None
        For all inputs of which a manifest does not say otherwise.
    output, suffix : str or None
        See :class:`~stemprover.batch.naming.Naming`.
    report : str
        ``none``, ``json`` or ``html``.
    manifest : str or None
        CSV file with further inputs.
    plot : str or None
        Where ``detect`` draws.
    """

    mixture: str | None = None
    stem: str | None = None
    output: str | None = None
    suffix: str | None = None
    report: str = "none"
    manifest: str | None = None
    plot: str | None = None


@dataclasses.dataclass(frozen=True, slots=True)
class Plan:
    """Jobs, and inputs that cannot become one; ``is_batch`` unless a single file or folder was named."""

    jobs: tuple[Job, ...]
    failures: tuple[Failure, ...]
    is_batch: bool

    @property
    def places(self) -> int:
        """Number of different files and folders that were looked up; several songs in one folder are one."""
        return _places((*(job.source for job in self.jobs), *(failure.source for failure in self.failures)))


def plan_jobs(inputs: Sequence[str], selection: Selection, overwrite: bool | None, resume: bool = False) -> Plan:
    """Find every input and pair each of its stems with its output; no audio is opened.

    Parameters
    ----------
    inputs : sequence of str
        Files, folders, patterns; paths or URLs.
    selection : Selection
        What is read and where results go.
    overwrite : bool or None
        Whether files may be replaced; None when nothing will be written.
    resume : bool
        Outputs that are there may be earlier results: each worker looks for itself.

    Raises
    ------
    OptionError, OutputError
        Before any work: one output for several stems, or one that is an input, is there already or is no WAV or FLAC;
        a manifest that is none or has no rows.
    """
    skip = selection.suffix or DEFAULT_SUFFIX
    sources, failures = find_sources(inputs, selection.manifest, skip)
    count = len(sources) + len(failures)
    given = _places((*sources, *(failure.source for failure in failures)))
    naming = Naming(selection.output, selection.suffix, selection.report, selection.plot, given)
    jobs: list[Job] = []
    for source in sources:
        try:
            jobs.append(_job(source, selection, naming, skip))
        except (AudioError, StemSetError) as error:
            failures.append(Failure(source, error))
    if overwrite is not None:
        _check_outputs(jobs, replaceable=overwrite or resume)
    return Plan(tuple(jobs), tuple(failures), selection.manifest is not None or count > 1)


def _places(sources: Iterable[Source]) -> int:
    return len({source.place for source in sources})


def _job(source: Source, selection: Selection, naming: Naming, skip_suffix: str) -> Job:
    mixture = selection.mixture if source.mixture is None else source.mixture
    stem_class = selection.stem if source.stem is None else source.stem
    is_set = places.is_folder(source.place)
    stems, mixture = _members(source, mixture, skip_suffix) if is_set else ([source.place], mixture)
    if stem_class is not None and len(stems) > 1:
        raise StemSetError("one stem for --stem", f"{len(stems)} stems", "leave --stem out; file names tell")
    targets = tuple(naming.target(source, stem, len(stems), is_set) for stem in stems)
    left_out = unread_in(source.place) if is_set else ()
    return Job(source, tuple(stems), targets, mixture, stem_class, left_out)


def _members(source: Source, mixture: str | None, skip_suffix: str) -> tuple[list[str], str | None]:
    """Stems and mixture of one song among the files of a folder."""
    folder = source.place
    names = [name for name in places.file_names(folder) if is_audio_name(name, skip_suffix)]
    if source.title:
        titled = songs_by_title(list(map(Path, names)))
        if source.title not in titled:
            got = ", ".join(f"'{title}'" for title in titled if title) or "files of one song"
            raise StemSetError(f"stems called '{source.title}' in '{folder}'", got, "correct the column 'title'")
        names = [path.name for path in titled[source.title]]
    if places.is_remote(folder):
        # Names tell more with the folder's, which songs are often called like.
        named = [Path(places.name_of(folder), name) for name in names if places.join(folder, name) != mixture]
        stems, found = members(named)
        mixed = places.join(folder, Path(found).name) if found else None
        return [places.join(folder, stem.name) for stem in stems], mixture or mixed
    if not names:
        fix = "check the path; a folder of stems holds its files itself"
        raise StemSetError("audio files in the folder", f"none in '{folder}'", fix)
    local, found = members([Path(folder, name) for name in names], mixture)
    return [str(stem) for stem in local], None if found is None else str(found)


def _check_outputs(jobs: Iterable[Job], replaceable: bool) -> None:
    jobs = tuple(jobs)
    inputs = {_same(place) for job in jobs for place in job.inputs}
    taken: set[str] = set()
    for target in (target for job in jobs for target in job.targets):
        check_output_name(places.name_of(target.audio))
        for place in target.files:
            same = _same(place)
            if same in inputs:
                raise OutputError("an output that is not an input", f"'{place}'", "choose another -o or --suffix")
            if same in taken:
                fix = "use a different -o for each input, or a template with {folder} or {parent}"
                raise OptionError("a different output for every stem", f"'{place}' twice", fix)
            if not replaceable and not places.is_remote(place) and places.exists(place):
                fix = "use --overwrite, --resume or another name"
                raise OutputError("a new file", f"'{place}', which exists", fix)
            taken.add(same)


def _same(place: str) -> str:
    """One name for all names of a file."""
    return place if places.is_remote(place) else str(Path(place).resolve())
