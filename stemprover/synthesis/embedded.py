"""The embedded vocoder: ConvNeXt over patches of bands and frames, complex gains per band, iSTFT.

It follows Vocos (Siuzdak, 2023) in predicting an STFT instead of samples, but a refiner knows more than a mel
spectrogram: the input's phase and the siblings' spectrum. Convolving over bands as well as frames lets it learn from
every band what holds in any. Its head mixes three spectra per bin,

    Y = g X  +  h S  +  n |R| N

with X the stem, S the siblings, R the restored magnitude and N a noise carrier that turns with the stem's phase.
``g`` starts as stage 1's band gain and turns phase only where the magnitude was not trusted; ``h`` brings back what the
separator put into a sibling, with the sibling's phase; ``n`` fills holes that neither explains. ``g`` and ``h`` vary
inside a band with the local ratio of X to S, as a Wiener filter does. All corrections are scaled by how much stage 1
changed the band's magnitude, so where it changed nothing Y is X, phase included. They start at zero: untrained, this is
stage 1 with input phase.
"""

from __future__ import annotations

from pathlib import Path

import torch
from diffusers.configuration_utils import ConfigMixin, register_to_config
from diffusers.models.modeling_utils import ModelMixin
from torch import Tensor, nn

from stemprover.errors import ModelError
from stemprover.spectral.bands import to_bins
from stemprover.spectral.codec import band_gain, patchify, reference_level, to_image, unpatchify
from stemprover.spectral.phase import band_features, unit
from stemprover.spectral.spec import SPEC
from stemprover.spectral.stft import istft
from stemprover.synthesis.base import VocoderInput

__all__ = ["ConvNeXtBlock", "EmbeddedVocoder", "load_embedded"]

_SEEN = 7
"""Maps that the network reads: stem, restored, siblings, coherence (real, imaginary), two phase deviations."""
_HEAD = 7
"""Values per band: gain, its slope over the local ratio, turn; sibling gain (real, imaginary), its slope; noise."""


class ConvNeXtBlock(nn.Module):
    """Depthwise 7 x 7 convolution, expansion, residual (Liu et al., 2022); ``[batch, dim, rows, columns]`` and back."""

    def __init__(self, dim: int, expansion: int = 3) -> None:
        super().__init__()
        self.depthwise = nn.Conv2d(dim, dim, 7, padding=3, groups=dim)
        self.norm = nn.LayerNorm(dim)
        self.expand = nn.Linear(dim, expansion * dim)
        self.project = nn.Linear(expansion * dim, dim)
        self.scale = nn.Parameter(torch.full((dim,), 0.1))

    def forward(self, features: Tensor) -> Tensor:
        """Apply the block."""
        # On CPUs the gradient of a depthwise convolution takes twice as long in bfloat16 as in float32.
        with torch.autocast(features.device.type, enabled=False):
            local = self.depthwise(features.to(self.depthwise.weight.dtype))
        hidden = self.norm(local.permute(0, 2, 3, 1))
        hidden = self.project(nn.functional.gelu(self.expand(hidden))) * self.scale
        refined: Tensor = features + hidden.permute(0, 3, 1, 2)
        return refined


def _features(request: VocoderInput) -> Tensor:
    """Stack what the network reads, shape ``[batch, _SEEN, n_bands, frames]``."""
    seen = request.features or band_features(request.spectrum, request.siblings)
    restored = to_image(request.restored, seen.level)
    parts = (seen.image, restored, seen.sibling_image, seen.coherence_real, seen.coherence_imag)
    return torch.stack([*parts, seen.group_delay, seen.frequency], dim=1)


