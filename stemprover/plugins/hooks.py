"""The hooks that code plugins may implement.

A plugin's ``entry`` names a module or object whose functions carry the ``hookimpl`` marker::

    from stemprover.plugins import hookimpl

    @hookimpl
    def after_segment(event):
        ...

A plugin of one object (a detector, a vocoder) needs no hook: its entry is the object or a function that builds it. The
host wraps it into the hook of its kind.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

import pluggy

from stemprover.plugins.manifest import HOOK_API

if TYPE_CHECKING:
    import numpy as np

__all__ = ["HOOK_API", "ArtifactType", "FileEvent", "HookSpecs", "SegmentEvent", "hookimpl"]

hookspec = pluggy.HookspecMarker("stemprover")
hookimpl = pluggy.HookimplMarker("stemprover")

Factory = Callable[[], Any]


@dataclasses.dataclass(frozen=True, slots=True)
class ArtifactType:
    """A node of the artifact tree that a plugin adds, for example ``clicks`` or ``bleed/choir``.

    Attributes
    ----------
    name, summary : str
        The artifact's name, and what it is in a few words; reports show it.
    detector : callable, optional
        Builds the :class:`stemprover.detection.types.Detector` that finds it; without one, another plugin's does.
    """

    name: str
    summary: str
    detector: Factory | None = None


@dataclasses.dataclass(frozen=True)
class SegmentEvent:
    """A stretch of one stem that is about to be repaired, or was.

    Attributes
    ----------
    stem, stem_class : str
        The stem's name and class.
    start_s, end_s : float
        Where the segment lies in the file, seconds.
    audio : ndarray
        Float32 at 44.1 kHz, shape ``[channels, samples]``, read-only: the input before, the result after.
    artifacts : tuple of str
        What the plan repairs here.
    """

    stem: str
    stem_class: str
    start_s: float
    end_s: float
    audio: np.ndarray
    artifacts: tuple[str, ...]


@dataclasses.dataclass(frozen=True)
class FileEvent:
    """A file that is finished; ``report`` is the JSON object of ``enhance --json``."""

    stem: str
    output: str
    report: Mapping[str, Any]


class HookSpecs:
    """Every hook; the first group is asked once at the start, the second is called during a run."""

    @hookspec
    def artifact_types(self) -> tuple[ArtifactType, ...]:  # type: ignore[empty-body]
        """Return the artifact types that this plugin adds."""

    @hookspec
    def detectors(self) -> Mapping[str, Factory]:  # type: ignore[empty-body]
        """Return factories of :class:`stemprover.detection.types.Detector` by name."""

    @hookspec
    def preprocessors(self) -> Mapping[str, Factory]:  # type: ignore[empty-body]
        """Return factories of :class:`stemprover.restoration.base.Preprocessor` by name."""

    @hookspec
    def vocoders(self) -> Mapping[str, Factory]:  # type: ignore[empty-body]
        """Return factories of :class:`stemprover.synthesis.base.Vocoder` by name."""

    @hookspec
    def separators(self) -> Mapping[str, Factory]:  # type: ignore[empty-body]
        """Return factories of :class:`stemprover.separation.base.Separator` by name."""

    @hookspec
    def metrics(self) -> Mapping[str, Factory]:  # type: ignore[empty-body]
        """Return factories of :class:`stemprover.evaluation.Metric` by name."""

    @hookspec
    def before_segment(self, event: SegmentEvent) -> None:
        """Observe a segment before it is repaired."""

    @hookspec
    def after_segment(self, event: SegmentEvent) -> None:
        """Observe a segment after it was repaired."""

    @hookspec
    def after_file(self, event: FileEvent) -> None:
        """Observe a finished file and its report."""
