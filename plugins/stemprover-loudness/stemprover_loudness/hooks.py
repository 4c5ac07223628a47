"""The hooks: a metric, and an observer that logs the loudness of every segment before and after its repair."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from stemprover.plugins import FileEvent, SegmentEvent, hookimpl
from stemprover_loudness.meter import loudness

if TYPE_CHECKING:
    import numpy as np

    from stemprover.evaluation import Metric

__all__ = ["LOG_VARIABLE", "Loudness"]

LOG_VARIABLE = "STEMPROVER_LOUDNESS_LOG"
_RATE = 44_100


class Loudness:
    """One per run; it keeps the segments of a file until the file is finished.

    The log is the file that ``STEMPROVER_LOUDNESS_LOG`` names, one JSON object per finished stem. Without it nothing is
    measured during a run.
    """

    def __init__(self) -> None:
        self._before: dict[tuple[str, float], float] = {}
        self._segments: dict[str, list[dict[str, float]]] = {}

    @hookimpl
    def metrics(self) -> Mapping[str, Metric]:
        """Return the metric ``loudness_error``."""
        from stemprover.evaluation import Metric

        return {"loudness_error": Metric("loudness_error", "Loudness error", "LU", False, 0.0, loudness_error)}

    @hookimpl
    def before_segment(self, event: SegmentEvent) -> None:
        """Measure the input."""
        if LOG_VARIABLE in os.environ:
            self._before[event.stem, event.start_s] = loudness(event.audio, _RATE)

    @hookimpl
    def after_segment(self, event: SegmentEvent) -> None:
        """Measure the result."""
        before = self._before.pop((event.stem, event.start_s), None)
        if before is not None:
            after = loudness(event.audio, _RATE)
            where = {"start_s": event.start_s, "end_s": event.end_s}
            self._segments.setdefault(event.stem, []).append({**where, "before_lufs": before, "after_lufs": after})

    @hookimpl
    def after_file(self, event: FileEvent) -> None:
        """Append the stem's line to the log."""
        segments = self._segments.pop(event.stem, [])
        if LOG_VARIABLE not in os.environ:
            return
        largest = max((abs(one["after_lufs"] - one["before_lufs"]) for one in segments), default=0.0)
        line = {"stem": event.stem, "output": event.output, "largest_change_lu": largest, "segments": segments}
        with Path(os.environ[LOG_VARIABLE]).open("a", encoding="utf-8") as log:
            log.write(json.dumps(line) + "\n")


def loudness_error(reference: np.ndarray, estimate: np.ndarray, sample_rate: int) -> float:
    """Return by how many LU the estimate is louder or softer than the reference."""
    return abs(loudness(estimate, sample_rate) - loudness(reference, sample_rate))
