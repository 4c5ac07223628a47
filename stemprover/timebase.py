"""Reading any stem at the internal rate, on a grid where both rates meet in whole samples."""

from __future__ import annotations

import math

import numpy as np
import torch
from torch import Tensor

from stemprover.spectral.spec import SPEC
from stemprover.stems import Stem, resample

__all__ = ["Timebase", "match_channels"]

_MARGIN = 2048
"""Internal samples read on both sides of a stretch, so that the resampler's edges are cut away."""


class Timebase:
    """File samples and internal samples of one rate.

    Parameters
    ----------
    sample_rate : int
        The file's rate in Hz.

    Attributes
    ----------
    file_step, step : int
        ``file_step`` file samples last exactly as long as ``step`` internal samples.
    """

    def __init__(self, sample_rate: int) -> None:
        self.sample_rate = sample_rate
        common = math.gcd(sample_rate, SPEC.sample_rate)
        self.file_step, self.step = sample_rate // common, SPEC.sample_rate // common

    def length(self, file_samples: int) -> int:
        """Internal samples of a file of ``file_samples`` samples."""
        return -(-file_samples * SPEC.sample_rate // self.sample_rate)

    def floor(self, sample: int) -> int:
        """Last internal sample at or before ``sample`` where both grids meet."""
        return sample // self.step * self.step

    def to_file(self, sample: int) -> int:
        """File sample of an internal sample on the common grid."""
        return sample // self.step * self.file_step

    def read(self, stem: Stem, start: int, stop: int) -> Tensor:
        """Read internal samples, float32 ``[channels, stop - start]``, zeros outside the file."""
        if self.step == self.file_step:
            return torch.from_numpy(stem.read(start, stop).astype(np.float32))
        first, last = self.floor(start - _MARGIN), self.floor(stop + _MARGIN) + self.step
        audio = resample(stem.read(self.to_file(first), self.to_file(last)), self.sample_rate, SPEC.sample_rate)
        return torch.from_numpy(audio[:, start - first : stop - first].astype(np.float32))

    def back(self, difference: Tensor, start: int, first: int, last: int) -> np.ndarray:
        """Resample a difference to the file's rate.

        Parameters
        ----------
        difference : Tensor
            Shape ``[channels, samples]``, internal rate.
        start : int
            Its first internal sample, anywhere.
        first, last : int
            File samples wanted.

        Returns
        -------
        ndarray
            Float64, shape ``[channels, last - first]``; zero where the difference does not reach.
        """
        origin = self.floor(start)  # the grid's steps last up to a second, hence not every start is on it
        padded = np.pad(difference.double().numpy(), ((0, 0), (start - origin, 0)))
        audio = resample(padded, SPEC.sample_rate, self.sample_rate)
        offset = self.to_file(origin)
        cut = audio[:, max(first - offset, 0) : max(last - offset, 0)]
        before = min(max(offset - first, 0), last - first)
        return np.pad(cut, ((0, 0), (before, last - first - before - cut.shape[1])))


def match_channels(audio: Tensor, channels: int) -> Tensor:
    """Give ``[any, samples]`` the wanted number of channels: mono is spread, anything else is averaged first."""
    if audio.shape[0] == channels:
        return audio
    return audio.mean(0, keepdim=True).expand(channels, -1)
