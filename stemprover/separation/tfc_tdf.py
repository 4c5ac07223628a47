"""A TFC-TDF U-Net: convolutions over time and frequency, with dense layers over all frequencies between them.

After Choi et al. (2020, "Investigating U-Nets with various intermediate blocks for spectrogram-based singing voice
separation") and KUIELab-MDX-Net (Kim et al., 2021), made small. What is far apart in frequency, as the harmonics of a
voice are, meets in the dense layers; mid and side beside left and right show where in the stereo image a sound is.
"""

from __future__ import annotations

import itertools

import torch
from diffusers.configuration_utils import ConfigMixin, register_to_config
from diffusers.models.modeling_utils import ModelMixin
from einops import rearrange
from torch import Tensor, nn

from stemprover.separation.layout import STEMS, apply_logits, spectrum_of
from stemprover.spectral.spec import SpectralSpec

__all__ = ["TfcTdfUNet"]

_BINS = 8  # of a patch; with frames twice as long as usual there is no need to take several together
_NARROW = 8  # the dense layers pass through an eighth of the frequencies


class _Dense(nn.Module):
    """Time-distributed fully connected layers over frequency, added to ``[batch, channels, rows, frames]``."""

    def __init__(self, channels: int, rows: int) -> None:
        super().__init__()
        self.narrow, self.widen = nn.Linear(rows, rows // _NARROW), nn.Linear(rows // _NARROW, rows)
        self.before, self.after = nn.BatchNorm2d(channels), nn.BatchNorm2d(channels)

    def forward(self, hidden: Tensor) -> Tensor:
        """Same shape."""
        by_frame = self.before(hidden).transpose(2, 3)
        heard = self.widen(nn.functional.silu(self.narrow(by_frame))).transpose(2, 3)
        added: Tensor = self.after(heard)
        return hidden + added


class _Block(nn.Module):
    """Two 3 x 3 convolutions around a dense layer, all beside a way past them."""

    def __init__(self, channels: int, rows: int) -> None:
        super().__init__()
        self.first = _convolution(channels)
        self.dense = _Dense(channels, rows)
        self.second = _convolution(channels)

    def forward(self, hidden: Tensor) -> Tensor:
        """``[batch, channels, rows, frames]``, same shape."""
        within: Tensor = self.second(self.dense(self.first(hidden)))
        return hidden + within


def _convolution(channels: int) -> nn.Sequential:
    return nn.Sequential(nn.Conv2d(channels, channels, 3, padding=1, bias=False), nn.BatchNorm2d(channels), nn.SiLU())


class TfcTdfUNet(ModelMixin, ConfigMixin):  # type: ignore[misc]
    """Masks between 0 and 1 for every stem.

    Parameters
    ----------
    n_fft, hop : int
        Frame and hop of its STFT.
    channels : tuple of int
        Width at each resolution; each is half the one before.
    stems : tuple of str
        Stem classes in the order of the output.
    """

    @register_to_config  # type: ignore[untyped-decorator]
    def __init__(
        self,
        n_fft: int = 4096,
        hop: int = 1024,
        channels: tuple[int, ...] = (48, 72, 96, 128, 160),
        stems: tuple[str, ...] = STEMS,
    ) -> None:
        super().__init__()
        self.stems = tuple(stems)
        self.spec = SpectralSpec(n_fft=n_fft, hop=hop)
        rows = [n_fft // 2 // _BINS >> level for level in range(len(channels))]
        pairs = list(itertools.pairwise(channels))
        self.embed = nn.Conv2d(4 * _BINS, channels[0], 1)
        self.place = nn.Parameter(torch.zeros(1, channels[0], rows[0], 1))  # what is usual at this frequency
        self.down = nn.ModuleList(_Block(*level) for level in zip(channels, rows, strict=True))
        self.smaller = nn.ModuleList(nn.Conv2d(fine, coarse, 2, 2) for fine, coarse in pairs)
        self.larger = nn.ModuleList(nn.ConvTranspose2d(coarse, fine, 2, 2) for fine, coarse in pairs)
        self.up = nn.ModuleList(_Block(*level) for level in zip(channels[:-1], rows[:-1], strict=True))
        self.head = nn.Conv2d(channels[0], len(self.stems) * 2 * _BINS, 1)
        self.to(memory_format=torch.channels_last)

    def forward(self, audio: Tensor) -> Tensor:
        """Separate ``[batch, 2, samples]`` into ``[batch, stems, 2, samples]``."""
        left, right = audio[:, :1], audio[:, 1:]
        spectrum, image = spectrum_of(torch.cat([audio, (left + right) / 2, (left - right) / 2], 1), self.spec)
        return apply_logits(self._logits(image[:, :, :-1]), spectrum[:, :2], audio.shape[-1], self.spec)

    def _logits(self, image: Tensor) -> Tensor:
        """``[batch, 4, bins, frames] -> [batch, stems, 2, bins, frames]``."""
        frames = image.shape[-1]
        image = nn.functional.pad(image, (0, -frames % (1 << len(self.smaller))))
        patches = rearrange(image, "b c (f p) t -> b (c p) f t", p=_BINS)
        hidden = self.embed(patches.contiguous(memory_format=torch.channels_last)) + self.place
        skips: list[Tensor] = []
        for block, smaller in zip(self.down[:-1], self.smaller, strict=True):
            skips.append(block(hidden))
            hidden = smaller(skips[-1])
        hidden = self.down[-1](hidden)
        for block, larger, skip in zip(reversed(self.up), reversed(self.larger), reversed(skips), strict=True):
            hidden = block(larger(hidden) + skip)
        masks: Tensor = rearrange(self.head(hidden), "b (s c p) f t -> b s c (f p) t", s=len(self.stems), c=2, p=_BINS)
        return masks[..., :frames]
