"""What stems leave of their mixture, shared out among them.

The residue (mixture minus the sum of the stems) is shared out per time-frequency bin in proportion to the stems' power,
as a Wiener filter would (Wisdom et al., 2019, "Differentiable consistency constraints for improved deep speech
enhancement", with power weights). Weights sum to one in every bin, hence the shares sum to the residue.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch

from stemprover.spectral.stft import istft, power, stft

__all__ = ["share_residue"]


def share_residue(mixture: np.ndarray, stems: Sequence[np.ndarray]) -> list[np.ndarray]:
    """Return what to add to each stem so that all sum to the mixture.

    Parameters
    ----------
    mixture : ndarray
        Float64, shape ``[channels, samples]``.
    stems : sequence of ndarray
        Same shape each.

    Returns
    -------
    list of ndarray
        Float64; they sum to ``mixture - sum(stems)`` up to float64 rounding: the loudest stem's share takes what the
        float32 transforms leave.
    """
    residue = mixture - np.sum(stems, axis=0)
    if not residue.any():
        return [np.zeros_like(residue) for _ in stems]
    spectra = torch.stack([stft(torch.from_numpy(stem).float()) for stem in stems])
    weights = power(spectra) + 1e-10
    weights = weights / weights.sum(0)
    parts = istft(weights * stft(torch.from_numpy(residue).float()), residue.shape[-1])
    shares = [part.double().numpy() for part in parts]
    loudest = int(torch.argmax(power(spectra).sum((1, 2, 3))))
    shares[loudest] = shares[loudest] + residue - np.sum(shares, axis=0)
    return shares
