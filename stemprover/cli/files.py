"""Which input becomes which output, settled and checked before any work starts."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from pathlib import Path

from stemprover.errors import AudioError, OptionError, OutputError

__all__ = ["DEFAULT_SUFFIX", "Job", "plan_jobs"]

DEFAULT_SUFFIX = ".enhanced"
_REPORT_SUFFIXES = {"none": (), "json": (".report.json",), "html": (".report.json", ".report.html")}


@dataclasses.dataclass(frozen=True, slots=True)
class Job:
    """One input file, or one folder that is a stem set.

    Attributes
    ----------
    source : Path
        The file or folder.
    output : Path
        The file to write, or for a folder the folder to write into.
    is_set : bool
        Whether ``source`` is a folder.
    file_suffix : str
        What is put between name and extension of the files of a set.
    """

    source: Path
    output: Path
    is_set: bool
    file_suffix: str = ""

    def reports(self, audio: Path, report: str, suffix: str) -> tuple[Path, ...]:
        """Return the report files that go with an output file."""
        name = audio.stem.removesuffix(suffix) if suffix else audio.stem
        return tuple(audio.with_name(name + ending) for ending in _REPORT_SUFFIXES[report])


def audio_name(path: Path, suffix: str) -> str:
    """Return the output's file name: the same family of container, WAV unless the input is FLAC."""
    return path.stem + suffix + (".flac" if path.suffix.lower() == ".flac" else ".wav")


def plan_jobs(inputs: Sequence[str], output: str | None, suffix: str | None) -> tuple[Job, ...]:
    """Pair every input with its output.

    A file becomes ``<name><suffix>.wav`` (``.flac`` for FLAC) beside the input or in the ``output`` folder. A folder
    becomes ``<folder><suffix>/`` or the ``output`` folder; the files in it keep their names, so that the result is a
    stem set again.

    Raises
    ------
    AudioError
        An input does not exist.
    OptionError
        ``output`` names one file for several inputs or for a folder, or two inputs would get the same output.
    """
    sources = [Path(text) for text in inputs]
    for source in sources:
        if not source.exists():
            raise AudioError("an audio file or a folder of stems", f"{source}, which does not exist", "check the path")
    jobs = tuple(_job(source, output, suffix, several=len(sources) > 1) for source in sources)
    taken: dict[Path, Path] = {}
    for job in jobs:
        key = job.output.resolve()
        if key in taken:
            raise OptionError(
                "a different output for every input",
                f"{job.output} for both {taken[key]} and {job.source}",
                "run them one by one with -o, or use different folders",
            )
        taken[key] = job.source
    return jobs


def _job(source: Path, output: str | None, suffix: str | None, several: bool) -> Job:
    tail = DEFAULT_SUFFIX if suffix is None else suffix
    if source.is_dir():
        if output is None:
            folder = source.resolve()
            return Job(source, folder.with_name(folder.name + tail), is_set=True)
        _refuse_file(output, "for a folder of stems")
        folder = Path(output) / source.resolve().name if several else Path(output)
        return Job(source, folder, is_set=True, file_suffix=suffix or "")
    if output is None:
        return Job(source, source.with_name(audio_name(source, tail)), is_set=False)
    if _is_file_name(output):
        if several:
            _refuse_file(output, "for several inputs")
        return Job(source, Path(output), is_set=False)
    return Job(source, Path(output) / audio_name(source, tail), is_set=False)


def _is_file_name(output: str) -> bool:
    """Whether ``-o`` names a file: it ends like one, and is no folder."""
    return not output.endswith(("/", "\\")) and not Path(output).is_dir() and bool(Path(output).suffix)


def _refuse_file(output: str, what: str) -> None:
    if _is_file_name(output) or Path(output).is_file():
        raise OptionError(f"-o to name a folder {what}", repr(output), "give a folder, for example -o clean/")


def refuse_existing(paths: Sequence[Path]) -> None:
    """Raise :class:`OutputError` if one of the files is there already."""
    for path in paths:
        if path.exists():
            raise OutputError(f"{path} not to exist", "a file of that name", "pass --overwrite to replace it")
