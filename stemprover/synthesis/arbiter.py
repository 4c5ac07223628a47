"""An arbiter between a stem and another separator's idea of it: it says where to keep the one or take the other.

Stacked generalisation (Wolpert, 1992): the arbiter learns on answers about music that their separator never heard, so
that it learns how good such answers are and not how well its separator knows the songs it trained on. It hears no
audio. It sees how loud stem, answer and mixture are in each band and frame, and how far each two of them agree.
"""

from __future__ import annotations

import functools
import itertools
from collections.abc import Sequence
from pathlib import Path

import torch
from diffusers.configuration_utils import ConfigMixin, register_to_config
from diffusers.models.modeling_utils import ModelMixin
from torch import Tensor, nn

from stemprover.errors import ModelError
from stemprover.spectral.spec import SpectralSpec
from stemprover.spectral.stft import istft, product, stft

__all__ = ["ARBITER_SPEC", "INPUTS", "Arbiter", "bins_in_band", "load_arbiter", "products", "seen_in"]

ARBITER_SPEC = SpectralSpec(n_fft=4096, hop=1024, n_bands=64)
"""Longer frames than ``SPEC``'s: what it weighs are partials and beats, and it leaves their phase alone."""
INPUTS = 6
"""Products of stem, answer and mixture."""

_TRUST, _KEEP = 0.0, 4.0  # logits at the beginning: half of the answer, and next to nothing taken away
_SEEN = 10
_PATCH = 2  # bands and frames that the U-Net takes together: four times as fast
_OF_PLACE = 8
_REDUCTIONS = 3
_BELS = 4.0
_TINY = 1e-9  # of the level of the whole


@functools.cache
def _band_of_bin() -> Tensor:
    """Number of the band that each bin belongs to, ``[n_bins]``: equally wide in equivalent rectangular bandwidths.

    Source: Glasberg and Moore, "Derivation of auditory filter shapes from notched-noise data", 1990.
    """
    spec = ARBITER_SPEC
    with torch.inference_mode(False):
        hertz = torch.arange(spec.n_bins, dtype=torch.float64) * spec.sample_rate / spec.n_fft
        erb = 21.4 * torch.log10(1.0 + 0.00437 * hertz)
        return (erb / erb[-1] * spec.n_bands).long().clamp_max(spec.n_bands - 1)


@functools.cache
def bins_in_band() -> Tensor:
    """Which bins a band is made of, ``[n_bands, n_bins]``, zeros and ones."""
    with torch.inference_mode(False):
        return nn.functional.one_hot(_band_of_bin(), ARBITER_SPEC.n_bands).T.float().contiguous()


def products(spectra: Sequence[Tensor]) -> Tensor:
    """Energies in bands, and products of each two spectra.

    Parameters
    ----------
    spectra : sequence of Tensor
        Complex, each ``[batch, channels, n_bins, frames]`` with ``ARBITER_SPEC``.

    Returns
    -------
    Tensor
        Shape ``[batch, pairs, n_bands, frames]``: of ``a, b, c`` these are ``aa, ab, ac, bb, bc, cc``, sums over a
        band's bins and channels.
    """
    bins = bins_in_band().to(spectra[0].device)
    both = itertools.combinations_with_replacement(spectra, 2)
    return torch.stack([bins @ product(one, other).sum(1) for one, other in both], 1)


def seen_in(known: Tensor) -> Tensor:
    """Return the image that an arbiter sees.

    Parameters
    ----------
    known : Tensor
        :func:`products` of stem, answer and mixture, shape ``[batch, 6, n_bands, frames]``.

    Returns
    -------
    Tensor
        Shape ``[batch, 10, n_bands, frames]``: levels relative to the whole's, ratios in half bels, agreement from
        -1 to 1.
    """
    level = known[:, [0, 5]].mean((2, 3), keepdim=True).sum(1, keepdim=True) + 1e-20
    ss, sh, sm, hh, hm, mm = (known / level).clamp(-1e6, 1e6).unbind(1)

    def ratio(one: Tensor, other: Tensor | float) -> Tensor:
        return 0.5 * torch.log10((one.clamp_min(0.0) + _TINY) / (other + _TINY)).clamp(-_BELS, _BELS)

    def agreement(both: Tensor, one: Tensor, other: Tensor) -> Tensor:
        return both / torch.sqrt(one * other + _TINY**2)

    images = [
        ratio(ss, 1.0),
        ratio(hh, 1.0),
        ratio(mm, 1.0),
        ratio(hh, ss),
        ratio(ss, mm),
        agreement(sh, ss, hh),
        agreement(sm, ss, mm),
        agreement(hm, hh, mm),
        ratio(ss + hh - 2.0 * sh, ss),  # what the answer would change
        ratio(mm + ss - 2.0 * sm, ss),  # the siblings
    ]
    return torch.stack(images, 1)


