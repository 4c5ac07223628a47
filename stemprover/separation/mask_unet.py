"""A mask U-Net: soft masks on the mixture's magnitude, the mixture's phase.

After Jansson et al. (2017) and Spleeter (Hennequin et al., 2020), made small: patches of bins and frames take the place
of the first convolutions at full resolution, and one network gives the masks of all stems.
"""

from __future__ import annotations

import torch
from diffusers.configuration_utils import ConfigMixin, register_to_config
from diffusers.models.modeling_utils import ModelMixin
from einops import rearrange
from torch import Tensor, nn

from stemprover.separation.layout import STEMS, apply_logits, spectrum_of
from stemprover.spectral.spec import SpectralSpec

__all__ = ["MaskUNet"]

_BINS, _FRAMES = 4, 2  # size of a patch


class _Block(nn.Sequential):
    """Two 3 x 3 convolutions, ``[batch, before, rows, columns] -> [batch, after, rows, columns]``."""

    def __init__(self, before: int, after: int) -> None:
        super().__init__(
            *(nn.Conv2d(before, after, 3, padding=1, bias=False), nn.BatchNorm2d(after), nn.SiLU()),
            *(nn.Conv2d(after, after, 3, padding=1, bias=False), nn.BatchNorm2d(after), nn.SiLU()),
        )


class MaskUNet(ModelMixin, ConfigMixin):  # type: ignore[misc]
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
        n_fft: int = 2048,
        hop: int = 512,
        channels: tuple[int, ...] = (40, 64, 96, 128),
        stems: tuple[str, ...] = STEMS,
    ) -> None:
        super().__init__()
        self.stems = tuple(stems)
        self.spec = SpectralSpec(n_fft=n_fft, hop=hop)
        self.rows = n_fft // 2 // _BINS
        self.embed = nn.Conv2d(2 * _BINS * _FRAMES, channels[0], 1)
        self.place = nn.Parameter(torch.zeros(1, channels[0], self.rows, 1))  # what is usual at this frequency
        widths = (channels[0], *channels)
        self.down = nn.ModuleList(_Block(widths[k], widths[k + 1]) for k in range(len(channels)))
        self.up = nn.ModuleList(
            _Block(channels[k] + channels[k - 1], channels[k - 1]) for k in range(len(channels) - 1, 0, -1)
        )
        self.head = nn.Conv2d(channels[0], len(self.stems) * 2 * _BINS * _FRAMES, 1)
        self.to(memory_format=torch.channels_last)

    def forward(self, audio: Tensor) -> Tensor:
        """Separate ``[batch, 2, samples]`` into ``[batch, stems, 2, samples]``."""
        spectrum, image = spectrum_of(audio, self.spec)
        return apply_logits(self._logits(image[:, :, :-1]), spectrum, audio.shape[-1], self.spec)

    def _logits(self, image: Tensor) -> Tensor:
        """``[batch, 2, bins, frames] -> [batch, stems, 2, bins, frames]``."""
        frames = image.shape[-1]
        image = nn.functional.pad(image, (0, -frames % (_FRAMES << len(self.down))))
        patches = rearrange(image, "b c (f p) (t q) -> b (c p q) f t", p=_BINS, q=_FRAMES)
        hidden = self.embed(patches.contiguous(memory_format=torch.channels_last)) + self.place
        skips: list[Tensor] = []
        for block in self.down:
            if skips:
                hidden = nn.functional.max_pool2d(hidden, 2)
            hidden = block(hidden)
            skips.append(hidden)
        for block, skip in zip(self.up, reversed(skips[:-1]), strict=True):
            hidden = block(torch.cat([nn.functional.interpolate(hidden, scale_factor=2.0), skip], 1))
        logits: Tensor = rearrange(
            self.head(hidden), "b (s c p q) f t -> b s c (f p) (t q)", s=len(self.stems), c=2, p=_BINS, q=_FRAMES
        )
        return logits[..., :frames]
