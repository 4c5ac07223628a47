"""Which pairs the gate learns from, and how each of them is repaired."""

from __future__ import annotations

import dataclasses
import random
from collections.abc import Sequence

from stemprover.data.pairs import Pair

__all__ = ["SPOILED", "Draw", "draw_pairs"]

_MADE = ("none", "controlled")
_REAL_PER_MADE = 5
_ALONE_EVERY = 3
_MORE_STEPS_EVERY = 8
SPOILED = "spoiled"
_SPOILED_EVERY = 4


@dataclasses.dataclass(frozen=True, slots=True)
class Draw:
    """A pair and how it is repaired.

    Attributes
    ----------
    pair : Pair
    alone : bool
        Without its siblings.
    quality : str
        As of :class:`~stemprover.enhanced.Settings`, or ``spoiled``: by no network, but by what a broken adapter or
        vocoder might do.
    """

    pair: Pair
    alone: bool = False
    quality: str = "fast"

    @property
    def name(self) -> str:
        """Name of what is kept of it."""
        return f"{self.pair.id}{'-alone' if self.alone else ''}{'' if self.quality == 'fast' else f'-{self.quality}'}"


def draw_pairs(pairs: Sequence[Pair], count: int, seed: int, alone: bool = False) -> list[Draw]:
    """Choose pairs, and how each is repaired.

    Five of real separators' stems take turns with one that was made by rule and a clean one; when one kind is used up,
    the others go on. All are repaired in one step with their siblings, every third once more alone, one in eight each
    once more with the steps of ``balanced`` and of ``best``, and every fourth is spoiled. More pairs are the same ones
    and others.

    Parameters
    ----------
    pairs : sequence of Pair
        Of one split.
    count, seed : int
        How many pairs at most; seed of the draw.
    alone : bool
        Whether pairs without siblings will do.

    Returns
    -------
    list of Draw
    """
    rng = random.Random(seed)
    usable = [pair for pair in pairs if alone or pair.has_siblings]
    damaged = [pair for pair in usable if pair.sdr_db is not None]
    clean = [pair for pair in usable if pair.sdr_db is None]
    rng.shuffle(damaged)
    rng.shuffle(clean)
    real = [pair for pair in damaged if pair.separator not in _MADE]
    made = iter([pair for pair in damaged if pair.separator in _MADE])
    untouched = iter(clean)
    chosen: list[Pair] = []
    for number, pair in enumerate(real, 1):
        chosen.append(pair)
        if number % _REAL_PER_MADE == 0:
            chosen += [other for other in (next(made, None), next(untouched, None)) if other is not None]
    chosen = [*chosen, *made, *untouched][:count]
    draws = [Draw(pair) for pair in chosen] + [Draw(pair, alone=True) for pair in chosen[::_ALONE_EVERY]]
    others = ((0, _MORE_STEPS_EVERY, "balanced"), (4, _MORE_STEPS_EVERY, "best"), (1, _SPOILED_EVERY, SPOILED))
    return draws + [Draw(pair, quality=name) for start, every, name in others for pair in chosen[start::every]]