class Arbiter(ModelMixin, ConfigMixin):  # type: ignore[misc]
    """A U-Net over bands and frames: how much of the stem to keep, and how far to trust the answer.

    ``keep * (1 - trust) * stem + trust * answer`` is what it settles on.

    Parameters
    ----------
    classes : tuple of str
        Stem classes that it knows.
    width : int
        Channels of all its layers, a multiple of four.
    alone : bool
        Whether it weighs stems that come alone, whose separator heard the stem itself as its mixture.
    spectral_spec : str
        Digest of the spectral spec that it sees with.
    """

    @register_to_config  # type: ignore[untyped-decorator]
    def __init__(
        self,
        classes: tuple[str, ...],
        width: int = 48,
        alone: bool = False,  # noqa: ARG002 (kept in config.json)
        spectral_spec: str = ARBITER_SPEC.digest(),  # noqa: ARG002 (kept in config.json)
    ) -> None:
        super().__init__()
        self.classes = tuple(classes)
        # What is usual at this frequency in this class.
        self.place = nn.Parameter(torch.zeros(len(self.classes), _OF_PLACE, ARBITER_SPEC.n_bands, 1))
        self.enter = _layer((_SEEN + _OF_PLACE) * _PATCH**2, width)
        self.smaller = nn.ModuleList(_layer(width, width, 2) for _ in range(_REDUCTIONS))
        self.down = nn.ModuleList(_layer(width, width) for _ in range(_REDUCTIONS + 1))
        self.whole = nn.Linear(width, width)
        self.up = nn.ModuleList(_layer(2 * width, width) for _ in range(_REDUCTIONS))
        self.head = nn.Conv2d(width, 2 * _PATCH**2, 1)
        nn.init.zeros_(self.head.weight)
        with torch.no_grad():
            self.head.get_parameter("bias").copy_(torch.tensor([_TRUST, _KEEP]).repeat_interleave(_PATCH**2))
        self.to(memory_format=torch.channels_last)

    def forward(self, known: Tensor, index: Tensor) -> Tensor:
        """Weigh stems against answers.

        Parameters
        ----------
        known : Tensor
            :func:`products` of stem, answer and mixture, shape ``[batch, INPUTS, n_bands, frames]``.
        index : Tensor
            Place of each one's class among ``classes``, shape ``[batch]``.

        Returns
        -------
        Tensor
            Trust and keep, 0 to 1, shape ``[2, batch, n_bands, frames]``.
        """
        frames = known.shape[-1]
        padded = nn.functional.pad(seen_in(known), (0, -frames % (_PATCH * 2**_REDUCTIONS)))
        place = self.place[index].expand(-1, -1, -1, padded.shape[-1])
        patches = nn.functional.pixel_unshuffle(torch.cat([padded, place], 1), _PATCH)
        hidden = self.down[0](self.enter(patches.contiguous(memory_format=torch.channels_last)))
        skips = []
        for smaller, down in zip(self.smaller, self.down[1:], strict=True):
            skips.append(hidden)
            hidden = down(smaller(hidden))
        hidden = hidden + self.whole(hidden.mean((2, 3)))[:, :, None, None]  # how the whole stem compares
        for up, skip in zip(self.up, reversed(skips), strict=True):
            hidden = up(torch.cat([skip, nn.functional.interpolate(hidden, size=skip.shape[-2:])], 1))
        logits = nn.functional.pixel_shuffle(self.head(hidden).float(), _PATCH)[..., :frames]
        return torch.sigmoid(logits).transpose(0, 1)

    def settle(self, stem: Tensor, answer: Tensor, mixture: Tensor, stem_class: str) -> Tensor:
        """Return what lies between stems and answers.

        Parameters
        ----------
        stem, answer, mixture : Tensor
            Stems, what a separator says of them, and what it heard, each ``[batch, channels, samples]``.
        stem_class : str
            One of ``classes``.

        Returns
        -------
        Tensor
            Likewise; silence stays silent.
        """
        spectra = [stft(audio, ARBITER_SPEC) for audio in (stem, answer, mixture)]
        index = torch.full((len(stem),), self.classes.index(stem_class), device=stem.device)
        bands = _band_of_bin().to(stem.device)
        trust, keep = (share[:, None, bands] for share in self(products(spectra), index))
        return istft(keep * (1.0 - trust) * spectra[0] + trust * spectra[1], stem.shape[-1], ARBITER_SPEC)


def _layer(before: int, after: int, stride: int = 1) -> nn.Sequential:
    return nn.Sequential(nn.Conv2d(before, after, 3, stride, 1), nn.GroupNorm(4, after), nn.SiLU())


@torch.inference_mode(False)  # weights made in inference mode could be used nowhere else
def load_arbiter(folder: Path, alone: bool = False) -> Arbiter:
    """Load an arbiter in float32, of stems that come alone or of those beside others.

    Raises
    ------
    ModelError
        If the folder holds none, or one of another version, for another spectral spec or for the other stems.
    """
    fix = "train it again with `stemprover train arbiter`; if it came with stemprover, reinstall that"
    try:
        arbiter: Arbiter
        arbiter, loaded = Arbiter.from_pretrained(
            folder, dtype=torch.float32, use_safetensors=True, output_loading_info=True
        )
    except (OSError, ValueError, RuntimeError, TypeError) as error:
        raise ModelError(f"an arbiter in {folder}", str(error), fix) from error
    strange = [*loaded["missing_keys"], *loaded["unexpected_keys"]]  # diffusers would leave them as they were drawn
    if strange or arbiter.config.spectral_spec != ARBITER_SPEC.digest():
        raise ModelError(f"an arbiter in {folder}", "one of another version", fix)
    if arbiter.config.alone is not alone:
        kinds = ("for stems beside others", "for stems that come alone")
        raise ModelError(f"an arbiter {kinds[alone]} in {folder}", f"one {kinds[arbiter.config.alone]}", fix)
    arbiter.eval().requires_grad_(False)
    return arbiter
