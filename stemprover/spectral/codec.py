"""The spectrogram image and its lossless patch codec.

An image is the band magnitude of one channel relative to a reference level, compressed by a power law. Compression
keeps an exact zero and turns a gain into a ratio of powers, so a restored image reads back as a band gain.
"""

from __future__ import annotations

import torch
from einops import rearrange
from torch import Tensor

from stemprover.spectral.spec import SPEC, SpectralSpec

__all__ = ["band_gain", "decode", "encode", "from_image", "patchify", "reference_level", "to_image", "unpatchify"]

_FLOOR = 1e-7
"""Smallest reference level: digital silence maps to a black image instead of dividing by zero."""

_SOFTEN = 0.01
"""Added to both sides of the gain's ratio, in image units: about -130 dB re the loudest band, so silence has gain 1."""


def reference_level(magnitude: Tensor, siblings: Tensor | None = None) -> Tensor:
    """Level that maps to 1 in the image: the loudest band, or a tenth of the siblings' where those are far louder.

    Parameters
    ----------
    magnitude, siblings : Tensor
        Linear band magnitude, shape ``[batch, n_bands, frames]``.

    Returns
    -------
    Tensor
        Shape ``[batch, 1, 1]``.
    """
    level = magnitude.amax(dim=(-2, -1), keepdim=True)
    if siblings is not None:
        level = torch.maximum(level, 0.1 * siblings.amax(dim=(-2, -1), keepdim=True))
    return level.clamp_min(_FLOOR)


def to_image(magnitude: Tensor, level: Tensor, spec: SpectralSpec = SPEC) -> Tensor:
    """Compress linear band magnitude: ``(magnitude / level) ** exponent``, same shape."""
    return (magnitude / level).clamp_min(0.0) ** spec.exponent


def from_image(image: Tensor, level: Tensor, spec: SpectralSpec = SPEC) -> Tensor:
    """Undo :func:`to_image`; negative image values read as silence."""
    return level * image.clamp_min(0.0) ** (1.0 / spec.exponent)


def band_gain(degraded: Tensor, restored: Tensor, max_gain: float = 4.0, spec: SpectralSpec = SPEC) -> Tensor:
    """Linear band gain that turns one image into the other, at most ``max_gain`` (12 dB)."""
    ratio = (restored.clamp_min(0.0) + _SOFTEN) / (degraded + _SOFTEN)
    return ratio.clamp_max(max_gain**spec.exponent) ** (1.0 / spec.exponent)


def patchify(image: Tensor, spec: SpectralSpec = SPEC) -> Tensor:
    """Space-to-depth: ``[batch, channels, n_bands, frames] -> [batch, channels * p * p, n_bands / p, frames / p]``."""
    latents: Tensor = rearrange(image, "b c (h p) (w q) -> b (c p q) h w", p=spec.patch, q=spec.patch)
    return latents


def unpatchify(latents: Tensor, spec: SpectralSpec = SPEC) -> Tensor:
    """Exact inverse of :func:`patchify`."""
    image: Tensor = rearrange(latents, "b (c p q) h w -> b c (h p) (w q)", p=spec.patch, q=spec.patch)
    return image


def encode(image: Tensor, spec: SpectralSpec = SPEC) -> Tensor:
    """Latents of an image ``[batch, 1, n_bands, frames]``: patches, shifted and scaled. Lossless."""
    return (patchify(image, spec) - spec.image_shift) * spec.image_scale


def decode(latents: Tensor, spec: SpectralSpec = SPEC) -> Tensor:
    """Image of latents; inverse of :func:`encode` up to float rounding."""
    return unpatchify(latents / spec.image_scale + spec.image_shift, spec)
