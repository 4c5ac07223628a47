"""Training the shared vocoder."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.nn import functional

from stemprover.restoration.model import RestorationModel
from stemprover.spectral.bands import band_magnitude, to_bins
from stemprover.spectral.codec import band_gain, decode, encode, from_image, to_image
from stemprover.spectral.phase import BandFeatures, band_features
from stemprover.spectral.spec import SPEC
from stemprover.spectral.stft import istft, power, stft
from stemprover.synthesis.base import VocoderInput
from stemprover.synthesis.embedded import EmbeddedVocoder
from stemprover.training.dataset import Batch
from stemprover.training.listening import Heard
from stemprover.training.losses import error_ratio, multi_resolution, phase_coherence, scaled_error_ratio
from stemprover.training.restoration import condition_of

__all__ = ["VocoderTask"]

_HARM = 2.0
"""How much more a decibel lost counts than a decibel won: where it cannot know, the network is to leave the stem."""


class VocoderTask:
    """Complex, multi-resolution and phase losses on repaired segments.

    Parameters
    ----------
    vocoder : EmbeddedVocoder
        What learns.
    base : RestorationModel or None
        Stage 1 that restores the magnitudes for most batches; without it (and for one in seven) they are a random
        blend of the degraded and the clean magnitude with smooth errors, so that it does not depend on one base.
    save : callable
        Writes the released form.
    """

    def __init__(self, vocoder: EmbeddedVocoder, base: RestorationModel | None, save: Callable[[Path], None]) -> None:
        self.vocoder, self.base, self._save = vocoder, base, save

    def trainable(self) -> nn.Module:
        """The vocoder."""
        return self.vocoder

    def loss(self, batch: Batch, generator: torch.Generator) -> tuple[Tensor, Mapping[str, float]]:
        """SDR and SI-SDR gain, compressed magnitudes at two more resolutions, phase steps."""
        blend = self.base is None or torch.rand(1, generator=generator).item() < 0.15
        stem, clean, request = self._request(batch, generator if blend else None)
        with torch.autocast(batch.clean.device.type, enabled=False):
            spectrum = stem + (self.vocoder.mix(request) - stem) * to_bins(batch.region)
            ratios = torch.stack([error_ratio(spectrum, clean, stem), scaled_error_ratio(spectrum, clean, stem)])
            ratio = ratios.mean()
            audio = istft(spectrum, request.n_samples)
            magnitude = multi_resolution(audio, batch.clean, batch.degraded).mean()
            phase = phase_coherence(spectrum, clean).mean()
        total = 2.0 * (ratio + _HARM * ratios.relu().mean()) + 0.25 * magnitude + 0.25 * phase
        return total, {"gain_db": -10.0 * ratio.item(), "magnitude": magnitude.item(), "phase": phase.item()}

    def validate(self, batch: Batch) -> Mapping[str, float]:
        """SDR gain in dB of vocoder and of the same magnitudes with input phase, and phase errors of both."""
        stem, clean, request = self._request(batch, None)
        region = to_bins(batch.region)
        spectrum = stem + (self.vocoder.mix(request) - stem) * region
        gain = -10.0 * error_ratio(spectrum, clean, stem)
        seen = request.features
        assert seen is not None
        image = to_image(request.restored, seen.level)
        plain = stem + (stem * to_bins(band_gain(seen.image, image)) - stem) * region
        return {
            "gain_db": gain.mean().item(),
            "si_gain_db": -10.0 * scaled_error_ratio(spectrum, clean, stem).mean().item(),
            "input_phase_gain_db": -10.0 * error_ratio(plain, clean, stem).mean().item(),
            "improved": (gain > 0).float().mean().item(),
            "harmed": (gain < -0.1).float().mean().item(),
            "phase": phase_coherence(spectrum, clean).mean().item(),
            "input_phase": phase_coherence(plain, clean).mean().item(),
        }

    def listen(self, batch: Batch) -> Heard:
        """Stems with the vocoder's repairs."""
        stem, _, request = self._request(batch, None)
        repaired = istft(stem + (self.vocoder.mix(request) - stem) * to_bins(batch.region), request.n_samples)
        return Heard({"before": batch.degraded, "repaired": repaired, "clean": batch.clean}, SPEC.sample_rate)

    def save(self, folder: Path) -> None:
        """Write the released form."""
        self._save(folder)

    def _request(self, batch: Batch, generator: torch.Generator | None) -> tuple[Tensor, Tensor, VocoderInput]:
        with torch.no_grad():
            with torch.autocast(batch.clean.device.type, enabled=False):
                stem, clean, siblings = stft(torch.stack([batch.degraded, batch.clean, batch.siblings])).unbind()
                features = band_features(stem, siblings)
            if self.base is None or generator is not None:
                with torch.autocast(batch.clean.device.type, enabled=False):
                    target = to_image(band_magnitude(power(clean)), features.level)
                restored = blended_image(features.image, target, generator)
            else:
                restored = self._restored(self.base, batch, stem, siblings, features)
            request = VocoderInput(
                stem,
                siblings,
                features.magnitude,
                from_image(restored, features.level),
                batch.clean.shape[-1],
                features,
            )
        return stem, clean, request

    @staticmethod
    def _restored(
        base: RestorationModel, batch: Batch, stem: Tensor, siblings: Tensor, features: BandFeatures
    ) -> Tensor:
        """One-step restoration."""
        base.to(stem.device)  # only what learns is moved there
        with torch.autocast(stem.device.type, enabled=False):
            condition = condition_of(batch, stem, siblings, features, None)
        degraded = encode(condition.image)
        tokens = base.tokens(condition)
        sigma = degraded.new_ones(degraded.shape[0])
        predicted = base.difference(degraded, sigma, tokens, base.residuals(condition, tokens)).float()
        return decode(degraded + predicted).squeeze(1)


def blended_image(degraded: Tensor, clean: Tensor, generator: torch.Generator | None) -> Tensor:
    """What an imperfect stage 1 might give: part of the way to the clean image, with smooth errors.

    Without a generator (validation) it goes 60 % of the way without errors.
    """
    if generator is None:
        return degraded + 0.6 * (clean - degraded)
    count, bands, frames = degraded.shape
    way = torch.rand(count, 1, 1, generator=generator).to(degraded)
    coarse = torch.randn(count, 1, bands // 8, frames // 8, generator=generator).to(degraded)
    errors = functional.interpolate(coarse, (bands, frames), mode="bilinear").squeeze(1)
    spread = 0.02 * torch.rand(count, 1, 1, generator=generator).to(degraded)
    return (degraded + way * (clean - degraded) + spread * errors * degraded.sqrt()).clamp_min(0.0)
