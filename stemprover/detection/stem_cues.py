"""What a stem alone gives away: texture, phase, stereo image, edges and holes, cell by cell.

Every function takes maps over bins and frames and returns named maps over cells, ``[cells, n_cell_bands]``. All cues
are ratios, so that turning a stem up or down changes none of them.
"""

from __future__ import annotations

import torch
from torch import Tensor

from stemprover.detection.grid import band_envelope, bins_mean, by_cell, pool_mean, pool_sum
from stemprover.spectral.spec import SPEC, SpectralSpec

__all__ = [
    "decibel",
    "detrend",
    "edge_cues",
    "level_cues",
    "phase_cues",
    "stereo_cues",
    "structure_cues",
    "texture_cues",
]

_EPS = 1e-20
_RANGE_DB = 100.0
_HOLE_DB, _PEAK_DB = -15.0, 10.0


def decibel(power: Tensor, reference: Tensor) -> Tensor:
    """Power in dB re ``reference``, clipped to ``-100 ... 100``; 0 dB where both vanish."""
    return (10 * torch.log10((power + _EPS) / (reference + _EPS))).clamp(-_RANGE_DB, _RANGE_DB)


def _wrap(phase: Tensor) -> Tensor:
    """Anti-wrapping: the distance of a phase from the nearest multiple of 2 pi."""
    return phase - (phase * (0.5 / torch.pi)).round_().mul_(2 * torch.pi)


def _shifted(values: Tensor, dim: int) -> Tensor:
    """Difference to the previous element, the first one zero, so that the shape stays."""
    return values.diff(dim=dim, prepend=values.narrow(dim, 0, 1))


def level_cues(power: Tensor, spec: SpectralSpec = SPEC) -> dict[str, Tensor]:
    """How loud a cell is beside its block, its moment and its lower neighbour."""
    energy = pool_sum(power, spec)
    below = torch.cat([energy[:, :1], energy[:, :-1]], 1)
    return {
        "level_in_block": decibel(energy, energy.amax().expand_as(energy)),
        "level_in_moment": decibel(energy, energy.sum(1, keepdim=True).expand_as(energy)),
        "moment_in_block": decibel(energy.sum(1, keepdim=True), energy.sum(1).amax()).expand_as(energy),
        "step_from_below": decibel(energy, below),
    }


def texture_cues(power: Tensor, level_db: Tensor, spec: SpectralSpec = SPEC) -> dict[str, Tensor]:
    """Flatness, crest and how a band's envelope moves.

    Parameters
    ----------
    power, level_db : Tensor
        ``|X| ** 2`` and the same in dB, shape ``[n_bins, frames]``.
    """
    long_term = by_cell(power, spec).mean(-1)
    envelope = band_envelope(power, spec)
    envelope_db = 10 * torch.log10(envelope + envelope.amax() * 1e-10 + _EPS)
    centred = envelope_db - envelope_db.mean(-1, keepdim=True)
    variance = centred.square().mean(-1)
    steps = envelope_db.diff(dim=-1)
    log_mean = bins_mean(10 * torch.log10(long_term + _EPS), spec)
    cues = {
        "flatness": pool_mean(level_db, spec) - 10 * torch.log10(pool_mean(power, spec) + _EPS),
        "long_flatness": log_mean - 10 * torch.log10(bins_mean(long_term, spec) + _EPS),
        "time_crest": decibel(envelope.amax(-1), envelope.mean(-1)),
        "time_dip": decibel(envelope.amin(-1), envelope.mean(-1)),
        "flux": steps.abs().mean(-1),
        "largest_rise": steps.amax(-1),
        "envelope_spread": variance.sqrt(),
    }
    for lag in (2, 4, 8):
        product = (centred[..., lag:] * centred[..., :-lag]).mean(-1)
        cues[f"envelope_period_{lag}"] = product / (variance + 1e-3)
    return cues


def _running_mean(values: Tensor, width: int, dim: int) -> Tensor:
    """Mean over ``width`` (odd) neighbours with repeated ends; sums of slices beat pooling and convolution here."""
    half, size = width // 2, values.shape[dim]
    ends = (values.narrow(dim, 0, 1), values.narrow(dim, size - 1, 1))
    padded = torch.cat([ends[0]] * half + [values] + [ends[1]] * half, dim)
    total = padded.narrow(dim, 0, size).clone()
    for offset in range(1, width):
        total += padded.narrow(dim, offset, size)
    return total / width


def detrend(level_db: Tensor) -> Tensor:
    """Level minus its mean over 9 bins and 5 frames: what stands out locally, in dB, ``[n_bins, frames]``."""
    return level_db - _running_mean(_running_mean(level_db, 9, 0), 5, 1)


