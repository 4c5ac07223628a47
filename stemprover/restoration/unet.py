"""The base: diffusers' conditional UNet on patches of a spectrogram image, with band-aware attention."""

from __future__ import annotations

from typing import Any

from diffusers import ModelMixin, UNet2DConditionModel
from diffusers.configuration_utils import register_to_config
from torch import nn

from stemprover.restoration.attention import BandAwareAttnProcessor
from stemprover.restoration.config import OwnConfig

# A pipeline folder names this module; diffusers looks for the components' base class beside the component.
__all__ = ["ModelMixin", "RestorationUNet", "set_band_aware_attention"]


def set_band_aware_attention(model: nn.Module, height: int) -> None:
    """Give every self-attention (``attn1``) of ``model`` a frequency position; ``height`` is the rows of its input."""
    stride = _strides(model)
    for name, module in model.named_modules():
        if name.endswith("attn1"):
            rows = height // stride[name.split(".")[0] + "." + name.split(".")[1]]
            module.set_processor(BandAwareAttnProcessor(rows, module.to_q.in_features))


def _strides(model: Any) -> dict[str, int]:
    """Total stride at each block: the input of block ``i`` of an n-block UNet is halved ``i`` times, back up again."""
    levels = len(model.config.block_out_channels)
    strides = {f"down_blocks.{i}": 2**i for i in range(levels)}
    strides |= {f"up_blocks.{i}": 2 ** (levels - 1 - i) for i in range(levels)}
    strides["mid_block.attentions"] = 2 ** (levels - 1)
    return strides


class RestorationUNet(OwnConfig, UNet2DConditionModel):  # type: ignore[misc]
    """``UNet2DConditionModel`` with band-aware attention and a zero-initialised output: untrained, it changes nothing.

    Parameters
    ----------
    height : int
        Rows of the input latents (image bands over patch size).
    in_channels : int
        Channels of the latents.
    block_out_channels, layers_per_block, cross_attention_dim, attention_head_dim, norm_num_groups
        As in diffusers.
    """

    @register_to_config  # type: ignore[untyped-decorator]
    def __init__(
        self,
        height: int = 64,
        in_channels: int = 16,
        block_out_channels: tuple[int, ...] = (64, 96, 128),
        layers_per_block: int = 1,
        cross_attention_dim: int = 64,
        attention_head_dim: int = 4,
        norm_num_groups: int = 16,
    ) -> None:
        plain = len(block_out_channels) - 1
        super().__init__(
            in_channels=in_channels,
            out_channels=in_channels,
            down_block_types=(*["DownBlock2D"] * plain, "CrossAttnDownBlock2D"),
            up_block_types=("CrossAttnUpBlock2D", *["UpBlock2D"] * plain),
            block_out_channels=block_out_channels,
            layers_per_block=layers_per_block,
            cross_attention_dim=cross_attention_dim,
            attention_head_dim=attention_head_dim,
            norm_num_groups=norm_num_groups,
        )
        set_band_aware_attention(self, height)
        nn.init.zeros_(self.conv_out.weight)
        nn.init.zeros_(self.conv_out.bias)
