"""What the host's own separators share: stem orders, level of the input, resolution of masks."""

from __future__ import annotations

import torch
from torch import Tensor

from stemprover.spectral.spec import SpectralSpec
from stemprover.spectral.stft import istft, stft

__all__ = ["KIT_STEMS", "STEMS", "apply_logits", "apply_masks", "normalise", "spectrum_of"]

STEMS = ("drums", "bass", "other", "vocals")
"""A song's stems, in the order of a network's output."""

KIT_STEMS = ("kick", "snare", "toms", "hihat", "cymbals")
"""A drum kit's stems, likewise."""

_QUIET = 1e-5


def normalise(audio: Tensor) -> tuple[Tensor, Tensor]:
    """Return audio at unit root-mean-square and its level, so that a network answers alike at every loudness.

    Parameters
    ----------
    audio : Tensor
        Float32, shape ``[batch, 2, samples]``.

    Returns
    -------
    tuple of Tensor
        The audio, and the level, shape ``[batch, 1, 1]``; silence stays silent.
    """
    level = audio.square().mean((1, 2), keepdim=True).sqrt()
    return audio / (level + _QUIET), level


def spectrum_of(audio: Tensor, spec: SpectralSpec) -> tuple[Tensor, Tensor]:
    """STFT ``[batch, channels, n_bins, frames]`` and its magnitude relative to the level of all, compressed by 0.3."""
    with torch.autocast(audio.device.type, enabled=False):
        spectrum = stft(audio.float(), spec)
        level = audio.float().square().mean((1, 2), keepdim=True).sqrt()[..., None] + _QUIET
        return spectrum, (spectrum.abs() / (level * spec.n_fft**0.5)) ** 0.3


def apply_masks(masks: Tensor, spectrum: Tensor, samples: int, spec: SpectralSpec) -> Tensor:
    """Apply masks ``[batch, stems, 2, n_bins, frames]`` and return audio, ``[batch, stems, 2, samples]``."""
    with torch.autocast(spectrum.device.type, enabled=False):
        # Real times complex would first widen the masks to complex numbers.
        masked = masks.float()[..., None] * torch.view_as_real(spectrum)[:, None]
        return istft(torch.view_as_complex(masked), samples, spec)


def apply_logits(logits: Tensor, spectrum: Tensor, samples: int, spec: SpectralSpec) -> Tensor:
    """Apply masks between 0 and 1 whose logits leave out the highest bin, which shares its neighbour's mask.

    Logits are ``[batch, stems, 2, n_bins - 1, frames]``, an even number of bins; see :func:`apply_masks`.
    """
    masks = torch.sigmoid(logits.float())
    return apply_masks(torch.cat([masks, masks[..., -1:, :]], dim=-2), spectrum, samples, spec)
