"""Band-aware attention: tokens know their frequency.

A spectrogram is not translation-invariant along frequency: a partial at 200 Hz and one at 8 kHz relate to others in
different ways. Queries and keys (not values) therefore carry a learned frequency position and a learned band group.
Both start at zero, where this is the stock attention.
"""

from __future__ import annotations

import torch
from diffusers.models.attention_processor import Attention
from torch import Tensor, nn
from torch.nn import functional

__all__ = ["BandAwareAttnProcessor"]

BAND_GROUPS = 4
"""Low, low-mid, high-mid and high quarter of the (perceptual) band axis."""


class BandAwareAttnProcessor(nn.Module):
    """Self-attention over ``[batch, height * width, channels]`` tokens in row-major order, rows = bands.

    Parameters
    ----------
    height : int
        Number of frequency rows of the feature map at this level.
    channels : int
        Token width.
    """

    def __init__(self, height: int, channels: int) -> None:
        super().__init__()
        self.height = height
        self.position = nn.Parameter(torch.zeros(height, channels))
        self.group = nn.Parameter(torch.zeros(BAND_GROUPS, channels))

    def forward(
        self,
        attn: Attention,
        hidden_states: Tensor,
        encoder_hidden_states: Tensor | None = None,  # noqa: ARG002
        attention_mask: Tensor | None = None,  # noqa: ARG002
        temb: Tensor | None = None,  # noqa: ARG002
    ) -> Tensor:
        """Attend; the arguments are those of every diffusers attention processor (masks are not used here)."""
        batch, tokens, channels = hidden_states.shape
        rows = self.position + self.group.repeat_interleave(-(-self.height // BAND_GROUPS), 0)[: self.height]
        where = rows.repeat_interleave(tokens // self.height, 0).to(hidden_states.dtype)
        placed = hidden_states + where
        query, key, value = attn.to_q(placed), attn.to_k(placed), attn.to_v(hidden_states)
        query, key, value = (
            part.view(batch, tokens, attn.heads, channels // attn.heads).transpose(1, 2) for part in (query, key, value)
        )
        mixed = functional.scaled_dot_product_attention(query, key, value)
        mixed = mixed.transpose(1, 2).reshape(batch, tokens, channels)
        projected: Tensor = attn.to_out[1](attn.to_out[0](mixed))
        return projected
