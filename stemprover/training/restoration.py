"""Training stage 1: base, ControlNet and LoRA differ only in what learns and in what is drawn."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path

import torch
from torch import Tensor, nn

from stemprover.restoration.conditioning import TokenConditioner
from stemprover.restoration.control import Condition, control_image, phase_coherence
from stemprover.restoration.controlnet import RestorationControlNet
from stemprover.restoration.model import NOISE, Residuals, RestorationModel
from stemprover.restoration.unet import RestorationUNet
from stemprover.spectral.bands import band_magnitude, to_bins
from stemprover.spectral.codec import band_gain, decode, encode, to_image
from stemprover.spectral.phase import BandFeatures, band_features
from stemprover.spectral.spatial import spatial_features
from stemprover.spectral.spec import SPEC
from stemprover.spectral.stft import istft, power, stft
from stemprover.training.dataset import Batch
from stemprover.training.listening import Heard
from stemprover.training.losses import gain_error_ratio, scaled_gain_error_ratio

__all__ = ["RestorationTask", "applied_gain", "condition_of", "new_model", "on_own_path"]


def new_model() -> RestorationModel:
    """Return an untrained embedded base: the identity."""
    model = RestorationModel(RestorationUNet(), RestorationControlNet(), TokenConditioner())
    return model.to(memory_format=torch.channels_last)  # type: ignore[call-overload,no-any-return]


def condition_of(
    batch: Batch,
    stem: Tensor,
    siblings: Tensor,
    features: BandFeatures,
    generator: torch.Generator | None,
    artifact: str | None = None,
) -> Condition:
    """Condition of a training batch, from the spectra of its stems and siblings and their features.

    With a generator, severity is scaled at random and half of the artifact names become ``any``: neither detection nor
    users are ever exact.
    """
    severity, overall = batch.severity, batch.overall
    artifacts = tuple(artifact or name for name in batch.artifacts)
    if generator is not None:
        count = len(batch.stems)
        scale = (1.0 + 0.2 * torch.randn(count, generator=generator)).to(severity)
        severity = (severity * scale[:, None, None]).clamp(0.0, 1.0)
        overall = (overall * scale).clamp(0.0, 1.0)
        if artifact is None:
            hidden = torch.rand(count, generator=generator) < 0.5
            artifacts = tuple("any" if hide else name for hide, name in zip(hidden, artifacts, strict=True))
    other, siblings_other = stft(torch.stack([batch.other, batch.siblings_other])).unbind()
    spatial = spatial_features(stem, siblings, other, siblings_other, features)
    control = control_image(features, spatial, severity)
    return Condition(features.image.unsqueeze(1), control, phase_coherence(features), batch.stems, artifacts, overall)


class RestorationTask:
    """Flow matching with a gain loss, on the model's own path.

    Later steps start from where the first would have led, not from between the degraded and the true image. There the
    truth can be read off the sample, so that a model learns to believe whatever the sample says: what it guessed at
    first then grows from step to step (exposure bias; Ning et al., 2023). On its own path it learns to look again.

    Parameters
    ----------
    model : RestorationModel
        Its parameters that require gradients learn.
    artifact : str, optional
        Name on the artifact token of every item (LoRA training).
    save : callable
        Writes the released form.
    """

    def __init__(self, model: RestorationModel, artifact: str | None, save: Callable[[Path], None]) -> None:
        self.model, self.artifact, self._save = model, artifact, save

    def trainable(self) -> nn.Module:
        """The whole model; frozen parts do not require gradients."""
        return self.model

    def loss(self, batch: Batch, generator: torch.Generator) -> tuple[Tensor, Mapping[str, float]]:
        """Error of the predicted image and of the stem it gives with the input's phase, both relative to the input."""
        stem, clean, features, condition = self.prepare(batch, generator)
        degraded = encode(condition.image)
        with torch.autocast(stem.device.type, enabled=False):
            wanted = to_image(band_magnitude(power(clean)), features.level)
        target = encode(wanted.unsqueeze(1)) - degraded
        count = degraded.shape[0]
        # Two thirds of the items train the one-step estimate, the rest the later steps.
        drawn = torch.where(
            torch.rand(count, generator=generator) < 0.65,
            torch.ones(count),
            0.05 + 0.95 * torch.rand(count, generator=generator),
        )
        sigma = drawn.to(degraded)
        loudness = NOISE * torch.rand(count, 1, 1, 1, generator=generator)
        noise = (loudness * torch.randn(degraded.shape, generator=generator)).to(degraded)
        tokens = self.model.tokens(condition)
        residuals = self.model.residuals(condition, tokens)
        sample = on_own_path(self.model, degraded, noise, drawn, tokens, residuals)
        predicted = self.model.difference(sample, sigma, tokens, residuals).float()
        # Squares, because one step is to give the conditional mean: an absolute error's optimum is the median, which is
        # "no change" wherever an artifact is less likely than not.
        before = target.square().mean((1, 2, 3))
        image = ((predicted - target).square().mean((1, 2, 3)) / (before + 0.003)).mean()
        with torch.autocast(stem.device.type, enabled=False):
            gain = applied_gain(features.image, decode(degraded + predicted).squeeze(1), batch.region)
            ratio = gain_error_ratio(gain, clean, stem).mean()
            scaled = scaled_gain_error_ratio(gain, clean, stem).mean()
        figures = {"image": image.item(), "gain_db": -10.0 * ratio.item(), "si_gain_db": -10.0 * scaled.item()}
        return image + (ratio + scaled) / 2, figures

    def validate(self, batch: Batch) -> Mapping[str, float]:
        """One-step gain of SDR and of 1 + SI-SDR in dB, share improved and harmed, change of the image's error."""
        stem, clean, features, condition = self.prepare(batch, None)
        restored = self._restored(condition)
        applied = applied_gain(features.image, restored, batch.region)
        gain = -10.0 * gain_error_ratio(applied, clean, stem)
        scaled = -10.0 * scaled_gain_error_ratio(applied, clean, stem)
        target = to_image(band_magnitude(power(clean)), features.level)
        left, before = ((image - target).abs().mean() for image in (restored, features.image))
        return {
            "gain_db": gain.mean().item(),
            "si_gain_db": scaled.mean().item(),
            "improved": (gain > 0).float().mean().item(),
            "harmed": (gain < -0.1).float().mean().item(),
            "image_change": (left / before - 1.0).item(),
        }

    def listen(self, batch: Batch) -> Heard:
        """One-step repairs with the input's phase."""
        stem, _, features, condition = self.prepare(batch, None)
        gain = applied_gain(features.image, self._restored(condition), batch.region)
        repaired = istft(gain * stem, batch.clean.shape[-1])
        return Heard({"before": batch.degraded, "repaired": repaired, "clean": batch.clean}, SPEC.sample_rate)

    def save(self, folder: Path) -> None:
        """Write the released form."""
        self._save(folder)

    def prepare(
        self, batch: Batch, generator: torch.Generator | None
    ) -> tuple[Tensor, Tensor, BandFeatures, Condition]:
        """Return spectra of the stem and of the clean one, features and condition of a batch."""
        with torch.autocast(batch.clean.device.type, enabled=False):
            stem, clean, siblings = stft(torch.stack([batch.degraded, batch.clean, batch.siblings])).unbind()
            features = band_features(stem, siblings)
            return stem, clean, features, condition_of(batch, stem, siblings, features, generator, self.artifact)

    def _restored(self, condition: Condition) -> Tensor:
        """The image after one step, ``[batch, n_bands, frames]``."""
        degraded, tokens = encode(condition.image), self.model.tokens(condition)
        sigma = degraded.new_ones(degraded.shape[0])
        predicted = self.model.difference(degraded, sigma, tokens, self.model.residuals(condition, tokens)).float()
        return decode(degraded + predicted).squeeze(1)


