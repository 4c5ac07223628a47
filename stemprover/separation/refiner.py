"""A network that hears a stem beside the mixture that it was taken from, and says what the stem should have been."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn

from stemprover.separation.layout import spectrum_of, with_highest_bin
from stemprover.separation.tfc_tdf import BINS, TfcTdfUNet, with_mid_side
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

    Its parameters are those of :class:`~stemprover.separation.tfc_tdf.TfcTdfUNet`.
    """

    def _make_heads(self, width: int) -> None:
        super()._make_heads(width)
        self.embed_stem = nn.Conv2d(4 * BINS, width, 1, bias=False)
        self.trust = nn.Conv2d(width, len(self.stems) * 2 * BINS, 1)
        self.keep = nn.Conv2d(width, len(self.stems) * 2 * BINS, 1)
        nn.init.zeros_(self.embed_stem.weight)
        for head, logit in ((self.trust, _TRUST), (self.keep, _KEEP)):
            nn.init.zeros_(head.weight)
            nn.init.constant_(head.get_parameter("bias"), logit)

    @classmethod
    def of(cls, separator: TfcTdfUNet) -> Refiner:
        """Return a refiner with the weights of a separator, which has yet to learn what to make of a stem."""
        refiner: Refiner = cls.from_config(separator.config)
        refiner.load_state_dict({**refiner.state_dict(), **separator.state_dict()})
        return refiner

    def forward(self, stem: Tensor, mixture: Tensor, index: Tensor) -> Tensor:  # type: ignore[override]
        """Refine stems ``[batch, 2, samples]``; ``index``, ``[batch]``, is the place of each among ``stems``."""
        heard = with_mid_side(mixture)
        spectrum, image = spectrum_of(heard, self.spec)
        own, own_image = spectrum_of(with_mid_side(stem), self.spec, level_of=heard)
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


def listener(network: nn.Module) -> Listener:
    """Return how a network hears a stem; a separator hears the mixture alone."""
    if isinstance(network, Refiner):
        return lambda stem, mixture, index: network(stem, mixture, torch.full((len(stem),), index, device=stem.device))
    return lambda _stem, mixture, index: network(mixture)[:, index]
