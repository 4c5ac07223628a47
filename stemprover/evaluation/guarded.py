"""Metrics of plugins behind a guard: one that fails is named and left out, and the other scores stand."""

from __future__ import annotations

import dataclasses
import math

import numpy as np

from stemprover.evaluation.metrics import Metric
from stemprover.evaluation.sets import COLUMNS
from stemprover.plugins import PluginRunner
from stemprover.plugins.fields import NAME, printable

__all__ = ["guarded_metrics"]


def guarded_metrics(runner: PluginRunner) -> dict[str, Metric]:
    """Return the metrics of plugins by name; each call goes through the runner.

    What fails becomes one of ``runner.faults``: at once where a metric is badly made, later where it fails at its
    work. Its scores are then NaN, which :func:`stemprover.evaluation.sets.score_stem` leaves out.
    """
    found: dict[str, Metric] = {}
    for name, made in runner.metrics().items():
        checked = runner.guard(made, lambda name=name, made=made: _checked(name, made))  # type: ignore[misc]
        if checked is not None:
            found[name] = dataclasses.replace(checked, function=_Guarded(runner, made))
    return found


@dataclasses.dataclass(frozen=True)
class _Guarded:
    """The function of one metric."""

    runner: PluginRunner
    made: Metric

    def __call__(self, reference: np.ndarray, estimate: np.ndarray, sample_rate: int) -> float:
        """Return the score of copies, so that the plugin cannot change what others measure; NaN if it fails."""

        def call() -> float:
            return float(self.made.function(reference.copy(), estimate.copy(), sample_rate))

        score = self.runner.guard(self.made, call)
        return math.nan if score is None else score


def _checked(name: object, made: object) -> Metric:
    """Return a metric of plain values: tables print them, and one of the plugin's own class would run its code."""
    if not isinstance(made, Metric):
        raise TypeError(f"{type(made).__name__} is no stemprover.evaluation.Metric")
    if not isinstance(name, str) or not NAME.fullmatch(name):
        raise ValueError(f"{printable(name)} is no name of a metric")
    if name in COLUMNS:
        raise ValueError(f"stemprover has a metric {name} already")
    label, unit = made.label, made.unit
    for text in (label, unit):
        if not isinstance(text, str) or not text.isprintable() or len(text) > 80:
            raise ValueError(f"{printable(text)} is no label or unit")
    return Metric(name, label, unit, bool(made.higher_is_better), float(made.best), made.function)
