"""What the position between left and right says: how alike the channels are, and what a spatial filter would keep.

A multichannel Wiener filter (Duong, Vincent and Gribonval, 2010, "Under-determined reverberant audio source separation
using a full-rank spatial covariance model") with the stem and its siblings as its two sources: their powers come from
the estimates themselves, their spatial covariances from the whole segment. Where stem and siblings lie at different
places it tells whose energy a bin holds, whatever their magnitudes say.

Items are worked on one at a time and in real numbers, because that stays in the processor's cache.
"""

from __future__ import annotations

import dataclasses
from typing import NamedTuple

import torch
from torch import Tensor

from stemprover.spectral.bands import band_matrix, to_bands
from stemprover.spectral.codec import to_image
from stemprover.spectral.phase import BandFeatures, local_mean

__all__ = ["SpatialFeatures", "spatial_features", "swapped"]

_Pair = tuple[Tensor, Tensor]  # real and imaginary part, or one value per channel; [n_bins, frames]

_EPS = 1e-12
_LOADING = 1e-3  # of each source's mean power, on the diagonal: channels that are equal would have no inverse


class _Covariance(NamedTuple):
    """Of both channels of a source, relative to its mean power; all ``[n_bins, 1]``."""

    left: Tensor
    right: Tensor
    real: Tensor
    imag: Tensor


@dataclasses.dataclass(frozen=True)
class SpatialFeatures:
    """What both channels of a stereo pair tell about one of them; all ``[batch, n_bands, frames]``.

    Attributes
    ----------
    difference : Tensor
        Image minus the other channel's image at the same reference level; 0 for a mono stem.
    coherence : Tensor
        Local coherence of the two channels (3 bands, 7 frames), its real part: 1 for a mono stem, -1 for channels in
        opposite phase, 0 where there is silence.
    gain : Tensor
        What the spatial filter would change, as a band gain minus 1, in ``[-1, 1]``; 0 without siblings.
    """

    difference: Tensor
    coherence: Tensor
    gain: Tensor


def spatial_features(
    stem: Tensor, siblings: Tensor | None, other: Tensor | None, siblings_other: Tensor | None, features: BandFeatures
) -> SpatialFeatures:
    """Compute :class:`SpatialFeatures` of complex spectra ``[batch, n_bins, frames]``, one audio channel each.

    Parameters
    ----------
    stem, siblings : Tensor
        The channel to repair; no siblings if the stem came alone.
    other, siblings_other : Tensor or None
        The other channel of both; None for mono, which counts as two equal channels.
    features : BandFeatures
        Of stem and siblings.

    Returns
    -------
    SpatialFeatures
        Of the channel to repair.
    """
    pairs = zip(stem, stem if other is None else other, strict=True)
    if siblings is None:
        seen = [_seen(*map(_parts, own)) for own in pairs]
    else:
        rest = zip(siblings, siblings if siblings_other is None else siblings_other, strict=True)
        seen = [_seen(*map(_parts, (*own, *others))) for own, others in zip(pairs, rest, strict=True)]
    # Item by item: a whole batch of bins would not stay in the cache.
    product, power, kept = torch.stack([to_bands(torch.stack(maps)) for maps in seen], 1)
    width = band_matrix().to(stem.real).sum(1, keepdim=True)
    energy = features.magnitude.square() * width
    difference = features.image - to_image(torch.sqrt(power / width), features.level)
    local = local_mean(torch.stack([product, energy, power], 1))
    coherence = local[:, 0] / torch.sqrt(local[:, 1] * local[:, 2]).clamp_min(_EPS)
    gain = ((kept - energy) / (energy + _EPS)).clamp(-1.0, 1.0) * features.has_siblings
    return SpatialFeatures(difference, coherence, gain)


def swapped(spectra: Tensor | None) -> Tensor | None:
    """Return the other channel of each channel of stereo pairs ``[2 * pairs, ...]``."""
    return None if spectra is None else torch.unflatten(spectra, 0, (-1, 2)).flip(1).flatten(0, 1)


def _seen(
    stem: _Pair, other: _Pair, siblings: _Pair | None = None, siblings_other: _Pair | None = None
) -> tuple[Tensor, Tensor, Tensor]:
    """Stem times the other channel conjugated (real part), the other channel's power, and what the filter keeps."""
    product, powers = _product(stem, other), (_power(stem), _power(other))
    if siblings is None or siblings_other is None:
        return product[0], powers[1], powers[0]
    own, covariance = _covariance(powers, product)
    beside = _power(siblings), _power(siblings_other)
    rest, covariance_of_rest = _covariance(beside, _product(siblings, siblings_other))
    first = _product(_sum(stem, siblings), stem)
    second = _product(_sum(other, siblings_other), stem)
    return product[0], powers[1], _kept(own, covariance, rest, covariance_of_rest, first, second)


def _kept(
    own: Tensor, covariance: _Covariance, rest: Tensor, covariance_of_rest: _Covariance, first: _Pair, second: _Pair
) -> Tensor:  # fmt: skip
    """Real part of the filtered stem times the stem conjugated.

    With C and v the covariance of each source at a bin and its power at a frame, and x the sum of both sources, this is
    ``Re(v C (v C + v_rest C_rest)^-1 x stem*)`` of the first channel, written out, with the diagonals of what is
    inverted loaded; ``first`` and ``second`` are the channels of ``x stem*``.
    """
    a, d, b_real, b_imag = covariance
    p, q, g_real, g_imag = covariance_of_rest
    load, load_rest = _LOADING / 2 * (a + d), _LOADING / 2 * (p + q)
    left = torch.addcmul(own * (a + load) + _EPS, rest, p + load_rest)
    right = torch.addcmul(own * (d + load) + _EPS, rest, q + load_rest)
    real = torch.addcmul(own * b_real, rest, g_real)
    imag = torch.addcmul(own * b_imag, rest, g_imag)
    kept = a * (right * first[0] - real * second[0] + imag * second[1])
    kept += left * (b_real * second[0] - b_imag * second[1])
    kept -= b_real * (real * first[0] + imag * first[1])
    kept += b_imag * (real * first[1] - imag * first[0])
    return kept * own / (left * right - real.square() - imag.square())


def _covariance(powers: _Pair, product: _Pair) -> tuple[Tensor, _Covariance]:
    """Mean power of both channels over time, and their covariance per bin."""
    mean = (powers[0] + powers[1]) / 2
    total = mean.sum(-1, keepdim=True) + _EPS
    return mean, _Covariance(*(part.sum(-1, keepdim=True) / total for part in (*powers, *product)))


def _parts(spectrum: Tensor) -> _Pair:
    return spectrum.real.contiguous(), spectrum.imag.contiguous()


def _power(one: _Pair) -> Tensor:
    return torch.addcmul(one[0].square(), one[1], one[1])


def _sum(one: _Pair, two: _Pair) -> _Pair:
    return one[0] + two[0], one[1] + two[1]


def _product(one: _Pair, two: _Pair) -> _Pair:
    """One times the conjugate of the other."""
    real = torch.addcmul(one[0] * two[0], one[1], two[1])
    return real, torch.addcmul(one[1] * two[0], one[0], two[1], value=-1.0)
