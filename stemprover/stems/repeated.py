"""Is a stem in its set twice? Two models' vocals in one folder, or a copy under another name."""

from __future__ import annotations

import itertools
from collections.abc import Sequence

import numpy as np

from stemprover.errors import StemSetError
from stemprover.stems.stem import Stem

__all__ = ["require_each_once"]

_ALIKE = 0.7
"""Correlation from which two stems of a class are the same part of the song: results of two separators lie above 0.9,
lead and backing vocals far below."""
_PLACES, _EXCERPT_S = 8, 2.0


def require_each_once(stems: Sequence[Stem]) -> None:
    """Make sure that no two stems of one class hold the same: each would count as what bled into the other.

    Raises
    ------
    StemSetError
        Names the first two that do.
    """
    for first, second in itertools.combinations(stems, 2):
        if first.stem_class == second.stem_class != "generic" and _correlation(first, second) >= _ALIKE:
            got = f"'{first.path or first.name}' and '{second.path or second.name}', which hold the same"
            fix = "keep one of them in the folder, or repair files one by one"
            raise StemSetError(f"a set with each part of the song once, {first.stem_class} too", got, fix)


def _correlation(first: Stem, second: Stem) -> float:
    """Correlation of excerpts from all over the song, as mono; 0 where one is silent."""
    samples, size = first.format.samples, round(_EXCERPT_S * first.format.sample_rate)
    products = np.zeros(3)
    for start in sorted({max(samples - size, 0) * place // (_PLACES - 1) for place in range(_PLACES)}):
        one, other = (stem.read(start, min(start + size, samples)).mean(0) for stem in (first, second))
        products += (np.dot(one, one), np.dot(other, other), np.dot(one, other))
    energy = float(products[0] * products[1])
    return float(products[2]) / energy**0.5 if energy > 0.0 else 0.0
