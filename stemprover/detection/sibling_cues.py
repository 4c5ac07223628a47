"""What the siblings give away: a stem's cell that moves and rings as a sibling does holds some of that sibling."""

from __future__ import annotations

import dataclasses

import torch
from torch import Tensor

from stemprover.detection.grid import band_envelope, pool_mean, pool_sum
from stemprover.detection.stem_cues import decibel, detrend
from stemprover.spectral.spec import SPEC, SpectralSpec

__all__ = ["SIBLING_CUES", "Voice", "sibling_cues", "similarity", "voice"]

_EPS = 1e-20
_DOMINANT = 10.0
_LOCK_EXPONENT = 0.25
_CLOSED = 0.01

SIBLING_CUES = (
    "sibling_envelope_correlation",
    "sibling_fine_correlation",
    "sibling_coherence",
    "sibling_in_phase",
    "sibling_level",
    "sibling_in_block",
    "sibling_flux",
    "sibling_fine_spread",
    "energy_under_sibling",
    "energy_far_under_sibling",
    "sibling_energy_under_stem",
    "phase_lock",
    "gain_spread",
    "gain_share_closed",
    "gain_share_open",
)


@dataclasses.dataclass(frozen=True)
class Voice:
    """One signal in the forms that the cues need.

    Attributes
    ----------
    real, imag : Tensor
        Spectrum of the mid channel, ``[n_bins, frames]``.
    power : Tensor
        Mean of ``|X| ** 2`` over channels, ``[n_bins, frames]``.
    level_db, fine_db : Tensor
        ``power`` in dB with a floor 120 dB below its peak, and the same detrended, ``[n_bins, frames]``.
    envelope_db : Tensor
        Level of each band over time with its mean over the cell removed, ``[cells, n_cell_bands, cell_frames]``.
    """

    real: Tensor
    imag: Tensor
    power: Tensor
    level_db: Tensor
    fine_db: Tensor
    envelope_db: Tensor


def voice(spectrum: Tensor, spec: SpectralSpec = SPEC) -> Voice:
    """Prepare a signal from its :func:`~stemprover.detection.grid.block_spectrum`."""
    real, imag = spectrum
    power = (real.square() + imag.square()).mean(0)
    level_db = 10 * torch.log10(power + power.amax() * 1e-12 + _EPS)
    envelope = band_envelope(power, spec)
    envelope_db = 10 * torch.log10(envelope + envelope.amax() * 1e-10 + _EPS)
    centred = envelope_db - envelope_db.mean(-1, keepdim=True)
    return Voice(real.mean(0), imag.mean(0), power, level_db, detrend(level_db), centred)


def similarity(stem: Voice, sibling: Voice, spec: SpectralSpec = SPEC) -> dict[str, Tensor]:
    """Correlation of envelopes and of fine structure, and coherence, each ``[cells, n_cell_bands]``."""
    shared = (stem.envelope_db * sibling.envelope_db).mean(-1)
    spread = torch.sqrt(stem.envelope_db.square().mean(-1) * sibling.envelope_db.square().mean(-1))
    fine = pool_mean(stem.fine_db * sibling.fine_db, spec)
    fine_spread = torch.sqrt(pool_mean(stem.fine_db.square(), spec) * pool_mean(sibling.fine_db.square(), spec))
    in_phase = pool_sum(stem.real * sibling.real + stem.imag * sibling.imag, spec)
    quadrature = pool_sum(stem.imag * sibling.real - stem.real * sibling.imag, spec)
    scale = torch.sqrt(pool_sum(stem.power, spec) * pool_sum(sibling.power, spec)) + _EPS
    return {
        "sibling_envelope_correlation": shared / (spread + 1e-2),
        "sibling_fine_correlation": fine / (fine_spread + 1e-2),
        "sibling_coherence": torch.hypot(in_phase, quadrature) / scale,
        "sibling_in_phase": in_phase / scale,
    }


def _mask_cues(stem: Voice, residual: Voice, spec: SpectralSpec) -> dict[str, Tensor]:
    """Traces of a separator's mask: where two parts were made by gains on one mixture, they share its phase.

    Weighted with the weaker of the two, as only bins that both parts hold tell anything.
    """
    magnitudes = torch.sqrt(stem.power * residual.power)
    in_phase = (stem.real * residual.real + stem.imag * residual.imag) / (magnitudes + _EPS)
    weight = torch.minimum(stem.power, residual.power).pow(_LOCK_EXPONENT)
    gain = stem.power / (stem.power + residual.power + _EPS)
    mean = pool_mean(gain, spec)
    return {
        "phase_lock": pool_sum(in_phase * weight, spec) / (pool_sum(weight, spec) + _EPS),
        "gain_spread": (pool_mean(gain.square(), spec) - mean.square()).clamp(min=0).sqrt(),
        "gain_share_closed": pool_mean((gain < _CLOSED).float(), spec),
        "gain_share_open": pool_mean((gain > 1 - _CLOSED).float(), spec),
    }


def sibling_cues(stem: Voice, residual: Voice, spec: SpectralSpec = SPEC) -> dict[str, Tensor]:
    """All cues of ``SIBLING_CUES``, in that order: the stem beside the sum of everything else in the mixture."""
    own, other = pool_sum(stem.power, spec), pool_sum(residual.power, spec)
    under = stem.power < residual.power
    far_under = stem.power * _DOMINANT < residual.power
    over = residual.power * _DOMINANT < stem.power
    shares = [pool_sum(part, spec) for part in (stem.power * under, stem.power * far_under, residual.power * over)]
    cues = similarity(stem, residual, spec) | _mask_cues(stem, residual, spec)
    cues |= {
        "sibling_level": decibel(other, own),
        "sibling_in_block": decibel(other, other.amax().expand_as(other)),
        "sibling_flux": residual.envelope_db.diff(dim=-1).abs().mean(-1),
        "sibling_fine_spread": pool_mean(residual.fine_db.square(), spec).sqrt(),
        "energy_under_sibling": shares[0] / (own + _EPS),
        "energy_far_under_sibling": shares[1] / (own + _EPS),
        "sibling_energy_under_stem": shares[2] / (other + _EPS),
    }
    return {name: cues[name] for name in SIBLING_CUES}
