"""Drums and the rest by median filters (Fitzgerald, 2010, "Harmonic/percussive separation using median filtering")."""

from __future__ import annotations

import torch
from scipy import ndimage
from torch import Tensor

from stemprover.spectral.stft import istft, stft

__all__ = ["HpssSeparator"]

_LENGTH = 17  # frames or bins: 0.2 s, 370 Hz
_TINY = 1e-12


class HpssSeparator:
    """Splits a mixture into what stands still in frequency and what stands still in time; both sum to the mixture.

    Drums are lines across the spectrogram and survive a median along frequency, tones survive one along time. The
    masks are soft, as in a Wiener filter, and the same for both channels, so that nothing wanders in the stereo image.
    """

    name = "hpss"
    stems: tuple[str, ...] = ("drums", "other")
    sample_rate = 44_100

    @torch.inference_mode()
    def separate(self, audio: Tensor) -> dict[str, Tensor]:
        """Return ``drums`` and ``other``, each ``[2, samples]``; see :class:`stemprover.separation.base.Separator`."""
        spectrum = stft(audio)
        magnitude = spectrum.abs().mean(0).cpu().numpy()
        across, along = (
            ndimage.median_filter(magnitude, size, mode="nearest") for size in ((_LENGTH, 1), (1, _LENGTH))
        )
        mask = torch.from_numpy((across**2 + _TINY) / (across**2 + along**2 + 2.0 * _TINY)).to(audio)
        drums = istft(spectrum * mask, audio.shape[-1])
        return {"drums": drums, "other": audio - drums}