def on_own_path(
    model: RestorationModel, degraded: Tensor, noise: Tensor, sigma: Tensor, tokens: Tensor, residuals: Residuals
) -> Tensor:
    """Where the model's first step leads, at ``sigma`` of the flow.

    Parameters
    ----------
    model : RestorationModel
    degraded, noise : Tensor
        Latents, and the noise at the beginning, same shape.
    sigma : Tensor
        On the CPU, shape ``[batch]``; 1 is the beginning itself.
    tokens, residuals : Tensor, Residuals
        As for :meth:`RestorationModel.difference`.

    Returns
    -------
    Tensor
        Samples, shape of ``degraded``, without gradients.
    """
    begin = degraded + noise
    later = torch.nonzero(sigma < 1.0).squeeze(1)
    if not len(later):
        return begin
    left, later = sigma[later].to(degraded), later.to(degraded.device)
    kept = tuple(skip[later] for skip in residuals[0]), residuals[1][later]
    with torch.no_grad():
        ahead = model.difference(begin[later], torch.ones_like(left), tokens[later], kept).float()
    torch.clear_autocast_cache()  # weights that were cast without gradients must not serve the next forward
    moved = (1.0 - left)[:, None, None, None] * (ahead - noise[later])
    return begin.index_add(0, later, moved.to(begin))


def applied_gain(degraded: Tensor, restored: Tensor, region: Tensor) -> Tensor:
    """Gain per bin of a repair that is applied in ``region`` only."""
    return to_bins(1.0 + region * (band_gain(degraded, restored) - 1.0))
