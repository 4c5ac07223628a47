"""Which input becomes which output, settled before any work starts."""

from __future__ import annotations

import dataclasses
import json
import os
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from stemprover.errors import AudioError, OptionError, OutputError, StemProverError, StemSetError

if TYPE_CHECKING:
    from stemprover.stems import StemSet

__all__ = ["DEFAULT_SUFFIX", "Failure", "Job", "Selection", "Target", "plan_jobs", "write_json"]

DEFAULT_SUFFIX = ".enhanced"
_REPORTS: dict[str, tuple[str, ...]] = {"none": (), "json": ("json",), "html": ("json", "html")}


@dataclasses.dataclass(frozen=True, slots=True)
class Target:
    """What is written for one stem: the audio, and report files by kind (``json``, ``html``)."""

    audio: Path
    reports: Mapping[str, Path]

    @property
    def files(self) -> tuple[Path, ...]:
        """All files of this stem."""
        return (self.audio, *self.reports.values())


@dataclasses.dataclass(frozen=True, slots=True)
class Job:
    """One input, a file or a folder that is a stem set, and a target for each of its stems in their order."""

    source: Path
    targets: tuple[Target, ...]


@dataclasses.dataclass(frozen=True, slots=True)
class Failure:
    """An input that cannot be used, and why."""

    source: Path
    error: StemProverError


@dataclasses.dataclass(frozen=True, slots=True)
class Selection:
    """The options that say what is read and where the results go; ``output`` and ``suffix`` are None by default."""

    mixture: str | None = None
    stem: str | None = None
    output: str | None = None
    suffix: str | None = None
    report: str = "none"
    align: bool = False

    def open(self, source: Path) -> StemSet:
        """Open one input as a stem set; a file is a set of one."""
        from stemprover.stems import StemSet

        if not source.exists():
            raise AudioError("an audio file or a folder of stems", f"nothing at '{source}'", "check the path")
        skip = self.suffix or DEFAULT_SUFFIX
        return StemSet.open(source, mixture=self.mixture, stem_class=self.stem, skip_suffix=skip, align=self.align)


def plan_jobs(inputs: Sequence[str], selection: Selection, overwrite: bool | None) -> tuple[list[Job], list[Failure]]:
    """Open every input once and pair each of its stems with its output.

    A stem is written beside its input as ``<name><suffix>.wav``, or ``.flac`` if it came as FLAC. ``--output`` names
    the file for a single stem, or a folder; in a folder, the stems of a set keep their names unless a suffix was asked
    for, so that the result is a stem set again.

    Parameters
    ----------
    inputs : sequence of str
        Files and folders.
    selection : Selection
        What is read and where results go.
    overwrite : bool or None
        Whether files may be replaced; None when nothing will be written.

    Raises
    ------
    OptionError, OutputError
        Before any work: one output for several stems, or one that is an input, is there already or is no WAV or FLAC.
    """
    from stemprover.stems import output_format

    jobs: list[Job] = []
    failures: list[Failure] = []
    read: list[Path] = [Path(selection.mixture)] if selection.mixture else []
    for source in map(Path, inputs):
        try:
            with selection.open(source) as opened:
                formats = {stem.path: stem.format for stem in opened.stems if stem.path is not None}
        except (AudioError, StemSetError) as error:
            failures.append(Failure(source, error))
            continue
        read.extend(formats)
        job = Job(source, tuple(_target(source, path, selection, len(inputs), len(formats)) for path in formats))
        jobs.append(job)
        if overwrite is not None:
            for audio_format, target in zip(formats.values(), job.targets, strict=True):
                output_format(audio_format, target.audio)
    if overwrite is not None:
        _check_outputs([target for job in jobs for target in job.targets], read, overwrite)
    return jobs, failures


def _target(source: Path, stem: Path, selection: Selection, inputs: int, stems: int) -> Target:
    suffix = DEFAULT_SUFFIX if selection.suffix is None else selection.suffix
    if selection.output is None:
        audio = stem.with_name(_file_name(stem, suffix))
    elif not _names_file(selection.output):
        folder, is_set = Path(selection.output), source.is_dir()
        if is_set and inputs > 1:
            folder /= source.resolve().name
        audio = folder / _file_name(stem, selection.suffix or "" if is_set else suffix)
    elif inputs > 1 or stems > 1:
        what = f"{inputs} inputs" if inputs > 1 else f"a folder of {stems} stems"
        fix = "give a folder, for example -o clean/"
        raise OptionError(f"-o to name a folder for {what}", f"the file '{selection.output}'", fix)
    else:
        audio = Path(selection.output)
    base = audio.stem.removesuffix(suffix) if suffix else audio.stem
    kinds = _REPORTS[selection.report]
    return Target(audio, {kind: audio.with_name(f"{base}.report.{kind}") for kind in kinds})


def _file_name(stem: Path, suffix: str) -> str:
    return stem.stem + suffix + (".flac" if stem.suffix.lower() == ".flac" else ".wav")


def _names_file(output: str) -> bool:
    """Whether ``-o`` names a file: it ends like one, and is no folder."""
    path = Path(output)
    return not output.endswith(("/", os.sep)) and not path.is_dir() and (bool(path.suffix) or path.is_file())


def _check_outputs(targets: Sequence[Target], inputs: Iterable[Path], overwrite: bool) -> None:
    sources = {path.resolve() for path in inputs}
    taken: set[Path] = set()
    for path in (file for target in targets for file in target.files):
        place = path.resolve()
        if place in sources:
            raise OutputError("an output that is not an input", f"'{path}'", "choose another -o or --suffix")
        if place in taken:
            raise OptionError(
                "a different output for every stem", f"'{path}' twice", "use a different -o for each input"
            )
        if path.exists() and not overwrite:
            raise OutputError("a new file", f"'{path}', which exists", "use --overwrite or another name")
        taken.add(place)


def write_json(path: Path, data: Mapping[str, Any]) -> None:
    """Write one object, whole or not at all."""
    part = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        part.write_text(json.dumps(data, indent=2, allow_nan=False) + "\n", encoding="utf-8")
        part.replace(path)
    except OSError as error:
        reason = error.strerror or "an error"
        raise OutputError(f"to write '{path}'", reason, "check free space and permissions") from error
    finally:
        part.unlink(missing_ok=True)
