"""What a report needs: the summary, the audio before and after, and the detectors' lanes."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any, Protocol

import numpy as np

__all__ = ["AudioSource", "ReportInput", "SourceFormat"]


class SourceFormat(Protocol):
    """The part of an audio format that a report reads."""

    @property
    def sample_rate(self) -> int:
        """Samples per second."""
        ...

    @property
    def channels(self) -> int:
        """Number of channels."""
        ...

    @property
    def samples(self) -> int:
        """Length in samples per channel."""
        ...


class AudioSource(Protocol):
    """Audio that can be read piece by piece; :class:`stemprover.stems.Stem` is one."""

    @property
    def format(self) -> SourceFormat:
        """Rate, channels and length."""
        ...

    def read(self, start: int, stop: int) -> np.ndarray:
        """Return finite samples ``[channels, stop - start]`` as float64, zeros outside the file."""
        ...


@dataclasses.dataclass(frozen=True)
class ReportInput:
    """Everything that a page or a plot shows.

    Attributes
    ----------
    summary : Mapping
        The JSON object of ``stemprover enhance --json`` (``input``, ``detections``, ``plan``, ``unrepaired``,
        ``faults``, ``settings``, ``timings_s``, ...). Missing keys are shown as empty.
    before : AudioSource
        The stem as it came.
    after : AudioSource or None
        The repaired stem, same rate, channels and length; None when nothing was written (``detect``, ``--dry-run``).
    lanes : Mapping[str, ndarray]
        Highest probability over bands, one value in ``[0, 1]`` per detection cell, by artifact.
    cell_s : float
        Length of one cell in seconds.
    metrics : Mapping or None
        Rows of :func:`stemprover.evaluation.compare`, when a reference was at hand: by metric name, a mapping with
        ``before``, ``after``, ``unit`` and ``higher_is_better``.
    """

    summary: Mapping[str, Any]
    before: AudioSource
    after: AudioSource | None
    lanes: Mapping[str, np.ndarray]
    cell_s: float
    metrics: Mapping[str, Mapping[str, Any]] | None = None

    @property
    def duration_s(self) -> float:
        """Length of the audio in seconds."""
        return self.before.format.samples / self.before.format.sample_rate
