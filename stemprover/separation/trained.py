"""Separators on disk: which architectures there are, and what a trained one has heard."""

from __future__ import annotations

import dataclasses
import functools
import json
from collections.abc import Iterable, Mapping
from pathlib import Path

import numpy as np
import torch
from torch import nn

from stemprover.errors import ModelError
from stemprover.separation.inference import separate
from stemprover.separation.layout import STEMS
from stemprover.separation.mask_unet import MaskUNet
from stemprover.separation.open_unmix import OpenUnmixLike
from stemprover.separation.spleeter import Spleeter
from stemprover.separation.tfc_tdf import TfcTdfUNet
from stemprover.separation.waveform_unet import WaveformUNet

__all__ = ["ARCHITECTURES", "TRAINED_ON", "TrainedSeparator", "find_separators", "load_network"]

ARCHITECTURES: Mapping[str, type[nn.Module]] = {
    "mask-unet": MaskUNet,
    "open-unmix": OpenUnmixLike,
    "tfc-tdf": TfcTdfUNet,
    "waveform-unet": WaveformUNet,
    "spleeter": Spleeter,
}
TRAINED_ON = "trained_on.json"


@dataclasses.dataclass(frozen=True, slots=True)
class TrainedSeparator:
    """A separator's folder.

    Attributes
    ----------
    architecture : str
        One of ``ARCHITECTURES``.
    folder : Path
        Holds weights, configuration and ``trained_on.json``.
    heard : frozenset of str
        Songs, kits and solo recordings that it trained on.
    stems : tuple of str
        Stem classes in the order of its output.
    """

    architecture: str
    folder: Path
    heard: frozenset[str]
    stems: tuple[str, ...] = STEMS

    @property
    def whole(self) -> bool:
        """Whether its stems together are the mixture, as those of all separators that are trained here."""
        return True

    def separate(self, audio: np.ndarray, sources: Iterable[str]) -> np.ndarray:
        """Separate a mixture ``[2, samples]`` that was made from ``sources`` into ``[stems, 2, samples]``.

        Raises
        ------
        ModelError
            If it trained on one of them: what it makes of known music tells nothing about unknown music.
        """
        self.require_unknown(sources)
        return separate(load_network(self.folder), torch.from_numpy(audio)).numpy()

    def require_unknown(self, sources: Iterable[str]) -> None:
        """Raise :class:`ModelError` if it trained on one of these songs and kits."""
        known = sorted(self.heard.intersection(sources))
        if known:
            fix = "train another one with --without " + " --without ".join(known)
            raise ModelError(f"a separator that never heard {', '.join(known)}", f"{self.folder} did", fix)


def find_separators(folder: Path) -> tuple[TrainedSeparator, ...]:
    """Return every separator at or below a folder, for example all ``final`` and ``early`` of a folder of runs.

    Raises
    ------
    ModelError
        If there is none, or one cannot be read.
    """
    found = tuple(_describe(path.parent) for path in sorted(folder.rglob(TRAINED_ON)))
    if not found:
        fix = "train them with `stemprover train separator`"
        raise ModelError("separators", f"none below {folder}", fix)
    return found


def _describe(folder: Path) -> TrainedSeparator:
    try:
        heard = json.loads((folder / TRAINED_ON).read_text(encoding="utf-8"))["heard"]
        architecture, stems = _configuration(folder)
        return TrainedSeparator(architecture, folder, frozenset(heard), stems)
    except (OSError, ValueError, KeyError, TypeError) as error:
        fix = "delete the folder or train it again with `stemprover train separator`"
        raise ModelError(f"a separator in {folder}", repr(error), fix) from error


def _configuration(folder: Path) -> tuple[str, tuple[str, ...]]:
    """Architecture, and stems: the first separators knew songs only and did not name theirs."""
    config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    name = config["_class_name"]
    names = {kind.__name__: architecture for architecture, kind in ARCHITECTURES.items()}
    if name not in names:
        raise ValueError(f"no architecture {name}; known are {', '.join(names)}")
    return names[name], tuple(config.get("stems", STEMS))


def load_network(folder: Path, device: torch.device | None = None) -> nn.Module:
    """Load a separator's network, ready to run on the CPU or another device; each is loaded once and must stay there.

    Raises
    ------
    ModelError
        If the folder does not hold one.
    """
    return _loaded(folder, device or torch.device("cpu"))


@functools.lru_cache(maxsize=32)
@torch.inference_mode(False)  # weights made in inference mode could be used nowhere else
def _loaded(folder: Path, device: torch.device) -> nn.Module:
    fix = "give the final/ folder of a run of `stemprover train separator`"
    try:
        kind = ARCHITECTURES[_configuration(folder)[0]]
        loaded = kind.from_pretrained(  # type: ignore[attr-defined]
            folder, dtype=torch.float32, use_safetensors=True, output_loading_info=True
        )
    except (OSError, ValueError, KeyError) as error:
        raise ModelError(f"a separator in {folder}", str(error), fix) from error
    network: nn.Module = loaded[0]
    # diffusers only warns of these, and leaves random weights in place of missing ones.
    strange = sorted({*loaded[1]["missing_keys"], *loaded[1]["unexpected_keys"]})
    if strange:
        raise ModelError(f"the weights of {kind.__name__} in {folder}", f"missing or unknown {strange[0]}", fix)
    return network.eval().requires_grad_(False).to(device)
