"""Are the stems of a set aligned? Offsets in whole samples, found by cross-correlation.

Encoders and decoders of MP3 and AAC put samples in front of a file, and not all of them say how many. A stem set that
went through one is late by a fixed number (1105 samples for LAME without its tag), which ruins everything that
compares a stem with the mixture.

A stem is a part of the mixture, so their cross-correlation peaks at the offset. The cross-spectrum is divided by the
square root of its magnitude: between plain correlation, whose peak is as broad as the lowest note, and the phase
transform, which lets empty bins vote (Knapp and Carter, 1976, call the family generalised cross-correlation). Without
a mixture stems are compared with each other: separators leave enough of every stem in the others.
"""

from __future__ import annotations

import dataclasses
from collections import Counter
from collections.abc import Callable, Sequence

import numpy as np

from stemprover.stems.stem import Stem

__all__ = ["MAX_OFFSET_S", "Offset", "find_offset", "find_offsets"]

MAX_OFFSET_S = 0.5
"""Offsets up to this long are looked for."""

_EXCERPT_S = 10.0
_EXCERPTS = 4
_PLACES = 12
_QUIET = 1e-4  # RMS; -80 dBFS: nothing to correlate
_NEAR = 64  # samples around the peak that belong to it
_CERTAIN = 12.0  # standard deviations of the correlation elsewhere
_OVER_ZERO = 1.15  # times the correlation at no offset

Reader = Callable[[int, int], np.ndarray]
_Measured = tuple[Stem, int | None, float]


@dataclasses.dataclass(frozen=True, slots=True)
class Offset:
    """How a stem lies against the others.

    Attributes
    ----------
    stem : Stem
    samples : int
        By how many samples it is late; negative when it is early.
    against : str
        Name of the mixture or of the stem that it was compared with; empty for a stem that came alone.
    certainty : float
        Height of the correlation's peak in standard deviations of what is beside it. Below 12 nothing was found in this
        stem itself: then ``samples`` is what all others agree on, else 0.
    """

    stem: Stem
    samples: int
    against: str
    certainty: float


def find_offsets(stems: Sequence[Stem], mixture: Stem | None = None) -> tuple[Offset, ...]:
    """Find the offset of every stem against the mixture, or against what most stems of the set agree on.

    A stem in which nothing can be found (it may be silent) counts as off by what the others agree on: one encoder made
    them all. Of two stems without a mixture the second is measured against the first.

    Parameters
    ----------
    stems : sequence of Stem
        Same sample rate; lengths may differ.
    mixture : Stem, optional
    """
    if mixture is not None:
        return _agreed([(stem, *_measure(stem, mixture)) for stem in stems], mixture.name)
    best: list[_Measured] = []
    anchor = stems[0]
    for candidate in stems:
        measured = [(stem, *(_measure(stem, candidate) if stem is not candidate else (0, np.inf))) for stem in stems]
        if not best or _count(measured) > _count(best):
            best, anchor = measured, candidate
        if 2 * _count(best) > len(stems):
            break
    # The stem that the others were measured against may be the one that is off.
    (common, _), *_ = Counter(samples for _, samples, _ in best if samples is not None).most_common(1)
    moved = [(stem, None if samples is None else samples - common, certainty) for stem, samples, certainty in best]
    return _agreed(moved, anchor.name if len(stems) > 1 else "")


def _count(measured: Sequence[_Measured]) -> int:
    """In how many stems an offset was found."""
    return sum(samples is not None for _, samples, _ in measured)


def _agreed(measured: Sequence[_Measured], against: str) -> tuple[Offset, ...]:
    """Give stems without a finding what the others agree on.

    A sample beside the surest finding counts as that: smooth sounds have broad peaks, and stems that are moved by
    different amounts no longer sum to the song.
    """
    found = [(certainty, samples) for _, samples, certainty in measured if samples is not None]
    surest = max(found)[1] if found else 0
    settled = [surest if samples is not None and abs(samples - surest) <= 1 else samples for _, samples, _ in measured]
    common = surest if set(settled) <= {surest, None} else 0
    return tuple(
        Offset(stem, common if samples is None else samples, against, min(certainty, 1000.0))
        for (stem, _, certainty), samples in zip(measured, settled, strict=True)
    )


def _measure(stem: Stem, anchor: Stem) -> tuple[int | None, float]:
    length = min(stem.format.samples, anchor.format.samples)
    readers = [lambda a, b, one=one: one.read(a, b).mean(0) for one in (stem, anchor)]
    return find_offset(readers[0], readers[1], length, stem.format.sample_rate)


def find_offset(late: Reader, anchor: Reader, length: int, sample_rate: int) -> tuple[int | None, float]:
    """Return by how many samples ``late`` lags behind ``anchor``, and the certainty.

    Parameters
    ----------
    late, anchor : callable
        ``(start, stop) -> ndarray [stop - start]``, zeros outside the file.
    length : int
        Samples that both have.
    sample_rate : int
        In Hz.

    Returns
    -------
    tuple of (int or None, float)
        None where the peak does not stand out, or hardly exceeds the correlation at no offset.
    """
    reach = round(MAX_OFFSET_S * sample_rate)
    size = min(round(_EXCERPT_S * sample_rate), max(length, 1))
    fft_size = 1 << (size + 2 * reach - 1).bit_length()
    spectrum = np.zeros(fft_size // 2 + 1, complex)
    used = 0
    for start in _places(length - size):
        signal = late(start, start + size)
        wider = anchor(start - reach, start + size + reach)
        if min(np.sqrt(np.mean(signal**2)), np.sqrt(np.mean(wider**2))) < _QUIET:
            continue
        cross = np.fft.rfft(signal, fft_size) * np.fft.rfft(wider, fft_size).conj()
        spectrum += cross / np.sqrt(np.maximum(np.abs(cross), 1e-20))
        used += 1
        if used == _EXCERPTS:
            break
    if not used:
        return None, 0.0
    return _peak(np.fft.irfft(spectrum)[np.arange(-2 * reach, 1)], reach)


def _places(last: int) -> list[int]:
    """Starts of excerpts from 0 to ``last``, the middle first: songs fade in and out."""
    places = sorted({round(last * k / (_PLACES - 1)) for k in range(_PLACES)}, key=lambda place: abs(2 * place - last))
    return places[::3] + places[1::3] + places[2::3]


def _peak(correlation: np.ndarray, reach: int) -> tuple[int | None, float]:
    """Read the lag off correlations at lags ``-reach`` to ``reach``; an inverted copy has no lag.

    Beside the trough that it makes are lobes, of which one would count as the peak.
    """
    if -correlation.min() > correlation.max():
        return None, 0.0
    best = int(np.argmax(correlation))
    beside = np.ones(correlation.size, bool)
    beside[max(best - _NEAR, 0) : best + _NEAR + 1] = False
    certainty = float((correlation[best] - correlation[beside].mean()) / max(correlation[beside].std(), 1e-30))
    clear = best == reach or correlation[best] > _OVER_ZERO * correlation[reach]
    return (best - reach if clear and certainty >= _CERTAIN else None), certainty
