"""Reference vocoders without weights: the input's phase as it is, and Griffin-Lim."""

from __future__ import annotations

import dataclasses

import torch
from torch import Tensor

from stemprover.spectral.bands import to_bins
from stemprover.spectral.codec import band_gain, reference_level, to_image
from stemprover.spectral.phase import unit
from stemprover.spectral.stft import istft, stft
from stemprover.synthesis.base import VocoderInput

__all__ = ["GriffinLimVocoder", "InputPhaseVocoder", "restored_spectrum"]


def restored_spectrum(request: VocoderInput) -> Tensor:
    """Apply stage 1's band gain to the stem and keep its phase; complex, shape ``[batch, n_bins, frames]``."""
    level = reference_level(request.degraded)
    gain = band_gain(to_image(request.degraded, level), to_image(request.restored, level))
    return request.spectrum * to_bins(gain)


@dataclasses.dataclass(frozen=True)
class InputPhaseVocoder:
    """Restored magnitude with the input's phase: what every other vocoder has to beat."""

    name: str = "input-phase"

    @torch.inference_mode()
    def synthesise(self, request: VocoderInput) -> Tensor:
        """Return audio ``[batch, n_samples]``; see :class:`~stemprover.synthesis.base.Vocoder`."""
        return istft(restored_spectrum(request), request.n_samples)


@dataclasses.dataclass(frozen=True)
class GriffinLimVocoder:
    """Fast Griffin-Lim, started from the input's phase.

    Each iteration projects onto the spectra that belong to a signal, goes on in the direction of the last step by
    ``momentum``, and puts the wanted magnitude back (Perraudin, Balazs and Sondergaard, 2013, "A fast Griffin-Lim
    algorithm"). Random numbers are not used.

    Parameters
    ----------
    iterations : int
        0 gives the input's phase.
    momentum : float
        0 is the original algorithm; 0.99 is the paper's choice.
    """

    iterations: int = 32
    momentum: float = 0.99
    name: str = "griffin-lim"

    @torch.inference_mode()
    def synthesise(self, request: VocoderInput) -> Tensor:
        """Return audio ``[batch, n_samples]``; see :class:`~stemprover.synthesis.base.Vocoder`."""
        wanted = restored_spectrum(request)
        magnitude, previous = wanted.abs(), torch.zeros_like(wanted)
        estimate = wanted
        for _ in range(self.iterations):
            consistent = stft(istft(estimate, request.n_samples))
            estimate = magnitude * unit(consistent + self.momentum * (consistent - previous))
            previous = consistent
        return istft(estimate, request.n_samples)
