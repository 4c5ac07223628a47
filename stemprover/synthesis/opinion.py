"""A second opinion: a network hears the mixture once more, and a gate says where to believe it.

Two separators that learned apart make errors of their own, so that a poor stem and another one's idea of it together
are nearer to the truth than either. An arbiter settles in each band and frame which of the two to believe
(:mod:`stemprover.synthesis.arbiter`). A stem by a better separator gains nothing by it; the gate learned to tell by the
evidence that it has of repairs (:mod:`stemprover.synthesis.evidence`). One judge hears songs, another one kits: what is
likely to be right about the one says little about the other.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Collection, Mapping, Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from stemprover.spectral.stft import stft
from stemprover.stems.sets import DRUM_PARTS
from stemprover.synthesis.gate import Gate

__all__ = ["INSTRUMENTAL", "OPINIONS", "Heard", "Judge", "SecondOpinion", "answer_of", "has_opinion", "take_answer"]

INSTRUMENTAL = "instrumental"
_VOCALS = "vocals"
OPINIONS = ("drums", "bass", _VOCALS, INSTRUMENTAL, *sorted(DRUM_PARTS))
"""Classes that there are opinions on. The rest of a song is not among them: opinions on it brought nothing."""


def has_opinion(stem_class: str, beside: Collection[str]) -> bool:
    """Whether there are opinions on a stem in this company; the pieces of a kit are known among themselves only."""
    return stem_class in OPINIONS and (stem_class not in DRUM_PARTS or set(beside) <= DRUM_PARTS)


def answer_of(separated: Tensor, mixture: Tensor, stems: Sequence[str], stem_class: str) -> Tensor:
    """What a separator says of one class: ``[batch, stems, 2, samples] -> [batch, 2, samples]``.

    The instrumental is the mixture without vocals.
    """
    if stem_class == INSTRUMENTAL:
        return mixture - separated[:, stems.index(_VOCALS)]
    return separated[:, stems.index(stem_class)]


def take_answer(_stem: Tensor, answer: Tensor, _mixture: Tensor, _stem_class: str) -> Tensor:
    """Return the answer as it is: what is done without an arbiter."""
    return answer


@dataclasses.dataclass(frozen=True)
class Judge:
    """A separator, an arbiter, and the gate that says how much of what they would change is applied.

    Attributes
    ----------
    separate : callable
        Mixtures ``[batch, 2, samples]`` to stems ``[batch, stems, 2, samples]``.
    settle : callable
        Stems, what the separator says of them, their mixtures, each ``[batch, 2, samples]``, and their class, to what
        lies between; see :meth:`stemprover.synthesis.arbiter.Arbiter.settle`.
    gate : callable
        See :data:`~stemprover.synthesis.gate.Gate`.
    """

    separate: Callable[[Tensor], Tensor]
    settle: Callable[[Tensor, Tensor, Tensor, str], Tensor]
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
            One of ``OPINIONS``.

        Returns
        -------
        Heard or None
            None of other classes and more channels.
        """
        channels = mixture.shape[1]
        wanted = _VOCALS if stem_class == INSTRUMENTAL else stem_class
        stems = next((stems for stems in self.judges if wanted in stems), None)
        if stem_class not in OPINIONS or stems is None or channels > 2:
            return None
        own, whole, judge = stem.expand(-1, 2, -1), mixture.expand(-1, 2, -1), self.judges[stems]
        answer = answer_of(judge.separate(whole), whole, stems, stem_class)
        settled = judge.settle(own, answer, whole, stem_class)
        return Heard(stft(torch.flatten(settled[:, :channels], 0, 1)), judge.gate)
