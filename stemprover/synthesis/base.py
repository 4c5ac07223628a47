"""The vocoder protocol: restored magnitude in, audio out."""

from __future__ import annotations

import dataclasses
from typing import Protocol, runtime_checkable

from torch import Tensor

from stemprover.spectral.phase import BandFeatures

__all__ = ["Vocoder", "VocoderInput"]


@dataclasses.dataclass(frozen=True)
class VocoderInput:
    """A batch of restored segments, one channel each, at the internal rate.

    Attributes
    ----------
    spectrum : Tensor
        STFT of the degraded stem, complex64, shape ``[batch, n_bins, frames]``.
    siblings : Tensor or None
        STFT of the siblings' sum (mixture minus stem), same shape; ``None`` when the stem came alone.
    degraded, restored : Tensor
        Linear band magnitude before and after stage 1, shape ``[batch, n_bands, frames]``.
    n_samples : int
        Length of the audio to return.
    features : BandFeatures or None
        Features of ``spectrum`` and ``siblings`` where they are already known.
    """

    spectrum: Tensor
    siblings: Tensor | None
    degraded: Tensor
    restored: Tensor
    n_samples: int
    features: BandFeatures | None = None


@runtime_checkable
class Vocoder(Protocol):
    """What a vocoder plugin's entry gives back."""

    @property
    def name(self) -> str:
        """What ``--vocoder`` calls it."""
        ...

    def synthesise(self, request: VocoderInput) -> Tensor:
        """Return audio of shape ``[batch, n_samples]``, aligned with the input to the sample."""
        ...
