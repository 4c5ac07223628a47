"""A second opinion: a small separator takes the mixture apart once more, and a gate says where to believe it.

Two separators that learned apart make errors of their own, so that a poor stem and another one's idea of it together
are nearer to the truth than either. A stem by a better separator gains nothing by it; the gate learned to tell by the
evidence that it has of repairs (see :mod:`stemprover.synthesis.evidence`). One separator hears songs, another one kits.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Collection, Mapping

import torch
from torch import Tensor

from stemprover.spectral.stft import stft
from stemprover.stems.sets import DRUM_PARTS
from stemprover.synthesis.gate import Gate

__all__ = ["OPINIONS", "SecondOpinion", "has_opinion"]

_INSTRUMENTAL = "instrumental"
_VOCALS = "vocals"
OPINIONS = ("drums", "bass", _VOCALS, _INSTRUMENTAL, *sorted(DRUM_PARTS))
"""Classes that there are opinions on. The rest of a song is not among them: small networks hear hardly any of it."""


def has_opinion(stem_class: str, beside: Collection[str]) -> bool:
    """Whether there are opinions on a stem in this company; the pieces of a kit are known among themselves only."""
    return stem_class in OPINIONS and (stem_class not in DRUM_PARTS or set(beside) <= DRUM_PARTS)


@dataclasses.dataclass(frozen=True)
class SecondOpinion:
    """Separators, and the gate that says how much of what they would change is applied.

    Attributes
    ----------
    separators : Mapping[tuple of str, callable]
        By the classes of their stems: mixtures ``[batch, 2, samples]`` to stems ``[batch, stems, 2, samples]``.
    gate : callable
        See :data:`~stemprover.synthesis.gate.Gate`.
    """

    separators: Mapping[tuple[str, ...], Callable[[Tensor], Tensor]]
    gate: Gate

    def of(self, mixture: Tensor, stem_class: str) -> Tensor | None:
        """Return the spectrum of a class as the separator that knows it hears it.

        Parameters
        ----------
        mixture : Tensor
            Audio of one or two channels, shape ``[batch, channels, samples]``.
        stem_class : str
            One of ``OPINIONS``; the instrumental is the mixture without vocals.

        Returns
        -------
        Tensor or None
            Complex, shape ``[batch * channels, n_bins, frames]``; None of other classes and more channels.
        """
        channels = mixture.shape[1]
        wanted = _VOCALS if stem_class == _INSTRUMENTAL else stem_class
        stems = next((stems for stems in self.separators if wanted in stems), None)
        if stem_class not in OPINIONS or stems is None or channels > 2:
            return None
        stereo = mixture.expand(-1, 2, -1)
        found = self.separators[stems](stereo)[:, stems.index(wanted)]
        heard = stereo - found if stem_class == _INSTRUMENTAL else found
        return stft(torch.flatten(heard[:, :channels], 0, 1))
