"""An Open-Unmix-like separator (Stoeter et al., 2019): a recurrent network over whole spectra.

The magnitude is cropped to 16 kHz, normalised per bin and squeezed through a linear layer; a bidirectional LSTM sees
the song's course; a linear layer spreads the answer over all bins and scales the mixture. Unlike the original, one
network serves all stems, with one mask for both channels, a sigmoid: rectified ones died in short trainings.
"""

from __future__ import annotations

import torch
from diffusers.configuration_utils import ConfigMixin, register_to_config
from diffusers.models.modeling_utils import ModelMixin
from einops import rearrange
from torch import Tensor, nn

from stemprover.separation.layout import STEMS, apply_masks, spectrum_of
from stemprover.spectral.spec import SpectralSpec

__all__ = ["OpenUnmixLike"]

_BANDWIDTH_HZ = 16_000


class OpenUnmixLike(ModelMixin, ConfigMixin):  # type: ignore[misc]
    """Masks between 0 and 1 from a bidirectional LSTM.

    Parameters
    ----------
    n_fft, hop : int
        Frame and hop of its STFT.
    hidden : int
        Width of the bottleneck and of the LSTM (both directions together).
    layers : int
        LSTM layers.
    stems : tuple of str
        Stem classes in the order of the output.
    """

    @register_to_config  # type: ignore[untyped-decorator]
    def __init__(
        self, n_fft: int = 4096, hop: int = 1024, hidden: int = 160, layers: int = 2, stems: tuple[str, ...] = STEMS
    ) -> None:
        super().__init__()
        self.stems = tuple(stems)
        self.spec = SpectralSpec(n_fft=n_fft, hop=hop)
        self.seen = _BANDWIDTH_HZ * n_fft // self.spec.sample_rate
        self.shift = nn.Parameter(torch.full((self.seen,), -0.6))
        self.scale = nn.Parameter(torch.full((self.seen,), 2.0))
        self.squeeze = nn.Sequential(nn.Linear(2 * self.seen, hidden), nn.LayerNorm(hidden), nn.Tanh())
        self.lstm = nn.LSTM(hidden, hidden // 2, layers, batch_first=True, bidirectional=True)
        self.spread = nn.Sequential(nn.Linear(2 * hidden, hidden), nn.LayerNorm(hidden), nn.ReLU())
        self.masks = nn.Linear(hidden, len(self.stems) * self.spec.n_bins)
        nn.init.constant_(self.masks.bias, -1.1)  # begin with a quarter of the mixture each

    def forward(self, audio: Tensor) -> Tensor:
        """Separate ``[batch, 2, samples]`` into ``[batch, stems, 2, samples]``."""
        spectrum, image = spectrum_of(audio, self.spec)
        features = (image[:, :, : self.seen].transpose(2, 3) + self.shift) * self.scale
        squeezed = self.squeeze(rearrange(features, "b c t f -> b t (c f)"))
        with torch.autocast(audio.device.type, enabled=False):  # no half-precision LSTM on every processor
            course = self.lstm(squeezed.float())[0]
        answer = self.masks(self.spread(torch.cat([squeezed.float(), course], -1)))
        shares = rearrange(torch.sigmoid(answer.float()), "b t (s f) -> b s 1 f t", s=len(self.stems))
        return apply_masks(shares, spectrum, audio.shape[-1], self.spec)
