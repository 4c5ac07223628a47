r"""Crossfades and streaming overlap-add: how to join what was repaired.

Which crossfade? Two neighbouring segments see the same audio where they overlap, and each gives a difference signal
:math:`d_1, d_2` that leads from the input towards the same clean signal. These differences are correlated: where the
repairs agree, :math:`d_1 = d_2 = d` and the sum must again be :math:`d`, so the weights must add up in *amplitude*,
:math:`w_1 + w_2 = 1`. Weights that add up in power (:math:`w_1^2 + w_2^2 = 1`) are right for uncorrelated signals; here
they would overdo the repair by up to 3 dB in the middle of the join.

The two laws meet in weighted overlap-add: a power-complementary window applied twice, before analysis and after
synthesis, acts as :math:`\sin \cdot \sin = \sin^2`, whose sum with :math:`\cos^2` is one. A repair is not linear,
though: fading its input would change what it sees as silence or as an onset. So both factors are applied afterwards,
in one step: the raised cosine (law ``"amplitude"``) is the squared sine of law ``"power"``.
"""

from __future__ import annotations

import dataclasses
from typing import Literal

import numpy as np
from numpy.typing import NDArray

__all__ = ["Law", "OverlapAdd", "SampleRange", "fade"]

Law = Literal["amplitude", "power"]
Array = NDArray[np.float64]


def fade(n: int, law: Law = "amplitude") -> Array:
    """Rising crossfade weights, shape ``[n]``; reversed they are the falling ones.

    ``"amplitude"``: raised cosine, ``fade + fade[::-1] == 1``, for correlated signals.
    ``"power"``: quarter sine, ``fade**2 + fade[::-1]**2 == 1``, for uncorrelated ones.
    """
    rising: Array = np.sin(np.pi / 2 * (np.arange(n) + 0.5) / n) if n else np.zeros(0)
    if law == "power":
        return rising
    squared: Array = rising**2
    return squared


@dataclasses.dataclass(frozen=True, slots=True)
class SampleRange:
    """A segment at one sample rate: samples ``start`` to ``stop``, with fades inside, all in samples."""

    start: int
    stop: int
    fade_in: int
    fade_out: int

    @property
    def samples(self) -> int:
        """Length."""
        return self.stop - self.start

    def weights(self, law: Law = "amplitude") -> Array:
        """Return the weight of each sample, shape ``[samples]``."""
        weights = np.ones(self.samples)
        weights[: self.fade_in] = fade(self.fade_in, law)
        weights[self.samples - self.fade_out :] *= fade(self.fade_out, law)[::-1]
        return weights


class OverlapAdd:
    """Add up faded difference signals, segment by segment, and give back finished stretches.

    Memory holds only what was added and not yet taken. Outside of segments the result is exactly zero.

    Parameters
    ----------
    channels : int
        Number of channels.
    law : {"amplitude", "power"}
        Crossfade law, see the module's description.

    Examples
    --------
    >>> total = OverlapAdd(channels=2)
    >>> total.add(SampleRange(100, 300, fade_in=50, fade_out=50), np.ones((2, 200)))
    >>> total.take(400).shape
    (2, 400)
    """

    def __init__(self, channels: int, law: Law = "amplitude") -> None:
        self._law: Law = law
        self._position = 0
        self._pending = np.zeros((channels, 0))
        self._last_start = 0

    @property
    def position(self) -> int:
        """First sample that was not taken yet."""
        return self._position

    def add(self, where: SampleRange, difference: Array) -> None:
        """Add one segment's difference, ``[channels, where.samples]``; segments come in order of their start.

        Raises
        ------
        ValueError
            If the shape is wrong or the segment begins before the previous one or before what was taken.
        """
        if difference.shape != (self._pending.shape[0], where.samples):
            raise ValueError(f"need shape {(self._pending.shape[0], where.samples)}, got {difference.shape}")
        if where.start < max(self._position, self._last_start):
            raise ValueError(f"segment at {where.start} comes after {max(self._position, self._last_start)}")
        self._last_start = where.start
        self._reach(where.stop)
        begin = where.start - self._position
        self._pending[:, begin : begin + where.samples] += difference * where.weights(self._law)

    def take(self, stop: int) -> Array:
        """Return the sum from :attr:`position` to ``stop``, ``[channels, n]``, and forget it.

        Everything before ``stop`` counts as finished: later segments must start at ``stop`` or after.
        """
        self._reach(stop)
        count = max(0, stop - self._position)
        done, self._pending = self._pending[:, :count].copy(), self._pending[:, count:].copy()
        self._position += count
        return done

    def _reach(self, stop: int) -> None:
        missing = stop - self._position - self._pending.shape[1]
        if missing > 0:
            self._pending = np.pad(self._pending, ((0, 0), (0, missing)))
