"""What phase says about an artifact: deviation from regular phase, and coherence between spectra.

Everything is a product of unit vectors, so differences are anti-wrapped by construction: no angle is ever unwrapped.
"""

from __future__ import annotations

import dataclasses

import torch
from torch import Tensor
from torch.nn import functional

from stemprover.spectral.bands import band_matrix, to_bands
from stemprover.spectral.codec import reference_level, to_image
from stemprover.spectral.stft import power, product

__all__ = [
    "BandFeatures",
    "band_coherence",
    "band_features",
    "group_delay_deviation",
    "instantaneous_frequency_deviation",
    "local_mean",
    "unit",
]

_EPS = 1e-12
_TINY = 1e-20  # small enough for silence; its -1.5th power, which the gradient holds, is still a float32


def unit(spectrum: Tensor) -> Tensor:
    """Return the spectrum with magnitude one (silence stays zero), same shape."""
    return spectrum * torch.rsqrt(power(spectrum).clamp_min(_TINY))


def _deviation(steps: Tensor, dim: int) -> Tensor:
    """``(1 - cos) / 2`` of the change between successive unit phase steps, zero-padded by one at both ends."""
    later = torch.narrow(steps, dim, 1, steps.shape[dim] - 1)
    earlier = torch.narrow(steps, dim, 0, steps.shape[dim] - 1)
    deviation = 0.5 - 0.5 * torch.addcmul(later.real * earlier.real, later.imag, earlier.imag)
    return functional.pad(deviation, (1, 1) if dim == -1 else (0, 0, 1, 1))


def group_delay_deviation(spectrum: Tensor) -> Tensor:
    """Change of group delay from bin to bin: the second difference of phase over frequency.

    Parameters
    ----------
    spectrum : Tensor
        Unit spectrum (see :func:`unit`), complex, shape ``[*, n_bins, frames]``.

    Returns
    -------
    Tensor
        ``(1 - cos) / 2`` of that difference, real, same shape, in ``[0, 1]``: 0 for a single click in the frame,
        1/2 on average where the bins lost their common phase.
    """
    return _deviation(spectrum[..., 1:, :] * spectrum[..., :-1, :].conj(), -2)


def instantaneous_frequency_deviation(spectrum: Tensor) -> Tensor:
    """Change of instantaneous frequency from frame to frame: the second difference of phase over time.

    Same shapes and range as :func:`group_delay_deviation`; 0 for a steady tone.
    """
    return _deviation(spectrum[..., 1:] * spectrum[..., :-1].conj(), -1)


def local_mean(values: Tensor) -> Tensor:
    """Mean over 3 bands and 7 frames, with zeros beyond the edges: ``[*, n_bands, frames]``, same shape."""
    for dim, width in ((-2, 3), (-1, 7)):
        beyond = [0, 0, width // 2, width // 2] if dim == -2 else [width // 2, width // 2]
        padded, size = functional.pad(values, beyond), values.shape[dim]
        # Sums of slices take a seventh of the time of avg_pool2d on a CPU.
        total = torch.narrow(padded, dim, 0, size) + torch.narrow(padded, dim, 1, size)
        for offset in range(2, width):
            total += torch.narrow(padded, dim, offset, size)
        values = total / width
    return values


def band_coherence(cross: Tensor, power_a: Tensor, power_b: Tensor) -> Tensor:
    """Local coherence from band sums, ``<a b*> / sqrt(<|a|^2> <|b|^2>)``, averaged over 3 bands and 7 frames.

    Parameters
    ----------
    cross : Tensor
        Real and imaginary part of the cross spectrum summed over each band, shape ``[batch, 2, n_bands, frames]``.
    power_a, power_b : Tensor
        Power summed over each band, shape ``[batch, n_bands, frames]``.

    Returns
    -------
    Tensor
        Shape ``[batch, 2, n_bands, frames]``, of magnitude at most 1; zero where either is silent.
    """
    maps = local_mean(torch.cat([cross, power_a.unsqueeze(1), power_b.unsqueeze(1)], dim=1))
    return maps[:, :2] / torch.sqrt(maps[:, 2:3] * maps[:, 3:4]).clamp_min(_EPS)


@dataclasses.dataclass(frozen=True)
class BandFeatures:
    """What both networks read of a batch of segments (one channel each); all ``[batch, n_bands, frames]``.

    Attributes
    ----------
    magnitude : Tensor
        Linear band magnitude of the stem.
    level : Tensor
        Reference level of the images, shape ``[batch, 1, 1]``.
    image, sibling_image : Tensor
        Compressed band magnitudes of stem and siblings (zero without siblings).
    has_siblings : Tensor
        1 or 0, constant per item.
    coherence_real, coherence_imag : Tensor
        Local coherence of stem and siblings.
    group_delay, frequency : Tensor
        Energy-weighted band means of the two phase deviations.
    """

    magnitude: Tensor
    level: Tensor
    image: Tensor
    sibling_image: Tensor
    has_siblings: Tensor
    coherence_real: Tensor
    coherence_imag: Tensor
    group_delay: Tensor
    frequency: Tensor


def band_features(stem: Tensor, siblings: Tensor | None) -> BandFeatures:
    """Compute :class:`BandFeatures` of complex spectra ``[batch, n_bins, frames]``."""
    width = band_matrix().to(stem.real).sum(1, keepdim=True)
    energy = power(stem)
    phase = stem * torch.rsqrt(energy.clamp_min(_TINY))
    total = to_bands(energy)
    group_delay = to_bands(group_delay_deviation(phase) * energy) / total.clamp_min(_EPS)
    frequency = to_bands(instantaneous_frequency_deviation(phase) * energy) / total.clamp_min(_EPS)
    magnitude = torch.sqrt(total / width)
    silent = torch.zeros_like(magnitude)
    if siblings is None:
        level, sibling_image = reference_level(magnitude), silent
        real = imag = present = silent
    else:
        sibling_total = to_bands(power(siblings))
        sibling_magnitude = torch.sqrt(sibling_total / width)
        level = reference_level(magnitude, sibling_magnitude)
        sibling_image = to_image(sibling_magnitude, level)
        present = (sibling_image.amax(dim=(-2, -1), keepdim=True) > 0).to(magnitude).expand_as(magnitude)
        in_phase, quadrature = product(stem, siblings), product(stem, siblings * 1j)
        cross = torch.stack([to_bands(in_phase), to_bands(quadrature)], dim=1)
        real, imag = band_coherence(cross, total, sibling_total).unbind(1)
    image = to_image(magnitude, level)
    return BandFeatures(magnitude, level, image, sibling_image, present, real, imag, group_delay, frequency)
