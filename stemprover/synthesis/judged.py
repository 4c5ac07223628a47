"""What a gate leaves of a change."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from stemprover.spectral.bands import to_bins
from stemprover.spectral.phase import BandFeatures
from stemprover.spectral.stft import power
from stemprover.synthesis.blend import change_of
from stemprover.synthesis.evidence import evidence
from stemprover.synthesis.gate import Gate

__all__ = ["judged", "led_towards"]


def judged(
    gate: Gate, change: Tensor, stem: Tensor, siblings: Tensor | None, features: BandFeatures, channels: int
) -> tuple[Tensor, Tensor]:
    """Ask a gate about the changes of a batch of segments.

    Parameters
    ----------
    gate : callable
        See :data:`~stemprover.synthesis.gate.Gate`.
    change, stem, siblings, features, channels
        See :func:`~stemprover.synthesis.evidence.evidence`.

    Returns
    -------
    tuple of Tensor
        The share that each bin gets, shape ``[batch, n_bins, 1]``, and what that is of the whole change, a mean over
        its energy, shape ``[batch / channels]``.
    """
    shares = _asked(gate, change, stem, siblings, features, channels)
    return shares, _mean([(shares, change)], channels)


def led_towards(
    change: Tensor,
    answer: Tensor,
    wet: Tensor,
    gate: Gate,
    stem: Tensor,
    siblings: Tensor | None,
    features: BandFeatures,
    channels: int,
) -> tuple[Tensor, Tensor]:
    """Lead what is changed already towards another network's answer as far as a gate believes it.

    Where something is wrong with a poor stem, its other bands are mostly poor as well, found or not, and the answer is
    about all of them. Of a good stem with a fault in a few bands the answer is right in these, and no better elsewhere.
    So the gate is asked twice, about the bands where something was found and about all bands at those moments, and
    what was found gets the larger share.

    Parameters
    ----------
    change : Tensor
        What is added to the stem so far, complex spectrum, zero where ``wet`` is.
    answer : Tensor
        The stem as the other network hears it, same shape.
    wet : Tensor
        Where something was found, 0 to 1, shape ``[batch, n_bands, frames]``.
    gate, stem, siblings, features, channels
        See :func:`judged`.

    Returns
    -------
    tuple of Tensor
        The new change, zero at moments where nothing was found; and the share of the answer that was taken, a mean over
        the energy of what leads to it, shape ``[batch / channels]``.
    """
    found = change_of(stem, answer, wet)
    whole = change_of(stem, answer, wet.amax(1, keepdim=True).expand_as(wet))
    everywhere = _asked(gate, whole, stem, siblings, features, channels)
    here = torch.maximum(_asked(gate, found, stem, siblings, features, channels), everywhere)
    beside = whole - found
    taken = _mean([(here, found), (everywhere, beside)], channels)
    return change + here * (found - change) + everywhere * beside, taken


def _asked(
    gate: Gate, change: Tensor, stem: Tensor, siblings: Tensor | None, features: BandFeatures, channels: int
) -> Tensor:
    shares = gate(evidence(stem, siblings, change, features, channels))
    return to_bins(shares.repeat_interleave(channels, 0).unsqueeze(-1))


def _mean(parts: Sequence[tuple[Tensor, Tensor]], channels: int) -> Tensor:
    """Mean of shares over the energy of the changes that get them, shape ``[batch / channels]``."""

    def summed(energy: Tensor) -> Tensor:
        return torch.unflatten(energy.sum((-2, -1)), 0, (-1, channels)).sum(1)

    whole = torch.stack([summed(power(change)) for _, change in parts]).sum(0)
    kept = torch.stack([summed(shares * power(change)) for shares, change in parts]).sum(0)
    return kept / whole.clamp_min(1e-12)
