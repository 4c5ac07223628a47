"""A second opinion: a network hears the mixture once more, and a gate says where to believe it.

Two separators that learned apart make errors of their own, so that a poor stem and another one's idea of it together
are nearer to the truth than either. A stem by a better separator gains nothing by it; the gate learned to tell by the
evidence that it has of repairs (see :mod:`stemprover.synthesis.evidence`). One judge hears songs, another one kits:
what is likely to be right about the one says little about the other.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Collection, Mapping
from typing import NamedTuple

import torch
from torch import Tensor

from stemprover.spectral.stft import stft
from stemprover.stems.sets import DRUM_PARTS
from stemprover.synthesis.gate import Gate

__all__ = ["OPINIONS", "Heard", "Judge", "SecondOpinion", "has_opinion"]

_INSTRUMENTAL = "instrumental"
_VOCALS = "vocals"
OPINIONS = ("drums", "bass", _VOCALS, _INSTRUMENTAL, *sorted(DRUM_PARTS))
"""Classes that there are opinions on. The rest of a song is not among them: opinions on it brought nothing."""


def has_opinion(stem_class: str, beside: Collection[str]) -> bool:
    """Whether there are opinions on a stem in this company; the pieces of a kit are known among themselves only."""
    return stem_class in OPINIONS and (stem_class not in DRUM_PARTS or set(beside) <= DRUM_PARTS)


@dataclasses.dataclass(frozen=True)
class Judge:
    """A network, and the gate that says how much of what it would change is applied.

    Attributes
    ----------
    hear : callable
        Stems ``[batch, 2, samples]``, their mixtures and the number of their class, to the stems as it hears them.
    gate : callable
        See :data:`~stemprover.synthesis.gate.Gate`.
    """

    hear: Callable[[Tensor, Tensor, int], Tensor]
    gate: Gate


class Heard(NamedTuple):
    """What a judge hears.

    Attributes
    ----------
    spectrum : Tensor
        Complex, shape ``[batch * channels, n_bins, frames]``.
    gate : callable
        The judge's gate.
    """

    spectrum: Tensor
    gate: Gate


@dataclasses.dataclass(frozen=True)
class SecondOpinion:
    """Judges by the classes of the stems that they know."""

    judges: Mapping[tuple[str, ...], Judge]

    def of(self, stem: Tensor, mixture: Tensor, stem_class: str) -> Heard | None:
        """Return a stem as the judge that knows its class hears it.

        Parameters
        ----------
        stem, mixture : Tensor
            Audio of one or two channels, shape ``[batch, channels, samples]``.
        stem_class : str
            One of ``OPINIONS``; the instrumental is the mixture without vocals.

        Returns
        -------
        Heard or None
            None of other classes and more channels.
        """
        channels = mixture.shape[1]
        wanted = _VOCALS if stem_class == _INSTRUMENTAL else stem_class
        stems = next((stems for stems in self.judges if wanted in stems), None)
        if stem_class not in OPINIONS or stems is None or channels > 2:
            return None
        whole, judge = mixture.expand(-1, 2, -1), self.judges[stems]
        own = stem.expand(-1, 2, -1)
        if stem_class == _INSTRUMENTAL:  # it is known by the voice that it lacks
            heard = whole - judge.hear(whole - own, whole, stems.index(wanted))
        else:
            heard = judge.hear(own, whole, stems.index(wanted))
        return Heard(stft(torch.flatten(heard[:, :channels], 0, 1)), judge.gate)
