"""Training the host's own small separators."""

from __future__ import annotations

import copy
import json
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import cast

import torch
from torch import Tensor, nn

from stemprover.restoration.weights import forget_origin
from stemprover.separation.trained import TRAINED_ON
from stemprover.spectral.spec import SpectralSpec
from stemprover.spectral.stft import power, stft
from stemprover.training.mixes import Mixes

__all__ = ["SeparationTask", "save_network"]

_COARSE = SpectralSpec(hop=1024)
_TINY = 1e-6


class SeparationTask:
    """Errors of waveforms and of compressed magnitudes, relative to the mixture's level.

    Parameters
    ----------
    model : nn.Module
        ``[batch, 2, samples] -> [batch, stems, 2, samples]``; also has ``stems`` and ``save_pretrained``.
    heard : sequence of str
        Songs and kits that it trains on; written beside the weights, so that cross-fitting can be enforced.
    """

    def __init__(self, model: nn.Module, heard: Sequence[str]) -> None:
        self.model, self.heard = model, tuple(heard)
        self.stems = cast("tuple[str, ...]", model.stems)

    def trainable(self) -> nn.Module:
        """The separator."""
        return self.model

    def loss(self, batch: Mixes, generator: torch.Generator) -> tuple[Tensor, Mapping[str, float]]:
        """Waveform and magnitude errors of all stems."""
        del generator  # the draw of the mixtures is all the chance there is
        mixture = batch.mixture
        estimate = self.model(mixture)
        with torch.autocast(mixture.device.type, enabled=False):
            ratio = _error_ratio(estimate, batch.stems, mixture)
            level = mixture.square().mean((1, 2)).sqrt()[:, None, None, None] + _TINY
            magnitude = (_compressed(estimate / level) - _compressed(batch.stems / level)).abs().mean()
        return ratio + 4.0 * magnitude, {"error_db": 10.0 * ratio.item(), "magnitude": magnitude.item()}

    def validate(self, batch: Mixes) -> Mapping[str, float]:
        """Mean SDR in dB per stem where it sounds; a network that says nothing has 0."""
        self.model.eval()
        mixture = batch.mixture
        estimate = self.model(mixture)
        self.model.train()
        wanted = batch.stems.square().sum((2, 3))
        missed = (estimate - batch.stems).square().sum((2, 3))
        sounds = wanted > 1e-3 * mixture.square().sum((1, 2))[:, None]
        ratio = 10 * torch.log10((wanted + _TINY) / (missed + _TINY))
        shown = {name: ratio[:, k][sounds[:, k]] for k, name in enumerate(self.stems)}
        return {f"sdr_db_{name}": values.mean().item() if len(values) else 0.0 for name, values in shown.items()}

    def save(self, folder: Path) -> None:
        """Write weights in half precision, configuration and what was heard."""
        save_network(self.model, self.heard, folder)


def save_network(model: nn.Module, heard: Iterable[str], folder: Path) -> None:
    """Write weights in half precision, configuration and what was heard."""
    half = copy.deepcopy(model).eval().half()
    half.save_pretrained(folder, safe_serialization=True)  # type: ignore[operator]
    forget_origin(folder)
    (folder / TRAINED_ON).write_text(json.dumps({"heard": sorted(heard)}, indent=2) + "\n", encoding="utf-8")


def _error_ratio(estimate: Tensor, stems: Tensor, mixture: Tensor) -> Tensor:
    """Mean over stems of the error's power against the mixture's, in bels, with nothing gained below -20 dB.

    The absolute error has its optimum at the median, and most of a stem is near silence: networks that are trained for
    minutes only fall silent with it.
    """
    whole = mixture.square().sum((1, 2))[:, None] + _TINY
    missed = (estimate - stems).square().sum((2, 3))
    return torch.log10(missed / whole + 0.01).mean()


def _compressed(audio: Tensor) -> Tensor:
    """Magnitude of the sum of both channels to the power 0.3; half the hop would cost twice as much."""
    scaled = stft(audio.sum(2), _COARSE) / _COARSE.n_fft**0.5
    return (power(scaled) + 1e-5).pow(0.15)
