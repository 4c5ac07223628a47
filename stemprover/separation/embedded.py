"""The host's own separator: small, in the package, nothing to download."""

from __future__ import annotations

import functools
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from stemprover.plugins import folder_sha256
from stemprover.separation.hpss import HPSS_STEMS, split_percussive
from stemprover.separation.inference import separate
from stemprover.separation.layout import STEMS
from stemprover.separation.trained import load_network
from stemprover.spectral.residue import share_residue
from stemprover.spectral.spec import SPEC

__all__ = ["EMBEDDED_SEPARATOR", "EmbeddedSeparator"]

EMBEDDED_SEPARATOR = Path(__file__).parent.parent / "weights" / "separator"


class EmbeddedSeparator:
    """A small network for drums, bass, other and vocals; without its weights, median filters for drums and other.

    The stems sum to the mixture: what the network gives to none of them is shared out.

    Parameters
    ----------
    folder : Path
        Holds the network's configuration and safetensors weights.
    """

    name = "light"
    sample_rate = SPEC.sample_rate

    def __init__(self, folder: Path = EMBEDDED_SEPARATOR) -> None:
        self._folder = folder if (folder / "config.json").is_file() else None

    @property
    def stems(self) -> tuple[str, ...]:
        """Stem classes that it returns."""
        return HPSS_STEMS if self._folder is None else STEMS

    @property
    def is_stand_in(self) -> bool:
        """Whether median filters stand in for the network, because its weights are not there."""
        return self._folder is None

    @property
    def contents(self) -> str:
        """SHA-256 of its weights; empty without."""
        return "" if self._folder is None else folder_sha256(self._folder)

    @torch.inference_mode()
    def separate(self, audio: Tensor) -> Mapping[str, Tensor]:
        """Take a mixture ``[2, samples]`` apart; see :class:`stemprover.separation.base.Separator`."""
        if self._folder is None:
            return split_percussive(audio)
        network = load_network(self._folder, audio.device)
        return dict(zip(STEMS, separate(functools.partial(_shared_out, network), audio), strict=True))


def _shared_out(network: nn.Module, audio: Tensor) -> Tensor:
    """The network's stems with their shares of what they leave of the mixture; shapes as the network's."""
    stems: Tensor = network(audio)
    made = [
        np.stack(share_residue(mixture, list(parts)))
        for mixture, parts in zip(audio.double().cpu().numpy(), stems.double().cpu().numpy(), strict=True)
    ]
    return (stems.double().cpu() + torch.from_numpy(np.stack(made))).to(stems)
