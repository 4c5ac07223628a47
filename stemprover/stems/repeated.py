"""Is a part of the song in a set twice? Two models' vocals in one folder, a copy, or the song itself among stems."""

from __future__ import annotations

import itertools
from collections.abc import Sequence

import numpy as np

from stemprover.errors import StemSetError
from stemprover.stems.stem import Stem

__all__ = ["require_each_once", "require_no_sum"]

_ALIKE = 0.7
"""Correlation from which two stems of a class are the same part of the song: results of two separators lie above 0.9,
lead and backing vocals far below."""
_SUM = 0.9
"""Correlation from which a stem without a class is the sum of the others; a song's with all its stems is above 0.98."""
_PLACES, _EXCERPT_S = 8, 2.0


def require_each_once(stems: Sequence[Stem]) -> None:
    """Make sure that no two stems of one class hold the same: each would count as what bled into the other.

    Raises
    ------
    StemSetError
        Names the first two that do.
    """
    for first, second in itertools.combinations(stems, 2):
        if first.stem_class == second.stem_class != "generic" and _correlation(first, [second]) >= _ALIKE:
            got = f"'{first.path or first.name}' and '{second.path or second.name}', which hold the same"
            fix = "keep one of them in the folder, or repair files one by one"
            raise StemSetError(f"a set with each part of the song once, {first.stem_class} too", got, fix)


def require_no_sum(stems: Sequence[Stem]) -> None:
    """Make sure that none of the stems is what the others sum to: all of them would count as what bled into it.

    Only a stem without a class is looked at: those with one say themselves what they sum up.

    Raises
    ------
    StemSetError
        Names the one that is.
    """
    parts = [stem for stem in stems if stem.stem_class != "generic"]
    for stem in stems:
        if stem.stem_class == "generic" and len(parts) > 1 and _correlation(stem, parts) >= _SUM:
            got = f"'{stem.path or stem.name}', which holds what the others sum to"
            fix = "if it is the song, name it with --mixture; else move it out of the folder"
            raise StemSetError("a set with each part of the song once", got, fix)


def _correlation(first: Stem, others: Sequence[Stem]) -> float:
    """Correlation of one with the sum of others in excerpts from all over the song, as mono; 0 where one is silent."""
    samples, size = first.format.samples, round(_EXCERPT_S * first.format.sample_rate)
    products = np.zeros(3)
    for start in sorted({max(samples - size, 0) * place // (_PLACES - 1) for place in range(_PLACES)}):
        one, *rest = (stem.read(start, min(start + size, samples)).mean(0) for stem in (first, *others))
        other = np.sum(rest, axis=0)
        products += (np.dot(one, one), np.dot(other, other), np.dot(one, other))
    energy = float(products[0] * products[1])
    return float(products[2]) / energy**0.5 if energy > 0.0 else 0.0
