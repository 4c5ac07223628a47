"""Mixture consistency: repaired stems that sum to the mixture.

The residue (mixture minus the sum of the stems) is shared out by :func:`~stemprover.spectral.residue.share_residue`.

Only stems that hold each part of the song once can sum to it (:meth:`StemSet.cover`).
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence

import numpy as np

from stemprover.errors import StemSetError
from stemprover.spectral.spec import SPEC
from stemprover.stems import StemSet, from_difference, limit_difference
from stemprover.stems.samples import to_float

__all__ = ["CONTEXT", "RESIDUE_LIMIT_DB", "limit_together", "require_cover", "round_together"]

CONTEXT = SPEC.n_fft
"""Samples on both sides of a stretch that its shares depend on: frames that reach into it, as far as they reach out."""

RESIDUE_LIMIT_DB = -15.0
"""Highest energy of what the stems of a set leave of their mixture, in dB of the mixture's.

What separators leave lies 20 to 30 dB below the song, a stem that is missing or counted twice rarely more than 12."""

_BLOCK = 1 << 18


def require_cover(stems: StemSet) -> None:
    """Make sure that stems can be made to sum to their mixture without moving what belongs to none of them.

    Raises
    ------
    StemSetError
        If what they leave of the mixture is louder than :data:`RESIDUE_LIMIT_DB`.
    """
    residue, whole = (math.fsum(parts) for parts in zip(*_energies(stems), strict=True))
    if residue <= 10.0 ** (RESIDUE_LIMIT_DB / 10.0) * whole:
        return
    names = ", ".join(stem.stem_class for stem in stems.cover())
    level = f"{10.0 * math.log10(residue / whole):.1f} dB" if whole > 0.0 else "a silent mixture"
    fix = "hand in all stems of the song, each part once; --align mends stems that are late; else leave it out"
    wanted = f"stems that leave less than {RESIDUE_LIMIT_DB:g} dB of their mixture for --mixture-consistent"
    raise StemSetError(wanted, f"{level} left by {names}", fix)


def _energies(stems: StemSet) -> Iterator[tuple[float, float]]:
    """Energy of residue and mixture, block by block."""
    assert stems.mixture is not None
    cover, total = stems.cover(), stems.mixture.format.samples
    for start in range(0, total, _BLOCK):
        stop = min(start + _BLOCK, total)
        mixture = stems.mixture.read(start, stop)
        residue = mixture - np.sum([stem.read(start, stop) for stem in cover], axis=0)
        yield float(np.square(residue).sum()), float(np.square(mixture).sum())


def limit_together(audio: Sequence[np.ndarray], differences: Sequence[np.ndarray], window: int) -> list[np.ndarray]:
    """Turn differences down where a stem would leave full scale, and hand what it has no room for to the others.

    Parameters
    ----------
    audio, differences : sequence of ndarray
        Float64, ``[channels, samples]`` each.
    window : int
        See :func:`~stemprover.stems.limit_difference`. A sample depends on ``window * (2 * len(audio) - 1)`` samples on
        both sides.

    Returns
    -------
    list of ndarray
        Differences with the same sum, as far as the stems have room for it.
    """
    limited = list(differences)
    left = np.zeros_like(limited[0])
    for turn in (range(len(limited)), range(len(limited) - 1)):
        for place in turn:
            wanted = limited[place] + left
            limited[place] = limit_difference(audio[place], wanted, window)
            left = wanted - limited[place]
        if not left.any():
            break
    return limited


def round_together(
    natives: Sequence[np.ndarray], differences: Sequence[np.ndarray], subtypes: Sequence[str]
) -> list[np.ndarray]:
    """Add differences to native samples; what rounding takes from one stem, the next one gets.

    So the sum of any number of stems is off by what the last one rounds, half a step, each stem by at most one step.

    Parameters
    ----------
    natives, differences, subtypes : sequences
        As for :func:`~stemprover.stems.from_difference`, one for each stem.
    """
    done: list[np.ndarray] = []
    left = np.zeros_like(differences[0])
    for native, difference, subtype in zip(natives, differences, subtypes, strict=True):
        wanted = difference + left
        done.append(from_difference(native, wanted, subtype))
        left = wanted - (to_float(done[-1]) - to_float(native))
    return done