class EmbeddedVocoder(ModelMixin, ConfigMixin):  # type: ignore[misc]
    """Phase-aware iSTFT vocoder, 44.1 kHz full band.

    Parameters
    ----------
    dim : int
        Width of the ConvNeXt stack; its image is ``n_bands / patch`` rows of ``frames / patch`` columns.
    depth : int
        Number of blocks.
    """

    name = "embedded"

    @register_to_config  # type: ignore[untyped-decorator]
    def __init__(
        self,
        dim: int = 128,
        depth: int = 6,
        spectral_spec: str = SPEC.digest(),  # noqa: ARG002 (kept in config.json)
    ) -> None:
        super().__init__()
        cells = SPEC.patch**2
        self.embed = nn.Conv2d(_SEEN * cells, dim, 1)
        self.rows = nn.Parameter(torch.zeros(dim, SPEC.n_bands // SPEC.patch, 1))
        self.blocks = nn.ModuleList(ConvNeXtBlock(dim) for _ in range(depth))
        self.norm = nn.LayerNorm(dim)
        self.head = nn.Linear(dim, _HEAD * cells)
        nn.init.zeros_(self.head.weight)
        nn.init.zeros_(self.head.bias)

    def forward(self, features: Tensor) -> Tensor:
        """Predict head values ``[batch, _HEAD, n_bands, frames]`` from features ``[batch, _SEEN, n_bands, frames]``."""
        frames = features.shape[-1]
        padded = nn.functional.pad(features, (0, -frames % SPEC.patch))
        hidden = self.embed(patchify(padded).contiguous(memory_format=torch.channels_last)) + self.rows
        for block in self.blocks:
            hidden = block(hidden)
        values = self.head(self.norm(hidden.permute(0, 2, 3, 1))).permute(0, 3, 1, 2)
        return unpatchify(values)[..., :frames]

    def mix(self, request: VocoderInput) -> Tensor:
        """Return the complex spectrum of the repaired stem, shape ``[batch, n_bins, frames]``."""
        stem = request.spectrum
        siblings = request.siblings if request.siblings is not None else torch.zeros_like(stem)
        level = reference_level(request.degraded)
        gain = band_gain(to_image(request.degraded, level), to_image(request.restored, level))
        trust = torch.minimum(gain, 1.0 / gain.clamp_min(1e-3))
        renew = torch.sqrt((1.0 - trust).clamp_min(0.0))
        soft = torch.tanh(self(_features(request)).float()) * renew.unsqueeze(1)
        ratio = _local_ratio(stem, siblings)
        stem_gain = to_bins(torch.exp(soft[:, 0]) * gain) * torch.exp(to_bins(2.0 * soft[:, 1]) * ratio)
        stem_gain = torch.polar(stem_gain.clamp_max(4.0), to_bins(torch.pi * soft[:, 2]))
        sibling_gain = torch.complex(to_bins(soft[:, 3]), to_bins(soft[:, 4]))
        sibling_gain = sibling_gain * torch.exp(to_bins(2.0 * soft[:, 5]) * ratio)
        fill = to_bins(soft[:, 6] * request.restored)
        return stem * stem_gain + siblings * sibling_gain + fill * _carrier(stem)

    @torch.inference_mode()
    def synthesise(self, request: VocoderInput) -> Tensor:
        """Return audio ``[batch, n_samples]``; see :class:`~stemprover.synthesis.base.Vocoder`."""
        return istft(self.mix(request), request.n_samples)


def _local_ratio(stem: Tensor, siblings: Tensor) -> Tensor:
    """Log power ratio of stem to siblings per bin in ``[-1, 1]`` (tanh of 10 dB steps), 0 without siblings."""
    size, sibling_size = stem.abs(), siblings.abs()
    floor = 1e-6 * size.amax(dim=(-2, -1), keepdim=True).clamp_min(1e-6)
    present = (sibling_size.amax(dim=(-2, -1), keepdim=True) > 0).to(size)
    return torch.tanh(torch.log10((size + floor) / (sibling_size + floor))) * present


def _carrier(stem: Tensor) -> Tensor:
    """Noise of unit magnitude: the stem's phase, turned at random, alike for every item and channel of a batch.

    Equal channels get equal noise and opposite ones opposite noise, so the stereo image cannot wander.
    """
    generator = torch.Generator().manual_seed(0)
    turn = torch.rand(stem.shape[-2:], generator=generator).to(stem.real) * (2.0 * torch.pi)
    return unit(stem) * torch.polar(torch.ones_like(turn), turn)


def load_embedded(folder: Path) -> EmbeddedVocoder:
    """Load an embedded vocoder in float32.

    Raises
    ------
    ModelError
        If the folder holds none, or one for another spectral spec.
    """
    try:
        vocoder: EmbeddedVocoder = EmbeddedVocoder.from_pretrained(folder, dtype=torch.float32).eval()
    except (OSError, ValueError) as error:
        raise ModelError("embedded vocoder weights", f"{folder.name}: {error}", "reinstall stemprover") from error
    if vocoder.config.spectral_spec != SPEC.digest():
        raise ModelError(f"a vocoder for {SPEC.digest()}", str(vocoder.config.spectral_spec), "reinstall stemprover")
    return vocoder
