"""What the results are called."""

from __future__ import annotations

import dataclasses
import os
import string
from pathlib import PurePosixPath

from stemprover.batch import places
from stemprover.batch.jobs import Source, Target
from stemprover.errors import OptionError

__all__ = ["DEFAULT_SUFFIX", "REPORTS", "SEPARATED", "Naming", "names_file"]

DEFAULT_SUFFIX = ".enhanced"
SEPARATED = "separated"
"""Folder beside clean stems that holds them as the separator made them."""
REPORTS: dict[str, tuple[str, ...]] = {"none": (), "json": ("json",), "html": ("json", "html")}
"""Files that each kind of report consists of."""

_FIELDS = ("parent", "folder", "stem", "ext")


class Naming:
    """Pairs stems with their outputs.

    A stem is written beside its input as ``<name><suffix>.wav``, or ``.flac`` if it came as FLAC. ``output`` names the
    file for a single stem, a folder, or a template: ``{parent}`` is the input's folder, ``{folder}`` the last part of
    that, ``{stem}`` the name without extension and ``{ext}`` ``wav`` or ``flac``. In a folder, the stems of a set keep
    their names unless a suffix was asked for, so that the result is a stem set again.

    Parameters
    ----------
    output, suffix : str or None
        The options; None is the default.
    report : str
        A key of :data:`REPORTS`.
    plot : str or None
        Where ``detect`` draws.
    sources : int
        Number of inputs of the run.
    """

    def __init__(self, output: str | None, suffix: str | None, report: str, plot: str | None, sources: int) -> None:
        self.output = None if output is None else places.normalised(output)
        self.suffix, self.report, self.plot, self.sources = suffix, report, plot, sources

    def target(self, source: Source, stem: str, stems: int, is_set: bool) -> Target:
        """Return what is written for one stem of a source that has ``stems`` of them.

        Raises
        ------
        OptionError
            If ``output`` names one file for several stems, or is a template with unknown fields.
        """
        output, several = (self.output, self.sources > 1) if source.output is None else (source.output, False)
        suffix = DEFAULT_SUFFIX if self.suffix is None else self.suffix
        if output is None:
            audio = places.join(places.parent_of(stem), _file_name(stem, suffix))
        elif "{" in output:
            audio = _filled(output, stem)
        elif not names_file(output):
            folder = self._set_folder(source, output, several) if is_set else output
            audio = places.join(folder, _file_name(stem, (self.suffix or "") if is_set else suffix))
        elif several or stems > 1:
            what = f"{self.sources} inputs" if several else f"a folder of {stems} stems"
            fix = "give a folder, for example -o clean/, or a template, for example -o '{parent}/{stem}.clean.{ext}'"
            raise OptionError(f"-o to name a folder for {what}", f"the file '{output}'", fix)
        else:
            audio = output
        return Target(audio, self._reports(audio, suffix, stem, several or stems > 1))

    def repeated(self, source: Source) -> Source:
        """Return a source that, in a run of other inputs with the same options, is written to the same place.

        Folders of results are called like their inputs as long as there are several.
        """
        output = self.output
        if source.output is not None or output is None or "{" in output or names_file(output):
            return source
        if not places.is_folder(source.place):
            return source
        folder = self._set_folder(source, output, self.sources > 1)
        return dataclasses.replace(source, output=folder.rstrip("/") + "/")

    def _set_folder(self, source: Source, output: str, several: bool) -> str:
        below = source.below or (_own_name(source) if several else "")
        return places.join(output, below) if below else output

    def _reports(self, audio: str, suffix: str, stem: str, several: bool) -> dict[str, str]:
        folder, base = places.parent_of(audio), PurePosixPath(places.name_of(audio)).stem
        base = base.removesuffix(suffix) if suffix else base
        named = {kind: places.join(folder, f"{base}.report.{kind}") for kind in REPORTS[self.report]}
        if self.plot is not None:
            path = PurePosixPath(self.plot)
            name = f"{path.stem}.{PurePosixPath(places.name_of(stem)).stem}{path.suffix}" if several else path.name
            named["plot"] = str(path.with_name(name))
        return named


def _own_name(source: Source) -> str:
    return places.name_of(source.place if places.is_remote(source.place) else os.path.realpath(source.place))


def _extension(stem: str) -> str:
    return "flac" if stem.lower().endswith(".flac") else "wav"


def _file_name(stem: str, suffix: str) -> str:
    return f"{PurePosixPath(places.name_of(stem)).stem}{suffix}.{_extension(stem)}"


def names_file(output: str) -> bool:
    """Whether ``-o`` names a file: it ends like one, and is no folder."""
    if output.endswith(("/", os.sep)):
        return False
    if places.is_remote(output):
        return bool(PurePosixPath(output).suffix)
    return not os.path.isdir(output) and (bool(PurePosixPath(output).suffix) or os.path.isfile(output))  # noqa: PTH112, PTH113


def _filled(template: str, stem: str) -> str:
    """Fill in a template; only plain field names are allowed, so that it cannot reach into objects."""
    parent = places.parent_of(stem)
    values = {
        "parent": parent,
        "folder": places.name_of(parent if places.is_remote(parent) else os.path.abspath(parent)),  # noqa: PTH100
        "stem": PurePosixPath(places.name_of(stem)).stem,
        "ext": _extension(stem),
    }
    try:
        fields = [part[1:] for part in string.Formatter().parse(template) if part[1] is not None]
        if any(name not in values or spec or conversion for name, spec, conversion in fields):
            raise ValueError
    except ValueError:
        known = " ".join(f"{{{name}}}" for name in _FIELDS)
        raise OptionError(f"a template of {known}", f"'{template}'", "write '{parent}/{stem}.clean.{ext}'") from None
    return template.format(**values)
