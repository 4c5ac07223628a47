"""Losses on spectra. All take ``[batch, ...]`` and return one value per item unless said otherwise."""

from __future__ import annotations

import torch
from torch import Tensor

from stemprover.spectral.phase import unit
from stemprover.spectral.spec import SPEC
from stemprover.spectral.stft import power

__all__ = [
    "FLOOR",
    "error_ratio",
    "gain_error_ratio",
    "multi_resolution",
    "perceptual_weight",
    "phase_coherence",
    "ratios_db",
    "scaled_error_ratio",
    "scaled_gain_error_ratio",
]

_RESOLUTIONS = ((512, 128), (4096, 1024))
FLOOR = 1e-3  # of the clean energy: an error 30 dB below the stem counts as none
_LEAST = 1e-2  # likewise: of a stem of which 20 dB less than that is left, SI-SDR tells nothing


def ratios_db(energy: Tensor, product: Tensor, clean: Tensor, floor: float = FLOOR) -> Tensor:
    """SDR and SI-SDR in dB, both with floors, from energies; ``[2, batch]``.

    Parameters
    ----------
    energy, product, clean : Tensor
        Energy of an estimate, its product with the clean stem, and the energy of that, shape ``[batch]``.
    floor : float
        Of the clean energy: smaller errors count as none.
    """
    reference, least = floor * clean + 1e-9, _LEAST * clean + 1e-9
    error = (energy - 2.0 * product + clean).clamp_min(0.0)
    held = product.clamp_min(0.0).square() / (energy + 1e-9)  # of the clean stem, by the estimate scaled to fit it
    missing = (clean - held).clamp_min(0.0)
    return 10.0 * torch.log10(torch.stack([clean / (error + reference), (held + least) / (missing + reference)]))


def error_ratio(estimate: Tensor, clean: Tensor, degraded: Tensor, floor: float = FLOOR) -> Tensor:
    """Log10 of the error left over the error that was there: minus the SDR gain in bels.

    A floor 30 dB below the clean energy is added to both, so a good stem cannot dominate and a clean one, whose input
    error is zero, still punishes every change. Complex spectra, shape ``[batch, n_bins, frames]``.
    """
    reference = floor * power(clean).sum((1, 2)) + 1e-9
    left = power(estimate - clean).sum((1, 2))
    before = power(degraded - clean).sum((1, 2))
    return torch.log10((left + reference) / (before + reference))


def scaled_error_ratio(estimate: Tensor, clean: Tensor, degraded: Tensor, floor: float = FLOOR) -> Tensor:
    """:func:`error_ratio` after both are scaled to fit the clean stem best.

    Minus the gain in bels of ``1 + SI-SDR`` (as a ratio; Le Roux et al., 2019, "SDR - half-baked or well done?"): the
    estimate is scaled and not the stem, so that the worst estimate is as good as silence. The plain ratio rewards
    turning a poor estimate down, which nobody hears as a repair.
    """
    energy = power(clean).sum((1, 2))
    reference = floor * energy + 1e-9

    def left(spectrum: Tensor) -> Tensor:
        along = (torch.view_as_real(spectrum) * torch.view_as_real(clean)).sum((1, 2, 3))
        return (energy - along.square() / (power(spectrum).sum((1, 2)) + 1e-9)).clamp_min(0.0) + reference

    return torch.log10(left(estimate) / left(degraded))


def gain_error_ratio(gain: Tensor, clean: Tensor, degraded: Tensor) -> Tensor:
    """:func:`error_ratio` of ``gain * degraded`` for a real gain; written out so that only ``g`` has gradients."""
    squared, cross, target = _products(clean, degraded)
    before = power(degraded - clean).sum((1, 2))
    reference = 1e-3 * target + 1e-9
    left = (gain * (gain * squared - 2.0 * cross)).sum((1, 2)) + target
    return torch.log10((left.clamp_min(0.0) + reference) / (before + reference))


def scaled_gain_error_ratio(gain: Tensor, clean: Tensor, degraded: Tensor) -> Tensor:
    """:func:`scaled_error_ratio` of ``gain * degraded`` for a real gain, in the manner of :func:`gain_error_ratio`."""
    squared, cross, target = _products(clean, degraded)
    reference = 1e-3 * target + 1e-9

    def left(gain: Tensor) -> Tensor:
        along, energy = (gain * cross).sum((1, 2)), (gain.square() * squared).sum((1, 2))
        return (target - along.square() / (energy + 1e-9)).clamp_min(0.0) + reference

    return torch.log10(left(gain) / left(torch.ones_like(gain)))


@torch.no_grad()
def _products(clean: Tensor, degraded: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Power of the degraded stem and its product with the clean one per bin, energy of the clean one."""
    cross = (torch.view_as_real(degraded) * torch.view_as_real(clean)).sum(-1)
    return power(degraded), cross, power(clean).sum((1, 2))


def perceptual_weight() -> Tensor:
    """Weight per STFT bin, shape ``[n_bins, 1]``: flat to 500 Hz, then 3 dB less per octave."""
    hz = torch.arange(SPEC.n_bins) * SPEC.sample_rate / SPEC.n_fft
    return ((hz + 500.0) / 500.0).rsqrt()[:, None]


def phase_coherence(estimate: Tensor, clean: Tensor) -> Tensor:
    """Anti-wrapped error of group delay and instantaneous frequency, weighted by compressed magnitude and frequency.

    After Ai and Ling, 2023 ("Neural speech phase prediction ... anti-wrapping losses"), with ``1 - cos`` of the
    difference in place of the wrapped absolute value: smooth, and zero exactly where phase steps agree.
    """
    weight = clean.abs() ** SPEC.exponent * perceptual_weight().to(clean.real)
    phase, target = unit(estimate), unit(clean)
    total = torch.zeros(clean.shape[0], device=clean.device)
    for dim in (-1, -2):
        step, want = _phase_steps(phase, dim), _phase_steps(target, dim)
        heavy = torch.narrow(weight, dim, 1, weight.shape[dim] - 1)
        miss = 1.0 - (torch.view_as_real(step) * torch.view_as_real(want)).sum(-1)
        total = total + (heavy * miss).sum((1, 2)) / heavy.sum((1, 2)).clamp_min(1e-6)
    return total / 2


def _phase_steps(phase: Tensor, dim: int) -> Tensor:
    """Unit vectors of the phase difference between neighbours along ``dim``."""
    count = phase.shape[dim] - 1
    return torch.narrow(phase, dim, 1, count) * torch.narrow(phase, dim, 0, count).conj()


def multi_resolution(estimate: Tensor, clean: Tensor, degraded: Tensor) -> Tensor:
    """Compressed magnitude error of audio ``[batch, samples]`` at a short and a long STFT, relative to the input's."""
    total = torch.zeros(clean.shape[0], device=clean.device)
    for n_fft, hop in _RESOLUTIONS:
        window = torch.hann_window(n_fft, device=clean.device)
        want, have, was = (
            torch.stft(audio, n_fft, hop, window=window, return_complex=True).abs().clamp_min(1e-5) ** SPEC.exponent
            for audio in (clean, estimate, degraded)
        )
        before = (was - want).abs().mean((1, 2))
        total = total + (have - want).abs().mean((1, 2)) / (before + 0.05 * want.mean((1, 2)) + 1e-6)
    return total / len(_RESOLUTIONS)
