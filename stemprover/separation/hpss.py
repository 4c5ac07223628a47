"""Drums and the rest by median filters: the separator of last resort, which needs no weights.

Source: Fitzgerald, "Harmonic/percussive separation using median filtering", DAFx 2010.
"""

from __future__ import annotations

import torch
from scipy import ndimage
from torch import Tensor

from stemprover.spectral.stft import istft, stft

__all__ = ["HPSS_STEMS", "split_percussive"]

HPSS_STEMS = ("drums", "other")
_LENGTH = 17  # frames or bins: 0.2 s, 370 Hz
_TINY = 1e-12


@torch.inference_mode()
def split_percussive(audio: Tensor) -> dict[str, Tensor]:
    """Split ``[2, samples]`` into ``drums`` and ``other``, which sum to it.

    Drums are lines across the spectrogram and survive a median along frequency, tones survive one along time. One soft
    mask serves both channels, so that nothing wanders in the stereo image.
    """
    spectrum = stft(audio)
    magnitude = spectrum.abs().mean(0).cpu().numpy()
    across, along = (ndimage.median_filter(magnitude, size, mode="nearest") for size in ((_LENGTH, 1), (1, _LENGTH)))
    mask = torch.from_numpy((across**2 + _TINY) / (across**2 + along**2 + 2.0 * _TINY)).to(audio)
    drums = istft(spectrum * mask, audio.shape[-1])
    return {"drums": drums, "other": audio - drums}
