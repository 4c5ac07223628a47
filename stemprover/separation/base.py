"""The separator protocol: a mixture in, one stretch of audio per stem out."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Protocol, runtime_checkable

from torch import Tensor

__all__ = ["HostedSeparator", "Separator"]


@runtime_checkable
class Separator(Protocol):
    """What a separator plugin's entry gives back.

    It holds no state between calls, so that a long file may be handed over in overlapping stretches. Weights are best
    loaded by the first call, not when the object is made: a list of separators costs nothing then.
    """

    @property
    def name(self) -> str:
        """What ``--separator`` calls it."""
        ...

    @property
    def stems(self) -> tuple[str, ...]:
        """Stem classes that it returns, for example ``("vocals", "drums", "bass", "other")``."""
        ...

    @property
    def sample_rate(self) -> int:
        """Rate in Hz that it works at; the host resamples."""
        ...

    def separate(self, audio: Tensor) -> Mapping[str, Tensor]:
        """Take a mixture apart.

        Parameters
        ----------
        audio : Tensor
            Float32 at :attr:`sample_rate`, shape ``[2, samples]``; a mono mixture comes as two equal channels.

        Returns
        -------
        Mapping[str, Tensor]
            Exactly the names of :attr:`stems`, each float32 ``[2, samples]`` on the device of ``audio``, aligned with
            it to the sample and at its level.
        """
        ...


class HostedSeparator(Separator, Protocol):
    """A separator as the host hands it out."""

    @property
    def contents(self) -> object:
        """What its results depend on, in terms of JSON: hashes of its package or its weights."""
        ...
