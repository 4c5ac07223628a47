"""A second opinion: a network hears the mixture once more, and a gate says where to believe it.

Two separators that learned apart make errors of their own, so that a poor stem and another one's idea of it together
are nearer to the truth than either. An arbiter settles in each band and frame which of the two to believe
(:mod:`stemprover.synthesis.arbiter`). A stem by a better separator gains nothing by it; the gate learned to tell by the
evidence that it has of repairs (:mod:`stemprover.synthesis.evidence`). One judge hears songs, another one kits: what is
likely to be right about the one says little about the other. A stem that came alone is its own mixture: what does not
belong there is separated once more, and that takes a judge of its own.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from stemprover.spectral.stft import stft
from stemprover.stems.sets import DRUM_PARTS
from stemprover.synthesis.gate import Gate

__all__ = ["INSTRUMENTAL", "Heard", "Judge", "SecondOpinion", "answer_of", "has_opinion", "take_answer", "told_by"]

INSTRUMENTAL = "instrumental"
_VOCALS = "vocals"
_SONG = ("drums", "bass", _VOCALS, INSTRUMENTAL)
"""Classes that there are opinions on in songs. The rest is not among them: opinions on it brought nothing."""


def has_opinion(stem_class: str, company: Sequence[str]) -> bool:
    """Whether there are opinions on a stem among stems of these classes, its own among them.

    Of two of a class each is a part, and answers are about the whole. The pieces of a kit are known among themselves
    only.
    """
    known = stem_class in _SONG or (stem_class in DRUM_PARTS and set(company) <= DRUM_PARTS)
    return known and company.count(stem_class) == 1


def told_by(stem_class: str, stems: Sequence[str]) -> bool:
    """Whether a separator for these stems says something of a class; see :func:`answer_of`."""
    return (_VOCALS if stem_class == INSTRUMENTAL else stem_class) in stems


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
    """A judge of certain stems.

    Attributes
    ----------
    stems : tuple of str
        Classes that its separator knows, in the order of what that returns.
    judge : Judge
    """

    stems: tuple[str, ...]
    judge: Judge

    def of(self, stem: Tensor, mixture: Tensor | None, stem_class: str) -> Heard | None:
        """Return a stem as the judge hears it.

        Parameters
        ----------
        stem, mixture : Tensor
            Audio of one or two channels, shape ``[batch, channels, samples]``; no mixture if the stem came alone.
        stem_class : str
            What it is.

        Returns
        -------
        Heard or None
            None of other classes and more channels.
        """
        channels = stem.shape[1]
        if not told_by(stem_class, self.stems) or channels > 2:
            return None
        own = stem.expand(-1, 2, -1)
        whole = own if mixture is None else mixture.expand(-1, 2, -1)
        answer = answer_of(self.judge.separate(whole), whole, self.stems, stem_class)
        settled = self.judge.settle(own, answer, whole, stem_class)
        return Heard(stft(torch.flatten(settled[:, :channels], 0, 1)), self.judge.gate)
