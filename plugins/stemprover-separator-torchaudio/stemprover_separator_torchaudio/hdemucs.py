"""Hybrid Demucs (Défossez, 2021, "Hybrid Spectrogram and Waveform Source Separation") as torchaudio ships it."""

from __future__ import annotations

import functools
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

from stemprover.errors import PluginError
from stemprover.separation.inference import separate

__all__ = ["HybridDemucs", "find_bundle"]

_QUIET = 1e-8


class HybridDemucs:
    """One of torchaudio's bundles, ``HDEMUCS_HIGH_MUSDB`` or ``HDEMUCS_HIGH_MUSDB_PLUS``.

    Parameters
    ----------
    name : str
        The bundle's name in lower case.
    """

    stems: tuple[str, ...] = ("drums", "bass", "other", "vocals")
    sample_rate = 44_100

    def __init__(self, name: str) -> None:
        self.name = name

    @functools.cached_property
    def network(self) -> nn.Module:
        """The network; torchaudio fetches its weights into torch's hub folder unless they are there."""
        bundle = find_bundle(self.name)
        try:
            network: nn.Module = bundle.get_model()
        except (OSError, RuntimeError) as error:  # no network, a broken download, weights of another version
            fix = "check the network, or put the file where the message says"
            raise PluginError(f"weights of {self.name}", f"{type(error).__name__}: {error}", fix) from error
        return network.eval().requires_grad_(False)

    @torch.inference_mode()
    def separate(self, audio: Tensor) -> Mapping[str, Tensor]:
        """Take a mixture ``[2, samples]`` apart; see :class:`stemprover.separation.base.Separator`.

        The mixture is brought to zero mean and unit deviation, as in training, and the stems back to its level.
        """
        mono = audio.mean(0)
        mean, deviation = mono.mean(), mono.std()
        found = separate(self.network.to(audio.device), (audio - mean) / (deviation + _QUIET)) * deviation + mean
        return dict(zip(self.network.sources, found, strict=True))


def find_bundle(name: str) -> Any:
    """Return a bundle of ``torchaudio.pipelines``.

    Raises
    ------
    PluginError
        If torchaudio is not installed, or breaks while it is imported: its binaries must be built for the very PyTorch
        that is installed.
    """
    try:
        from torchaudio import pipelines
    except ImportError as error:
        fix = "run: pip install torchaudio, in the version that fits the installed torch"
        raise PluginError(f"torchaudio for separator {name}", f"none that can be imported ({error})", fix) from error
    except (OSError, RuntimeError) as error:
        fix = f"install the torchaudio that was built for torch {torch.__version__}, from the same index"
        reason = str(error).partition("\n")[0]
        raise PluginError(f"a torchaudio that works for separator {name}", f"a broken one ({reason})", fix) from error
    return getattr(pipelines, name.upper())
