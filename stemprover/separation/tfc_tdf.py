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

__all__ = ["BINS", "TfcTdfUNet", "with_mid_side"]

BINS = 8  # of a patch; with frames twice as long as usual there is no need to take several together
_NARROW = 8  # the dense layers pass through an eighth of the frequencies


def with_mid_side(audio: Tensor) -> Tensor:
    """Left, right, mid and side: ``[batch, 2, samples] -> [batch, 4, samples]``."""
    left, right = audio[:, :1], audio[:, 1:]
    return torch.cat([audio, (left + right) / 2, (left - right) / 2], 1)


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
        rows = [n_fft // 2 // BINS >> level for level in range(len(channels))]
        pairs = list(itertools.pairwise(channels))
        self.embed = nn.Conv2d(4 * BINS, channels[0], 1)
        self.place = nn.Parameter(torch.zeros(1, channels[0], rows[0], 1))  # what is usual at this frequency
        self.down = nn.ModuleList(_Block(*level) for level in zip(channels, rows, strict=True))
        self.smaller = nn.ModuleList(nn.Conv2d(fine, coarse, 2, 2) for fine, coarse in pairs)
        self.larger = nn.ModuleList(nn.ConvTranspose2d(coarse, fine, 2, 2) for fine, coarse in pairs)
        self.up = nn.ModuleList(_Block(*level) for level in zip(channels[:-1], rows[:-1], strict=True))
        self._make_heads(channels[0])
        self.to(memory_format=torch.channels_last)

    def _make_heads(self, width: int) -> None:
        """What turns the U-Net's output into answers."""
        self.head = nn.Conv2d(width, len(self.stems) * 2 * BINS, 1)

    def forward(self, audio: Tensor) -> Tensor:
        """Separate ``[batch, 2, samples]`` into ``[batch, stems, 2, samples]``."""
        spectrum, image = spectrum_of(with_mid_side(audio), self.spec)
        return apply_logits(self._logits(image[:, :, :-1]), spectrum[:, :2], audio.shape[-1], self.spec)

    def _logits(self, image: Tensor) -> Tensor:
        """``[batch, 4, bins, frames] -> [batch, stems, 2, bins, frames]``."""
        return self._per_bin(self.head, self._through(self.embed(self._patches(image))))[..., : image.shape[-1]]

    def _patches(self, image: Tensor) -> Tensor:
        """``[batch, 4, bins, frames] -> [batch, 4 * BINS, bins / BINS, frames]``, as many frames as fit."""
        image = nn.functional.pad(image, (0, -image.shape[-1] % (1 << len(self.smaller))))
        patches: Tensor = rearrange(image, "b c (f p) t -> b (c p) f t", p=BINS)
        return patches.contiguous(memory_format=torch.channels_last)

    def _through(self, hidden: Tensor) -> Tensor:
        """The U-Net itself, ``[batch, channels[0], rows[0], frames]``, same shape."""
        hidden = hidden + self.place
        skips: list[Tensor] = []
        for block, smaller in zip(self.down[:-1], self.smaller, strict=True):
            skips.append(block(hidden))
            hidden = smaller(skips[-1])
        hidden = self.down[-1](hidden)
        for block, larger, skip in zip(reversed(self.up), reversed(self.larger), reversed(skips), strict=True):
            hidden = block(larger(hidden) + skip)
        return hidden

    def _per_bin(self, head: nn.Module, hidden: Tensor) -> Tensor:
        """What a head says of every bin, ``[batch, stems, 2, bins, frames]``."""
        said: Tensor = rearrange(head(hidden), "b (s c p) f t -> b s c (f p) t", s=len(self.stems), c=2, p=BINS)
        return said
