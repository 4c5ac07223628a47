"""Stage 1's networks together, and the flow that they describe.

The flow runs from the degraded image (sigma = 1) to the clean one (sigma = 0),

    x(sigma) = (1 - sigma) clean + sigma (degraded + noise),    v = dx/dsigma = (x - clean) / sigma.

The UNet predicts ``clean - degraded``; with its zero-initialised output the flow ends exactly where it began, whatever
the noise and the number of steps.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from stemprover.restoration.conditioning import TokenConditioner
from stemprover.restoration.control import Condition
from stemprover.restoration.controlnet import RestorationControlNet
from stemprover.restoration.unet import RestorationUNet
from stemprover.spectral.codec import encode, patchify

__all__ = ["NOISE", "Residuals", "RestorationModel"]

NOISE = 0.1
"""Standard deviation of the noise at sigma = 1, in latent units."""

Residuals = tuple[tuple[Tensor, ...], Tensor]


class RestorationModel(nn.Module):
    """UNet, ControlNet and conditioner; adapters are injected into the first two.

    Parameters
    ----------
    unet : RestorationUNet
    controlnet : RestorationControlNet
    conditioner : TokenConditioner
    """

    def __init__(self, unet: RestorationUNet, controlnet: RestorationControlNet, conditioner: TokenConditioner) -> None:
        super().__init__()
        self.unet = unet
        self.controlnet = controlnet
        self.conditioner = conditioner

    def tokens(self, condition: Condition) -> Tensor:
        """Conditioning tokens, shape ``[batch, 3, dim]``."""
        tokens: Tensor = self.conditioner(condition.stems, condition.artifacts, condition.severity)
        return tokens

    def residuals(self, condition: Condition, tokens: Tensor) -> Residuals:
        """Outputs of the phase-aware zero convolutions; they depend on the segment only."""
        latents = encode(condition.image).contiguous(memory_format=torch.channels_last)
        control = patchify(condition.control).contiguous(memory_format=torch.channels_last)
        residuals: Residuals = self.controlnet(latents, tokens, control, condition.coherence)
        return residuals

    def difference(self, sample: Tensor, sigma: Tensor, tokens: Tensor, residuals: Residuals | None) -> Tensor:
        """Predict ``clean - degraded`` in latent units from ``x(sigma)``; ``sigma`` has shape ``[batch]``."""
        skips, middle = residuals if residuals is not None else (None, None)
        predicted: Tensor = self.unet(
            sample.contiguous(memory_format=torch.channels_last),
            sigma * 1000.0,
            tokens,
            down_block_additional_residuals=skips,
            mid_block_additional_residual=middle,
            return_dict=False,
        )[0]
        return predicted
