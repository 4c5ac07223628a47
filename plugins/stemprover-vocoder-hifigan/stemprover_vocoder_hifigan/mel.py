"""The log-mel spectrogram that a generator was trained on."""

from __future__ import annotations

import dataclasses
import functools
import math
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from stemprover.errors import ModelError

__all__ = ["MelSpec", "log_mel"]


@dataclasses.dataclass(frozen=True)
class MelSpec:
    """Numbers of the mel front end, which HiFi-GAN's own configuration does not hold.

    Attributes
    ----------
    sample_rate, hop, n_mels : int
        Hz; samples per frame, the product of the generator's upsampling rates; its input width.
    window : int
        Length of the Hann window and of the FFT in samples.
    low_hz, high_hz : float
        Range of the filters.
    floor : float
        Smallest mel magnitude before the logarithm.
    base10 : bool
        Logarithm to base 10 (SpeechT5) or natural (the HiFi-GAN paper).
    """

    sample_rate: int
    hop: int
    n_mels: int
    window: int
    low_hz: float
    high_hz: float
    floor: float
    base10: bool


def spec_for(sample_rate: int, hop: int, n_mels: int, stated: Mapping[str, Any]) -> MelSpec:
    """Complete a front end: what a checkpoint states, else a window of four hops and the range that the rate allows.

    Raises
    ------
    ModelError
        If a number makes no sense.
    """
    spec = MelSpec(
        sample_rate,
        hop,
        n_mels,
        window=int(stated.get("window", 4 * hop)),
        low_hz=float(stated.get("low_hz", 0.0)),
        high_hz=min(float(stated.get("high_hz", sample_rate / 2)), sample_rate / 2),
        floor=float(stated.get("floor", 1e-5)),
        base10=bool(stated.get("base10", False)),
    )
    if not (spec.window >= spec.hop > 0 and 0 <= spec.low_hz < spec.high_hz and spec.floor > 0 and spec.n_mels > 0):
        raise ModelError("a mel front end", str(spec), "correct stemprover_mel in the checkpoint's config.json")
    return spec


def log_mel(audio: Tensor, spec: MelSpec) -> Tensor:
    """Return the log-mel spectrogram: ``[batch, samples] -> [batch, samples // hop + 1, n_mels]``."""
    magnitude = torch.stft(
        audio,
        spec.window,
        spec.hop,
        window=torch.hann_window(spec.window, device=audio.device),
        center=True,
        pad_mode="constant",
        return_complex=True,
    ).abs()
    mel = torch.clamp_min(_filters(spec).to(audio) @ magnitude, spec.floor)
    return (torch.log10(mel) if spec.base10 else torch.log(mel)).transpose(1, 2)


@functools.lru_cache(maxsize=4)
def _filters(spec: MelSpec) -> Tensor:
    """Slaney's filters with unit area, shape ``[n_mels, window // 2 + 1]``; as in librosa and SpeechT5."""
    bins = torch.arange(spec.window // 2 + 1, dtype=torch.float64) * spec.sample_rate / spec.window
    edges = torch.linspace(_mel(spec.low_hz), _mel(spec.high_hz), spec.n_mels + 2, dtype=torch.float64)
    hz = torch.tensor([_hz(float(edge)) for edge in edges], dtype=torch.float64)
    rising = (bins - hz[:-2, None]) / (hz[1:-1] - hz[:-2])[:, None]
    falling = (hz[2:, None] - bins) / (hz[2:] - hz[1:-1])[:, None]
    area = 2.0 / (hz[2:] - hz[:-2])
    return (torch.minimum(rising, falling).clamp_min(0.0) * area[:, None]).float()


def _mel(hz: float) -> float:
    """Slaney's scale: linear below 1 kHz, logarithmic above."""
    return hz * 3 / 200 if hz < 1000 else 15 + 27 * math.log(hz / 1000) / math.log(6.4)


def _hz(mel: float) -> float:
    return mel * 200 / 3 if mel < 15 else 1000 * math.exp((mel - 15) * math.log(6.4) / 27)
