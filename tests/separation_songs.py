"""A separator and songs for the tests of `separate` and `clean`."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import soundfile
import torch
from plugin_site import plugin_site as plugin_site


@dataclasses.dataclass
class Shares:
    """Splits a mixture 3 : 1, whatever it holds; remembers how much it was given at a time."""

    sample_rate: int = 8_000
    name: str = "shares"
    stems: tuple[str, ...] = ("vocals", "instrumental")
    longest: int = 0
    contents: str = "first"

    def separate(self, audio: torch.Tensor) -> Mapping[str, torch.Tensor]:
        self.longest = max(self.longest, audio.shape[-1])
        return {"vocals": 0.75 * audio, "instrumental": 0.25 * audio}


def song(path: Path, seconds: float, rate: int, channels: int = 2, seed: int = 0) -> Path:
    audio = 0.1 * np.random.default_rng(seed).standard_normal((round(seconds * rate), channels))
    soundfile.write(path, audio, rate, "FLOAT")
    return path


def read(path: Path) -> np.ndarray:
    return soundfile.read(path, always_2d=True)[0].T