def structure_cues(fine_db: Tensor, spec: SpectralSpec = SPEC) -> dict[str, Tensor]:
    """Holes, isolated peaks and periodic patterns (checkerboards) in the detrended level.

    A pattern repeating every ``n`` frames or bins shows as a high autocorrelation at lag ``n`` beside a low one at
    ``n / 2``; strided decoders leave such grids.
    """
    variance = pool_mean(fine_db.square(), spec)
    holes = (_HOLE_DB - fine_db).clamp(min=0)
    peaks = (fine_db - _PEAK_DB).clamp(min=0)
    cues = {
        "fine_spread": variance.sqrt(),
        "hole_share": pool_mean((holes > 0).float(), spec),
        "hole_depth": pool_mean(holes, spec),
        "peak_share": pool_mean((peaks > 0).float(), spec),
    }
    for name, bins, frames in (
        ("time_1", 0, 1),
        ("time_2", 0, 2),
        ("time_4", 0, 4),
        ("bins_1", 1, 0),
        ("bins_2", 2, 0),
        ("bins_4", 4, 0),
        ("diagonal", 1, 1),
    ):
        product = torch.zeros_like(fine_db)
        later = fine_db[bins:, frames:]
        torch.mul(later, fine_db[: later.shape[0], : later.shape[1]], out=product[bins:, frames:])
        cues[f"grid_{name}"] = pool_mean(product, spec) / (variance + 1e-2)
    return cues


def phase_cues(phase: Tensor, weight: Tensor, spec: SpectralSpec = SPEC) -> dict[str, Tensor]:
    """Group-delay and instantaneous-frequency deviation, anti-wrapped and averaged with ``weight``.

    Relative to a click in the middle of the frame (group delay) and a tone in the middle of the bin (frequency); the
    ``_jitter`` cues tell how much each changes from frame to frame and from bin to bin.

    Parameters
    ----------
    phase : Tensor
        In radians, shape ``[n_bins, frames]``.
    weight : Tensor
        Same shape, not negative.
    """
    delay = _wrap(_shifted(phase, 0) + torch.pi)
    advance = torch.arange(spec.n_bins, device=phase.device)[:, None] * (2 * torch.pi * spec.hop / spec.n_fft)
    frequency = _wrap(_shifted(phase, 1) - advance)
    total = pool_sum(weight, spec) + _EPS
    maps = {
        "delay_deviation": delay.abs(),
        "frequency_deviation": frequency.abs(),
        "delay_jitter": _wrap(_shifted(delay, 0)).abs(),
        "frequency_jitter": _wrap(_shifted(frequency, 1)).abs(),
    }
    return {name: pool_sum(values * weight, spec) / total for name, values in maps.items()}


def stereo_cues(real: Tensor, imag: Tensor, spec: SpectralSpec = SPEC) -> dict[str, Tensor]:
    """Coherence, phase and level difference of the first two channels; those of a mono signal for one channel.

    Parameters
    ----------
    real, imag : Tensor
        The spectrum, shape ``[channels, n_bins, frames]``.
    """
    other = min(1, real.shape[0] - 1)
    left, right = (real[0], imag[0]), (real[other], imag[other])
    powers = [part[0].square() + part[1].square() for part in (left, right)]
    in_phase = left[0] * right[0] + left[1] * right[1]
    quadrature = left[1] * right[0] - left[0] * right[1]
    product = torch.sqrt(powers[0] * powers[1])
    sums = [pool_sum(part, spec) for part in (*powers, in_phase, quadrature, product)]
    scale = torch.sqrt(sums[0] * sums[1]) + _EPS
    silent = sums[0] + sums[1] < _EPS
    return {
        "stereo_coherence": torch.where(silent, 1.0, torch.hypot(sums[2], sums[3]) / scale),
        "stereo_in_phase": torch.where(silent, 1.0, sums[2] / scale),
        "stereo_level": decibel(sums[0], sums[1]).abs(),
        "stereo_phase_noise": torch.where(silent, 0.0, 1 - sums[4] / scale),
    }


def edge_cues(power: Tensor, spec: SpectralSpec = SPEC) -> dict[str, Tensor]:
    """Where the spectrum ends, beside the cell's band, and how steeply it falls inside the band."""
    energy = pool_mean(power, spec)
    long_term = by_cell(power, spec).mean(-1)
    block = long_term.mean(-1, keepdim=True)
    smooth = _running_mean(torch.cat([long_term, block], 1).T, 9, 1)
    level = 10 * torch.log10(smooth + _EPS)
    fall = torch.nn.functional.pad(level[:, 16:] - level[:, :-16], (8, 8))
    audible = level > level.amax(1, keepdim=True) - 75.0
    last = torch.where(audible, torch.arange(spec.n_bins, device=level.device), 0).amax(1).float() / spec.n_bins
    centre = bins_mean(torch.arange(spec.n_bins, device=power.device, dtype=power.dtype)[:, None], spec) / spec.n_bins
    steepest = bins_mean((-fall[:-1]).clamp(min=0).T, spec)
    return {
        "ends_above": last[:-1, None] - centre,
        "block_ends_above": (last[-1] - centre).expand_as(energy),
        "steepness": steepest,
        "block_steepness": bins_mean((-fall[-1:]).clamp(min=0).T, spec).expand_as(energy),
        "level_in_long_term": decibel(energy, bins_mean(block, spec).expand_as(energy)),
    }
