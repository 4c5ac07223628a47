"""A network that hears a stem beside the mixture that it was taken from, and says what the stem should have been."""

from __future__ import annotations

from collections.abc import Callable

import torch
from diffusers.configuration_utils import register_to_config
from torch import Tensor, nn

from stemprover.separation.layout import STEMS, spectrum_of, with_highest_bin
from stemprover.separation.tfc_tdf import BINS, TfcTdfUNet
from stemprover.spectral.stft import istft

__all__ = ["Listener", "Refiner", "listener"]

Listener = Callable[[Tensor, Tensor, int], Tensor]
"""Stems ``[batch, 2, samples]``, their mixtures and the number of their class, to the stems as a network hears them."""

_TRUST, _KEEP = -1.5, 4.0  # logits at the beginning: a fifth of what the mask leaves, and next to nothing taken away


class Refiner(TfcTdfUNet):
    """A separator that is shown what another one made of its mixture.

    It keeps a share of the stem as it came and fills up with what its own mask leaves of the mixture, each in every bin
    and channel. A separator that hears the mixture alone makes errors of its own everywhere; this one learns where the
    stem is right already: ``(1 - trust) * keep * stem + trust * mask * mixture``. It begins with a separator's weights
    (:meth:`of`) and returns a fifth of what that one hears, and the rest of the stem as it came.

    Parameters
    ----------
    n_fft, hop, channels, stems
        See :class:`~stemprover.separation.tfc_tdf.TfcTdfUNet`.
    """

    @register_to_config  # type: ignore[untyped-decorator]
    def __init__(
        self,
        n_fft: int = 4096,
        hop: int = 1024,
        channels: tuple[int, ...] = (48, 72, 96, 128, 160),
        stems: tuple[str, ...] = STEMS,
    ) -> None:
        super().__init__(n_fft=n_fft, hop=hop, channels=channels, stems=stems)
        self.embed_stem = nn.Conv2d(4 * BINS, channels[0], 1, bias=False)
        self.trust = nn.Conv2d(channels[0], len(self.stems) * 2 * BINS, 1)
        self.keep = nn.Conv2d(channels[0], len(self.stems) * 2 * BINS, 1)
        nn.init.zeros_(self.embed_stem.weight)
        for head, logit in ((self.trust, _TRUST), (self.keep, _KEEP)):
            nn.init.zeros_(head.weight)
            nn.init.constant_(head.get_parameter("bias"), logit)
        self.to(memory_format=torch.channels_last)

    @classmethod
    def of(cls, separator: TfcTdfUNet) -> Refiner:
        """Return a refiner with the weights of a separator, which has yet to learn what to make of a stem."""
        own = {name: separator.config[name] for name in ("n_fft", "hop", "channels", "stems")}
        refiner: Refiner = cls(**own)
        refiner.load_state_dict({**refiner.state_dict(), **separator.state_dict()})
        return refiner

    def forward(self, stem: Tensor, mixture: Tensor, index: Tensor) -> Tensor:  # type: ignore[override]
        """Refine stems ``[batch, 2, samples]``; ``index``, ``[batch]``, is the place of each among ``stems``."""
        heard = _four(mixture)
        spectrum, image = spectrum_of(heard, self.spec)
        own, own_image = spectrum_of(_four(stem), self.spec, level_of=heard)
        patches = self._patches(image[:, :, :-1]), self._patches(own_image[:, :, :-1])
        hidden = self._through(self.embed(patches[0]) + self.embed_stem(patches[1]))
        rows, frames = torch.arange(len(stem), device=stem.device), image.shape[-1]

        def shares(head: nn.Module) -> Tensor:
            logits = self._per_bin(head, hidden)[rows, index][..., :frames]
            return with_highest_bin(torch.sigmoid(logits.float()))

        trust = shares(self.trust)
        kept, filled = (1.0 - trust) * shares(self.keep), trust * shares(self.head)
        with torch.autocast(stem.device.type, enabled=False):
            return istft(kept * own[:, :2] + filled * spectrum[:, :2], stem.shape[-1], self.spec)


def _four(audio: Tensor) -> Tensor:
    """Left, right, mid and side."""
    left, right = audio[:, :1], audio[:, 1:]
    return torch.cat([audio, (left + right) / 2, (left - right) / 2], 1)


def listener(network: nn.Module) -> Listener:
    """Return how a network hears a stem; a separator hears the mixture alone."""
    if isinstance(network, Refiner):
        return lambda stem, mixture, index: network(stem, mixture, torch.full((len(stem),), index, device=stem.device))
    return lambda _stem, mixture, index: network(mixture)[:, index]
