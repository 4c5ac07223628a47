"""Stage 1 as a diffusers pipeline.

``DiffusionPipeline.from_pretrained(folder)`` gives it back. It runs two kinds of base: the embedded one, which flows
from the degraded to the clean image on lossless patches, and a Stable Diffusion base with its own autoencoder, text
encoder and ControlNet, which denoises from the degraded image (SDEdit; Meng et al., 2022).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import diffusers
import numpy as np
import torch
from diffusers import DiffusionPipeline
from torch import Tensor

from stemprover.restoration.cache import ControlCache
from stemprover.restoration.control import Condition
from stemprover.restoration.model import NOISE, Residuals, RestorationModel
from stemprover.spectral.codec import decode, encode

__all__ = ["TEMPERATURE", "StemRestorationPipeline"]

TEMPERATURE = 0.25
"""Share of training's noise to begin with: of four steps, all of it takes half of the gain in SI-SDR."""


class StemRestorationPipeline(DiffusionPipeline):  # type: ignore[misc]
    """Spectrogram image-to-image restoration.

    Parameters
    ----------
    unet, controlnet, scheduler
        The denoiser, its control branch and a diffusers scheduler.
    conditioner : TokenConditioner, optional
        Embedded base: stem class, artifact and severity as tokens.
    vae, text_encoder, tokenizer : optional
        Stable Diffusion base.
    """

    _optional_components = ["conditioner", "vae", "text_encoder", "tokenizer"]  # noqa: RUF012 (diffusers reads a list)

    def __init__(
        self,
        unet: Any,
        controlnet: Any,
        scheduler: Any,
        conditioner: Any = None,
        vae: Any = None,
        text_encoder: Any = None,
        tokenizer: Any = None,
    ) -> None:
        super().__init__()
        self.register_modules(
            unet=unet,
            controlnet=controlnet,
            scheduler=scheduler,
            conditioner=conditioner,
            vae=vae,
            text_encoder=text_encoder,
            tokenizer=tokenizer,
        )
        self.model = RestorationModel(unet, controlnet, conditioner)
        self.cache = ControlCache()

    @torch.inference_mode()
    def __call__(self, condition: Condition, steps: int, seeds: Sequence[int], controlnet_key: str = "") -> Tensor:
        """Restore a batch of segments.

        Parameters
        ----------
        condition : Condition
            What is known of the segments.
        steps : int
            1 gives the conditional mean, more begin from it.
        seeds : sequence of int
            One per item; items with the same seed (the channels of a stem) share their noise.
        controlnet_key : str
            Names the adapters that change the ControlNet now, so that its cached outputs are not mixed up.

        Returns
        -------
        Tensor
            Restored image, shape ``[batch, n_bands, frames]``.
        """
        if self.vae is not None:
            return self._denoise(condition, steps, seeds)
        return self._flow(condition, steps, seeds, controlnet_key)

    def _flow(self, condition: Condition, steps: int, seeds: Sequence[int], controlnet_key: str) -> Tensor:
        tokens = self.model.tokens(condition)
        residuals = self._residuals(condition, tokens, controlnet_key)
        degraded = encode(condition.image)
        self.scheduler.set_timesteps(sigmas=np.linspace(1.0, 1.0 / steps, steps), device=degraded.device)
        sample = degraded + TEMPERATURE * NOISE * _noise(degraded, seeds)
        for time, sigma in zip(self.scheduler.timesteps, self.scheduler.sigmas[:-1], strict=True):
            amount = sigma.to(degraded).expand(degraded.shape[0])
            clean = degraded + self.model.difference(sample, amount, tokens, residuals)
            sample = self.scheduler.step((sample - clean) / sigma, time, sample, return_dict=False)[0]
        return decode(sample.float()).squeeze(1)

    def _residuals(self, condition: Condition, tokens: Tensor, key: str) -> Residuals:
        return self.cache.get(condition, key, lambda: self.model.residuals(condition, tokens))

    def _denoise(self, condition: Condition, steps: int, seeds: Sequence[int]) -> Tensor:
        """Noise the degraded image part of the way and denoise it under the control image."""
        scale = self.vae.config.scaling_factor
        image = condition.image.expand(-1, 3, -1, -1).to(self.unet.dtype) * 2.0 - 1.0
        latents = self.vae.encode(image).latent_dist.mode() * scale
        names = zip(condition.stems, condition.artifacts, strict=True)
        prompts = [f"{stem} stem, {artifact} removed" for stem, artifact in names]
        ids = self.tokenizer(prompts, padding="max_length", truncation=True, return_tensors="pt").input_ids
        tokens = self.text_encoder(ids.to(latents.device))[0]
        control = condition.control[:, :3].to(latents.dtype)
        self.scheduler.set_timesteps(max(2 * steps, 2), device=latents.device)
        times = self.scheduler.timesteps[-steps:]
        sample = self.scheduler.add_noise(latents, _noise(latents, seeds), times[:1])
        for time in times:
            scaled = self.scheduler.scale_model_input(sample, time)
            skips, middle = self.controlnet(scaled, time, tokens, control, return_dict=False)
            predicted = self.unet(
                scaled,
                time,
                tokens,
                down_block_additional_residuals=skips,
                mid_block_additional_residual=middle,
                return_dict=False,
            )[0]
            sample = self.scheduler.step(predicted, time, sample, return_dict=False)[0]
        restored: Tensor = self.vae.decode(sample / scale, return_dict=False)[0]
        return (restored.float().mean(1) + 1.0) / 2.0


def _noise(like: Tensor, seeds: Sequence[int]) -> Tensor:
    """Standard normal noise of the shape of ``like``, drawn on the CPU: the same on every device."""
    drawn: dict[int, Tensor] = {}
    for seed in seeds:
        if seed not in drawn:
            generator = torch.Generator().manual_seed(seed)
            drawn[seed] = torch.randn(like.shape[1:], generator=generator)
    return torch.stack([drawn[seed] for seed in seeds]).to(like)


# ``DiffusionPipeline.from_pretrained`` looks a folder's pipeline class up in diffusers itself.
diffusers.StemRestorationPipeline = StemRestorationPipeline
