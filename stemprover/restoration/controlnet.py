"""ControlNet over what the image does not show, with phase-aware zero convolutions.

Zero convolutions (Zhang et al., 2023, "Adding Conditional Control to Text-to-Image Diffusion Models") let a control
branch start without effect. Here each is gated by the local phase coherence with a weight per frequency row: where
phase is regular the branch may trust what it sees. This branch reads the segment only, neither the noisy sample nor
the time step, so its outputs are computed once per segment and kept for all steps.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, cast

import torch
from diffusers import ControlNetModel, ModelMixin
from diffusers.configuration_utils import register_to_config
from torch import Tensor, nn
from torch.nn import functional

from stemprover.restoration.config import OwnConfig
from stemprover.restoration.unet import set_band_aware_attention

# ModelMixin: see unet.py.
__all__ = ["ModelMixin", "PhaseAwareZeroConv", "RestorationControlNet"]


class PhaseAwareZeroConv(nn.Module):
    """Zero-initialised 1x1 convolution times ``2 * sigmoid(bias(f) + weight(f) * (coherence - 1/2))``.

    Parameters
    ----------
    channels : int
        Channels of the feature map.
    height : int
        Its frequency rows.
    """

    def __init__(self, channels: int, height: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(channels, channels, 1)
        nn.init.zeros_(self.conv.weight)
        nn.init.zeros_(cast(Tensor, self.conv.bias))
        self.gate_bias = nn.Parameter(torch.zeros(height, 1))
        self.gate_weight = nn.Parameter(torch.ones(height, 1))

    def forward(self, features: Tensor, coherence: Tensor) -> Tensor:
        """Map ``[batch, channels, height, width]``; coherence ``[batch, 1, rows, columns]`` is averaged to it."""
        height, width = features.shape[-2:]
        local = functional.adaptive_avg_pool2d(coherence, (height, width))
        gate = 2.0 * torch.sigmoid(self.gate_bias + self.gate_weight * (local - 0.5))
        mapped: Tensor = self.conv(features)
        return mapped * gate


class RestorationControlNet(OwnConfig, ControlNetModel):  # type: ignore[misc]
    """Control branch of :class:`~stemprover.restoration.unet.RestorationUNet` with the same block widths.

    Parameters
    ----------
    height : int
        Rows of the latents.
    in_channels : int
        Channels of the degraded latents.
    conditioning_channels : int
        Channels of the patched control image.
    block_out_channels, layers_per_block, cross_attention_dim, attention_head_dim, norm_num_groups
        As in the UNet.
    """

    depends_on_segment_only = True

    @register_to_config  # type: ignore[untyped-decorator]
    def __init__(
        self,
        height: int = 64,
        in_channels: int = 16,
        conditioning_channels: int = 192,
        block_out_channels: tuple[int, ...] = (64, 96, 128),
        layers_per_block: int = 1,
        cross_attention_dim: int = 64,
        attention_head_dim: int = 4,
        norm_num_groups: int = 16,
    ) -> None:
        super().__init__(
            in_channels=in_channels,
            conditioning_channels=conditioning_channels,
            down_block_types=(*["DownBlock2D"] * (len(block_out_channels) - 1), "CrossAttnDownBlock2D"),
            block_out_channels=block_out_channels,
            layers_per_block=layers_per_block,
            cross_attention_dim=cross_attention_dim,
            attention_head_dim=attention_head_dim,
            norm_num_groups=norm_num_groups,
            conditioning_embedding_out_channels=(16,),
        )
        # The stock embedding shrinks a picture eightfold; patches have the latents' size already.
        self.controlnet_cond_embedding = nn.Conv2d(conditioning_channels, block_out_channels[0], 1)
        set_band_aware_attention(self, height)
        heights = [height]
        for level in range(len(block_out_channels)):
            last = level == len(block_out_channels) - 1
            heights += [height >> level] * layers_per_block + ([] if last else [height >> (level + 1)])
        widths = [conv.in_channels for conv in cast(Iterable[nn.Conv2d], self.controlnet_down_blocks)]
        gated = [PhaseAwareZeroConv(width, rows) for width, rows in zip(widths, heights, strict=True)]
        self.controlnet_down_blocks: nn.ModuleList = nn.ModuleList(gated)
        self.controlnet_mid_block = PhaseAwareZeroConv(block_out_channels[-1], heights[-1])

    def forward(
        self, sample: Tensor, encoder_hidden_states: Tensor, controlnet_cond: Tensor, coherence: Tensor
    ) -> tuple[tuple[Tensor, ...], Tensor]:
        """Return the residuals of a batch of segments.

        Parameters
        ----------
        sample : Tensor
            Degraded latents, shape ``[batch, in_channels, height, width]``.
        encoder_hidden_states : Tensor
            Conditioning tokens, shape ``[batch, tokens, cross_attention_dim]``.
        controlnet_cond : Tensor
            Patched control image, shape ``[batch, conditioning_channels, height, width]``.
        coherence : Tensor
            Shape ``[batch, 1, rows, columns]``.

        Returns
        -------
        tuple
            Residuals of the UNet's skip connections and of its middle block.
        """
        moment = torch.zeros(sample.shape[0], device=sample.device, dtype=torch.long)
        embedding = self.time_embedding(self.time_proj(moment).to(sample.dtype))
        hidden = self.conv_in(sample) + self.controlnet_cond_embedding(controlnet_cond)
        skips: tuple[Tensor, ...] = (hidden,)
        for block in self.down_blocks:
            hidden, more = block(hidden, embedding, **_attention_arguments(block, encoder_hidden_states))
            skips += more
        hidden = self.mid_block(hidden, embedding, encoder_hidden_states=encoder_hidden_states)
        residuals = tuple(conv(skip, coherence) for conv, skip in zip(self.controlnet_down_blocks, skips, strict=True))
        return residuals, self.controlnet_mid_block(hidden, coherence)


def _attention_arguments(block: Any, tokens: Tensor) -> dict[str, Tensor]:
    """Blocks without attention take no tokens."""
    return {"encoder_hidden_states": tokens} if getattr(block, "has_cross_attention", False) else {}
