"""What there is to do: inputs as they were found, and the files that are written for each."""

from __future__ import annotations

import dataclasses
import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Self

from stemprover.batch.places import absolute
from stemprover.errors import OutputError, StemProverError

__all__ = ["Failure", "Job", "Source", "Target", "write_json"]


@dataclasses.dataclass(frozen=True, slots=True)
class Source:
    """One input.

    Attributes
    ----------
    place : str
        Path or URL of a file, or of a folder that is a stem set.
    below : str
        For a folder that was found in the one that the user named: its path below that.
    output, mixture, stem : str or None
        What a manifest says about this input; it comes before the options.
    title : str
        For a folder with the stems of several songs: the one that is meant; see
        :func:`~stemprover.stems.songs_by_title`.
    """

    place: str
    below: str = ""
    output: str | None = None
    mixture: str | None = None
    stem: str | None = None
    title: str = ""


@dataclasses.dataclass(frozen=True, slots=True)
class Target:
    """What is written for one stem: the audio, and reports by kind (``json``, ``html``, ``plot``)."""

    audio: str
    reports: Mapping[str, str]

    @property
    def files(self) -> tuple[str, ...]:
        """All files of this stem."""
        return (self.audio, *self.reports.values())


@dataclasses.dataclass(frozen=True, slots=True)
class Job:
    """One input and a target for each of its stems.

    Attributes
    ----------
    source : Source
    stems : tuple of str
        Audio files, repaired together.
    targets : tuple of Target
        In the order of the stems.
    mixture : str or None
        What the stems were separated from.
    stem_class : str or None
        For a single stem; else the file name tells.
    left_out : tuple of str
        Names of files in the folder that hold audio of a kind that cannot be read.
    """

    source: Source
    stems: tuple[str, ...]
    targets: tuple[Target, ...]
    mixture: str | None = None
    stem_class: str | None = None
    left_out: tuple[str, ...] = ()

    @property
    def inputs(self) -> tuple[str, ...]:
        """All audio files that are read."""
        return (*self.stems, self.mixture) if self.mixture else self.stems

    def everywhere(self) -> Job:
        """Return the job with files that mean the same in every working folder; its source stays as it was named."""
        targets = (
            Target(absolute(target.audio), {kind: absolute(place) for kind, place in target.reports.items()})
            for target in self.targets
        )
        mixture = self.mixture and absolute(self.mixture)
        return dataclasses.replace(
            self, stems=tuple(map(absolute, self.stems)), targets=tuple(targets), mixture=mixture
        )

    def to_json(self) -> str:
        """Return the job as a line of text, for workers elsewhere."""
        return json.dumps(dataclasses.asdict(self))

    @classmethod
    def from_json(cls, text: str) -> Self:
        """Read what :meth:`to_json` wrote."""
        fields: dict[str, Any] = json.loads(text)
        targets = tuple(Target(**target) for target in fields.pop("targets"))
        stems, left_out = (tuple(fields.pop(key)) for key in ("stems", "left_out"))
        return cls(Source(**fields.pop("source")), stems, targets, left_out=left_out, **fields)


@dataclasses.dataclass(frozen=True, slots=True)
class Failure:
    """An input that cannot be used, and why."""

    source: Source
    error: StemProverError


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
