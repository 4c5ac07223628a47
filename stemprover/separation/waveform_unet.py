"""A waveform U-Net: learned filters from samples to samples, no spectrum.

After Wave-U-Net (Stoller et al., 2018) and Demucs (Défossez et al., 2019), made small. Its outermost skip connection is
gated, as in Conv-TasNet (Luo and Mesgarani, 2019): each stem gets a share of the mixture's short-time features, and
what the U-Net adds. Without that it takes thousands of steps to learn to pass sound through. What it gets wrong sounds
as with those models: leakage with a phase of its own, roughness and aliasing at the rate of the first stride, lost high
frequencies.
"""

from __future__ import annotations

import torch
from diffusers.configuration_utils import ConfigMixin, register_to_config
from diffusers.models.modeling_utils import ModelMixin
from einops import rearrange
from torch import Tensor, nn
from torch.nn import functional

from stemprover.separation.layout import STEMS, normalise

__all__ = ["WaveformUNet"]

_WINDOW, _HOP = 48, 8  # samples of the first filters
_KERNEL, _STRIDE = 8, 4


class _Encode(nn.Module):
    """Strided convolution and gated mixing: a fourth of the length, ``after`` channels."""

    def __init__(self, before: int, after: int) -> None:
        super().__init__()
        self.reduce = nn.Conv2d(before, after, (1, _KERNEL), (1, _STRIDE), (0, (_KERNEL - _STRIDE) // 2))
        self.norm = nn.GroupNorm(1, after)
        self.mix = nn.Conv2d(after, 2 * after, (1, 1))

    def forward(self, hidden: Tensor) -> Tensor:
        reduced = functional.gelu(self.norm(self.reduce(hidden)))
        return functional.glu(self.mix(reduced), dim=1)


class _Decode(nn.Module):
    """Gated context, then a transposed convolution: four times the length, ``after`` channels."""

    def __init__(self, before: int, after: int) -> None:
        super().__init__()
        self.mix = nn.Conv2d(before, 2 * before, (1, 3), padding=(0, 1))
        self.expand = nn.ConvTranspose2d(before, after, (1, _KERNEL), (1, _STRIDE), (0, (_KERNEL - _STRIDE) // 2))
        self.norm = nn.GroupNorm(1, after)

    def forward(self, hidden: Tensor) -> Tensor:
        return functional.gelu(self.norm(self.expand(functional.glu(self.mix(hidden), dim=1))))


class WaveformUNet(ModelMixin, ConfigMixin):  # type: ignore[misc]
    """Samples in, samples of all stems out.

    Parameters
    ----------
    filters : int
        Learned filters that take the place of a spectrum.
    channels : tuple of int
        Width after each reduction by four.
    stems : tuple of str
        Stem classes in the order of the output.
    """

    @register_to_config  # type: ignore[untyped-decorator]
    def __init__(
        self, filters: int = 96, channels: tuple[int, ...] = (96, 128, 160), stems: tuple[str, ...] = STEMS
    ) -> None:
        super().__init__()
        self.stems = tuple(stems)
        edge = (0, (_WINDOW - _HOP) // 2)
        self.analyse = nn.Conv2d(2, filters, (1, _WINDOW), (1, _HOP), edge, bias=False)
        self.synthesise = nn.ConvTranspose2d(filters, 2, (1, _WINDOW), (1, _HOP), edge, bias=False)
        with torch.no_grad():  # begin as the identity, nearly: random filters and their transpose
            nn.init.normal_(self.analyse.weight, std=(2 * _WINDOW) ** -0.5)
            self.synthesise.weight.copy_(self.analyse.weight * (2 * _HOP / filters))
        widths = (filters, *channels)
        self.encoders = nn.ModuleList(_Encode(widths[k], widths[k + 1]) for k in range(len(channels)))
        self.course = nn.LSTM(channels[-1], channels[-1] // 2, batch_first=True, bidirectional=True)
        self.decoders = nn.ModuleList(_Decode(widths[k + 1], widths[k]) for k in reversed(range(len(channels))))
        self.shares = nn.Conv2d(filters, len(self.stems) * filters, (1, 1))
        self.additions = nn.Conv2d(filters, len(self.stems) * filters, (1, 1))
        assert self.shares.bias is not None
        nn.init.constant_(self.shares.bias, -1.1)  # a quarter each
        nn.init.zeros_(self.additions.weight)
        self.to(memory_format=torch.channels_last)

    def forward(self, audio: Tensor) -> Tensor:
        """Separate ``[batch, 2, samples]`` into ``[batch, stems, 2, samples]``."""
        samples = audio.shape[-1]
        scaled, level = normalise(audio)
        padded = functional.pad(scaled, (0, -samples % (_HOP * _STRIDE ** len(self.encoders))))[:, :, None]
        features = self.analyse(padded.contiguous(memory_format=torch.channels_last))
        hidden = self._unet(features)
        shares = rearrange(torch.sigmoid(self.shares(hidden)), "b (s f) 1 t -> b s f 1 t", s=len(self.stems))
        additions = rearrange(self.additions(hidden), "b (s f) 1 t -> b s f 1 t", s=len(self.stems))
        parts = rearrange(shares * features[:, None] + additions, "b s f 1 t -> (b s) f 1 t")
        stems: Tensor = rearrange(self.synthesise(parts), "(b s) c 1 t -> b s c t", s=len(self.stems))
        return stems[..., :samples].float() * level[:, None]

    def _unet(self, features: Tensor) -> Tensor:
        hidden: Tensor = features
        skips = [features]
        for encoder in self.encoders:
            hidden = encoder(hidden)
            skips.append(hidden)
        with torch.autocast(features.device.type, enabled=False):  # no half-precision LSTM on every processor
            course = self.course(hidden[:, :, 0].float().transpose(1, 2))[0]
        hidden = hidden + course.transpose(1, 2)[:, :, None]
        for decoder, skip in zip(self.decoders, reversed(skips[:-1]), strict=True):
            hidden = decoder(hidden) + skip
        return hidden
