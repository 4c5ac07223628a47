"""How a training sounds and looks so far: some validation items, heard and seen in TensorBoard."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import TYPE_CHECKING, Protocol, TypeVar, runtime_checkable

import numpy as np
import torch
from torch import Tensor

from stemprover.report.pictures import spectrogram_image
from stemprover.spectral.bands import band_magnitude
from stemprover.spectral.stft import power, stft

if TYPE_CHECKING:
    from torch.utils.tensorboard import SummaryWriter

__all__ = ["Heard", "Listening", "show"]

_ITEMS = 3
_FLOOR_DB = -140.0
_GAP = 4
_Taken = TypeVar("_Taken", contravariant=True)


@dataclasses.dataclass(frozen=True)
class Heard:
    """Signals of a validation batch.

    Attributes
    ----------
    signals : Mapping[str, Tensor]
        Audio by what it is, each of shape ``[batch, samples]``; pictures show them side by side in this order.
    sample_rate : int
        In Hz.
    """

    signals: Mapping[str, Tensor]
    sample_rate: int


@runtime_checkable
class Listening(Protocol[_Taken]):
    """A task of :func:`stemprover.training.loop.fit` whose results can be heard."""

    def listen(self, batch: _Taken) -> Heard:
        """Return what the current weights make of a validation batch, and what they should."""


def show(writer: SummaryWriter, step: int, heard: Heard) -> None:
    """Write the first items of a batch as audio and as spectrograms (bands, 80 dB, one scale for an item)."""
    signals = {name: audio[:_ITEMS].detach().float().cpu() for name, audio in heard.signals.items()}
    for name, audio in signals.items():
        for number, one in enumerate(audio, 1):
            writer.add_audio(f"item {number}/{name}", one[None], step, heard.sample_rate)
    levels = torch.stack([band_magnitude(power(stft(audio))) for audio in signals.values()], 1)
    for number, pictures in enumerate(20.0 * levels.clamp_min(1e-7).log10(), 1):
        top = max(float(pictures.max()), _FLOOR_DB)
        colours = [np.asarray(spectrogram_image(each.numpy(), top).convert("RGB")) for each in pictures]
        gap = np.full((colours[0].shape[0], _GAP, 3), 255, np.uint8)
        row = np.concatenate([part for each in colours for part in (each, gap)][:-1], axis=1)
        writer.add_image(f"item {number}/{', '.join(signals)}", row, step, dataformats="HWC")
