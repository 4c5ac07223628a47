"""What a gate leaves of a change."""

from __future__ import annotations

import torch
from torch import Tensor

from stemprover.spectral.bands import to_bands, to_bins
from stemprover.spectral.phase import BandFeatures
from stemprover.spectral.stft import power
from stemprover.synthesis.evidence import evidence
from stemprover.synthesis.gate import Gate

__all__ = ["judged"]


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
    shares = gate(evidence(stem, siblings, change, features, channels))
    energy = torch.unflatten(to_bands(power(change).sum(-1, keepdim=True)).squeeze(-1), 0, (-1, channels)).sum(1)
    mean = (shares * energy).sum(1) / energy.sum(1).clamp_min(1e-12)
    return to_bins(shares.repeat_interleave(channels, 0).unsqueeze(-1)), mean
