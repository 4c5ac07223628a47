"""A waveform U-Net: strided convolutions from samples to samples, no spectrum and no mask.

After Wave-U-Net (Stoller et al., 2018) and Demucs (Défossez et al., 2019), made small. What it gets wrong sounds as
with those: leakage with a phase of its own, aliasing and combs at multiples of the stride, lost high frequencies.
"""

from __future__ import annotations

import torch
from diffusers.configuration_utils import ConfigMixin, register_to_config
from diffusers.models.modeling_utils import ModelMixin
from torch import Tensor, nn

from stemprover.separation.layout import STEMS, normalise

__all__ = ["WaveformUNet"]

_KERNEL, _STRIDE = 8, 4


class _Encode(nn.Module):
    """Strided convolution and gated mixing: a fourth of the length, ``after`` channels."""

    def __init__(self, before: int, after: int) -> None:
        super().__init__()
        self.reduce = nn.Conv2d(before, after, (1, _KERNEL), (1, _STRIDE), (0, (_KERNEL - _STRIDE) // 2))
        self.mix = nn.Conv2d(after, 2 * after, (1, 1))

    def forward(self, hidden: Tensor) -> Tensor:
        gated: Tensor = nn.functional.glu(self.mix(nn.functional.gelu(self.reduce(hidden))), dim=1)
        return gated


class _Decode(nn.Module):
    """Gated context, then a transposed convolution: four times the length, ``after`` channels."""

    def __init__(self, before: int, after: int, last: bool) -> None:
        super().__init__()
        self.mix = nn.Conv2d(before, 2 * before, (1, 3), padding=(0, 1))
        self.expand = nn.ConvTranspose2d(before, after, (1, _KERNEL), (1, _STRIDE), (0, (_KERNEL - _STRIDE) // 2))
        self.last = last

    def forward(self, hidden: Tensor) -> Tensor:
        expanded: Tensor = self.expand(nn.functional.glu(self.mix(hidden), dim=1))
        return expanded if self.last else nn.functional.gelu(expanded)


class WaveformUNet(ModelMixin, ConfigMixin):  # type: ignore[misc]
    """Samples in, samples of four stems out.

    Parameters
    ----------
    channels : tuple of int
        Width after each reduction by four.
    """

    @register_to_config  # type: ignore[untyped-decorator]
    def __init__(self, channels: tuple[int, ...] = (32, 64, 112, 160)) -> None:
        super().__init__()
        widths = (2, *channels)
        self.encoders = nn.ModuleList(_Encode(widths[k], widths[k + 1]) for k in range(len(channels)))
        self.course = nn.LSTM(channels[-1], channels[-1] // 2, batch_first=True, bidirectional=True)
        outputs = (2 * len(STEMS), *channels)
        self.decoders = nn.ModuleList(
            _Decode(outputs[k + 1], outputs[k], last=k == 0) for k in reversed(range(len(channels)))
        )
        self.to(memory_format=torch.channels_last)

    def forward(self, audio: Tensor) -> Tensor:
        """Separate ``[batch, 2, samples]`` into ``[batch, 4, 2, samples]``."""
        samples = audio.shape[-1]
        scaled, level = normalise(audio)
        hidden = nn.functional.pad(scaled, (0, -samples % _STRIDE ** len(self.encoders)))[:, :, None]
        hidden = hidden.contiguous(memory_format=torch.channels_last)
        skips: list[Tensor] = []
        for encoder in self.encoders:
            hidden = encoder(hidden)
            skips.append(hidden)
        with torch.autocast(audio.device.type, enabled=False):  # no half-precision LSTM on every processor
            course = self.course(hidden[:, :, 0].float().transpose(1, 2))[0]
        hidden = hidden + course.transpose(1, 2)[:, :, None]
        for number, (decoder, skip) in enumerate(zip(self.decoders, reversed(skips), strict=True)):
            hidden = decoder(hidden + skip if number else hidden)
        stems = hidden[:, :, 0, :samples].float().unflatten(1, (len(STEMS), 2))
        return stems * level[:, None]
