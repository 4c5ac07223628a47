"""What a repair would do, summed up in ratios from which :mod:`stemprover.synthesis.gate` tells whether it helps."""

from __future__ import annotations

import torch
from torch import Tensor

from stemprover.spectral.bands import band_matrix, to_bands
from stemprover.spectral.phase import BandFeatures
from stemprover.spectral.stft import power, product

__all__ = ["CUES", "EVIDENCE", "PARTS", "evidence"]

_EPS = 1e-12
_QUIET = 1e-4  # of a part's loudest band: what lies below says nothing about its texture
PARTS = 4
"""Into how many parts the spectrum is cut."""
CUES = (
    "change_level",
    "sibling_level",
    "stem_share",
    "sibling_share",
    "change_share",
    "change_with_stem",
    "change_with_siblings",
    "stem_with_siblings",
    "gain",
    "gain_spread",
    "coherence_of_stem",
    "coherence_of_change",
    "coherence_of_siblings",
    "coherence_where_louder",
    "coherence_where_softer",
    "stem_louder",
    "change_where_louder",
    "group_delay_deviation",
    "instantaneous_frequency_deviation",
    "stem_flatness",
    "sibling_flatness",
    "change_flatness",
)
EVIDENCE = tuple(f"{part}/{cue}" for part in ("all", *map(str, range(PARTS))) for cue in CUES)
"""What :func:`evidence` measures, in order: each cue in the whole spectrum, then in its parts from low to high."""


def evidence(
    stem: Tensor, siblings: Tensor | None, change: Tensor, features: BandFeatures, channels: int = 1
) -> Tensor:
    """Sum up what a repair would do to each of a batch of segments.

    All cues are ratios, so that turning everything up or down changes none. A segment's channels are summed up
    together: different answers would move what is repaired from one to another.

    Parameters
    ----------
    stem, siblings : Tensor
        Complex spectra ``[batch, n_bins, frames]``; no siblings if the stem came alone.
    change : Tensor
        What the repair would add to the stem, same shape, zero where it may change nothing.
    features : BandFeatures
        Of stem and siblings.
    channels : int
        How many successive items of the batch are the channels of one segment.

    Returns
    -------
    Tensor
        Shape ``[batch / channels, len(EVIDENCE)]``.
    """
    own = features.magnitude.square() * band_matrix().to(stem.real).sum(1, keepdim=True)
    changed = to_bands(power(change))
    with_stem = to_bands(product(change, stem))
    beside = with_siblings = torch.zeros_like(own)
    if siblings is not None:
        beside = to_bands(power(siblings))
        with_siblings = to_bands(product(change, siblings))
    maps = torch.stack(
        [
            own,
            beside,
            changed,
            with_stem,
            with_siblings,
            features.coherence_real * torch.sqrt(own * beside),
            features.coherence_real.square() + features.coherence_imag.square(),
            features.group_delay,
            features.frequency,
        ]
    )
    maps = torch.cat(torch.unflatten(maps, 1, (-1, channels)).unbind(2), dim=-1)  # one after the other in time
    totals = maps[:3].sum((-2, -1))
    parts = (maps, *maps.chunk(PARTS, dim=-2))
    return torch.cat([_cues(part, totals) for part in parts], dim=1)


def _cues(maps: Tensor, totals: Tensor) -> Tensor:
    """Cues of one part of the spectrum, shape ``[batch, len(CUES)]``."""
    own, beside, changed, with_stem, _, _, coherence, group_delay, frequency = maps
    sums = maps[:6].sum((-2, -1))
    stem, sibling, change = sums[:3]
    gain = (with_stem / (own + _EPS + 1e-9 * totals[0, :, None, None])).clamp(-1.0, 1.5)
    mean_gain = _weighted(gain, own)
    louder = (own > beside).to(own)
    cues = (
        _bels(change, stem),
        _bels(sibling, stem),
        _bels(stem, totals[0]),
        _bels(sibling, totals[1]),
        _bels(change, totals[2]),
        sums[3] / torch.sqrt(stem * change + _EPS),
        sums[4] / torch.sqrt(sibling * change + _EPS),
        sums[5] / torch.sqrt(stem * sibling + _EPS),
        mean_gain,
        torch.sqrt(_weighted((gain - mean_gain[:, None, None]).square(), own)),
        _weighted(coherence, own),
        _weighted(coherence, changed),
        _weighted(coherence, beside),
        _weighted(coherence * louder, own),
        _weighted(coherence * (1.0 - louder), own),
        _weighted(louder, own),
        _weighted(louder, changed),
        _weighted(group_delay, own),
        _weighted(frequency, own),
        _flatness(own),
        _flatness(beside),
        _flatness(changed),
    )
    return torch.stack(cues, dim=1)


def _bels(energy: Tensor, reference: Tensor) -> Tensor:
    return torch.log10((energy + _EPS) / (reference + _EPS)).clamp(-6.0, 6.0)


def _weighted(values: Tensor, weight: Tensor) -> Tensor:
    return (values * weight).sum((-2, -1)) / (weight.sum((-2, -1)) + _EPS)


def _flatness(energy: Tensor) -> Tensor:
    """Geometric over arithmetic mean, in bels."""
    floor = _QUIET * energy.amax((-2, -1), keepdim=True) + _EPS
    return torch.log10(energy + floor).mean((-2, -1)) - torch.log10(energy.mean((-2, -1)) + _EPS)
