"""When is a probability high enough? A threshold per file and artifact, from the file's own distribution.

A detector's probabilities are calibrated over many songs, but one song may be unusual throughout: a distorted guitar
looks a little like phasiness everywhere. What is unusual *within the file* is the better evidence, so the threshold
rises with the file's median probability and its spread:

    seed = clip(median + k * 1.4826 * MAD, base, ceiling)        extend = seed * extend_ratio

over all audible cells (MAD: median absolute deviation; 1.4826 makes it a standard deviation for normal data).
``base`` is the lowest probability that ever counts; it was chosen on validation songs such that clean stems stay
clean. ``ceiling`` keeps a file that is damaged from start to end detectable: a probability above it counts whatever
the rest of the file looks like. Regions grow from cells above ``seed`` into neighbours above ``extend`` (hysteresis).

Cells that nobody hears never count: below an absolute level, or far below the file's loudest cell. An edge of the
spectrum (``hf-distortion``) *is* missing energy, so there the whole moment must be audible instead of the cell.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Mapping

import numpy as np

__all__ = [
    "DEFAULT_RULES",
    "Threshold",
    "ThresholdRule",
    "adaptive_threshold",
    "audible_cells",
    "own_rules",
    "rule_for",
    "rules_of",
]


@dataclasses.dataclass(frozen=True, slots=True)
class ThresholdRule:
    """How an artifact's threshold follows the file.

    Attributes
    ----------
    base, ceiling : float
        Lowest and highest seed threshold, probabilities.
    spread_factor : float
        ``k``: how many standard deviations above the median count as unusual.
    extend_ratio : float
        Where a region ends, relative to the seed threshold, in ``(0, 1]``.
    min_cells : int
        Regions of fewer cells are dropped.
    missing_energy : bool
        Whether the artifact can be an absence of energy; see the module's text.
    """

    base: float = 0.5
    ceiling: float = 0.9
    spread_factor: float = 3.0
    extend_ratio: float = 0.7
    min_cells: int = 3
    missing_energy: bool = False


DEFAULT_RULES: Mapping[str, ThresholdRule] = {
    "bleed": ThresholdRule(),
    "phasiness": ThresholdRule(),
    "hf-distortion": ThresholdRule(missing_energy=True),
}

_ABSOLUTE_DB = -80.0
_BELOW_LOUDEST_DB = 60.0
_MOMENT_BELOW_LOUDEST_DB = 45.0


@dataclasses.dataclass(frozen=True, slots=True)
class Threshold:
    """Probabilities at which a region may start and down to which it extends."""

    seed: float
    extend: float


def rule_for(artifact: str, rules: Mapping[str, ThresholdRule] = DEFAULT_RULES) -> ThresholdRule:
    """Return the rule of an artifact or of its nearest ancestor; unknown artifacts get the plain rule."""
    name = artifact
    while name not in rules and "/" in name:
        name = name.rpartition("/")[0]
    return rules.get(name, ThresholdRule())


def rules_of(detectors: Iterable[object], alone: bool) -> dict[str, ThresholdRule]:
    """Collect the rules that detectors bring along; artifacts without one keep the default.

    Parameters
    ----------
    detectors : iterable
        A detector may have a method ``rules(alone: bool) -> Mapping[str, ThresholdRule]``; the first one to name an
        artifact decides.
    alone : bool
        Whether the stem comes without siblings and without a mixture: less can be seen then, and other thresholds
        keep a clean stem clean.
    """
    rules: dict[str, ThresholdRule] = {}
    for detector in detectors:
        rules = {**own_rules(detector, alone), **rules}
    return {**DEFAULT_RULES, **rules}


def own_rules(detector: object, alone: bool) -> dict[str, ThresholdRule]:
    """Return the rules that one detector brings along, see :func:`rules_of`.

    Raises
    ------
    TypeError
        One is something else.
    """
    brought = getattr(detector, "rules", None)
    rules = dict(brought(alone)) if callable(brought) else {}
    for name, rule in rules.items():
        if not isinstance(rule, ThresholdRule):
            raise TypeError(f"the rule for {name} is no ThresholdRule")
    return rules


def audible_cells(levels_db: np.ndarray, rule: ThresholdRule) -> np.ndarray:
    """Return which cells may be flagged at all.

    Parameters
    ----------
    levels_db : ndarray
        Shape ``[cells, n_cell_bands]``, dB re full scale, of the whole file.
    rule : ThresholdRule
        Decides whether the cell or the moment must be audible.

    Returns
    -------
    ndarray
        Boolean, same shape.
    """
    if levels_db.size == 0:
        return np.zeros(levels_db.shape, bool)
    loudest = float(levels_db.max())
    if rule.missing_energy:
        moment = levels_db.max(1, keepdims=True)
        floor = max(_ABSOLUTE_DB, loudest - _MOMENT_BELOW_LOUDEST_DB)
        return np.broadcast_to(moment > floor, levels_db.shape)
    return levels_db > max(_ABSOLUTE_DB, loudest - _BELOW_LOUDEST_DB)


def adaptive_threshold(probability: np.ndarray, audible: np.ndarray, rule: ThresholdRule) -> Threshold:
    """Return a file's threshold from its own probabilities.

    Parameters
    ----------
    probability, audible : ndarray
        Shape ``[cells, n_cell_bands]``; only audible cells are looked at.
    rule : ThresholdRule
        The artifact's rule.
    """
    values = probability[audible]
    if values.size == 0:
        return Threshold(rule.base, rule.base * rule.extend_ratio)
    median = float(np.median(values))
    deviation = 1.4826 * float(np.median(np.abs(values - median)))
    seed = float(np.clip(median + rule.spread_factor * deviation, rule.base, rule.ceiling))
    return Threshold(seed, seed * rule.extend_ratio)
