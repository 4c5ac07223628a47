"""The detection grid: a block's spectrum and how maps over bins and frames become cells.

A cell is ``cell_frames`` STFT frames by one detection band. Bins are shared between neighbouring detection bands with
the image's own weights (:func:`stemprover.spectral.bands.band_matrix`), so that a cell covers exactly the image
bands that a repair of this cell may change.
"""

from __future__ import annotations

import functools
import math

import numpy as np
import torch
from torch import Tensor

from stemprover.detection.types import AnalysisBlock
from stemprover.spectral.bands import band_matrix
from stemprover.spectral.spec import SPEC, SpectralSpec
from stemprover.spectral.stft import stft

__all__ = [
    "band_envelope",
    "bins_mean",
    "block_levels",
    "block_spectrum",
    "by_cell",
    "n_cells",
    "pool_mean",
    "pool_sum",
]

_SILENT_POWER = 1e-20  # -200 dB: keeps logarithms finite without being audible


def n_cells(n_samples: int, spec: SpectralSpec = SPEC) -> int:
    """Return how many cells cover ``n_samples`` samples; the last one may be cut short by the end of the audio."""
    return max(1, math.ceil(n_samples / (spec.cell_frames * spec.hop)))


@functools.lru_cache(maxsize=4)
def _cell_matrix(spec: SpectralSpec) -> Tensor:
    """Share of every bin in every detection band, shape ``[n_cell_bands, n_bins]``; columns sum to one."""
    return band_matrix(spec).reshape(spec.n_cell_bands, spec.cell_bands, spec.n_bins).sum(1)


def block_spectrum(audio: Tensor, spec: SpectralSpec = SPEC) -> Tensor:
    """STFT of a block with whole cells.

    The block is mirrored at both ends instead of zero-padded: half-empty frames would look like an onset and a
    broadband phase jump in the first and last cell of every block.

    Parameters
    ----------
    audio : Tensor
        Float32, shape ``[channels, samples]``.

    Returns
    -------
    Tensor
        Float32, shape ``[2, channels, n_bins, cells * cell_frames]``: real and imaginary parts, each contiguous,
        because the cues read them many times and strided complex views are slow.
    """
    frames = n_cells(audio.shape[-1], spec) * spec.cell_frames
    audio = torch.nn.functional.pad(audio, (0, frames * spec.hop - audio.shape[-1]))
    mirrored = torch.nn.functional.pad(audio, (spec.n_fft, spec.n_fft), mode="reflect")
    skip = spec.n_fft // spec.hop
    spectrum = stft(mirrored, spec)[..., skip : skip + frames]
    return torch.view_as_real(spectrum).movedim(-1, 0).contiguous()


def _bins_sum(values: Tensor, spec: SpectralSpec) -> Tensor:
    return values.transpose(-1, -2) @ _cell_matrix(spec).to(values.device, values.dtype).T


def by_cell(values: Tensor, spec: SpectralSpec = SPEC) -> Tensor:
    """Split frames into cells: ``[*, frames] -> [*, cells, cell_frames]``."""
    return values.reshape(*values.shape[:-1], -1, spec.cell_frames)


def bins_mean(values: Tensor, spec: SpectralSpec = SPEC) -> Tensor:
    """Average over the bins of each detection band: ``[*, n_bins, n] -> [*, n, n_cell_bands]``."""
    return _bins_sum(values, spec) / _cell_matrix(spec).to(values.device).sum(1)


def pool_sum(values: Tensor, spec: SpectralSpec = SPEC) -> Tensor:
    """Sum a map over the bins and frames of each cell: ``[*, n_bins, frames] -> [*, cells, n_cell_bands]``."""
    return _bins_sum(by_cell(values, spec).sum(-1), spec)


def pool_mean(values: Tensor, spec: SpectralSpec = SPEC) -> Tensor:
    """Average a map over the bins and frames of each cell: ``[*, n_bins, frames] -> [*, cells, n_cell_bands]``."""
    return bins_mean(by_cell(values, spec).mean(-1), spec)


def band_envelope(power: Tensor, spec: SpectralSpec = SPEC) -> Tensor:
    """Energy of each detection band over time: ``[n_bins, frames] -> [cells, n_cell_bands, cell_frames]``."""
    return by_cell(_bins_sum(power, spec).T, spec).transpose(0, 1)


def block_levels(block: AnalysisBlock, spec: SpectralSpec = SPEC) -> np.ndarray:
    """Level of every cell of a stem.

    A full-scale sine reads 0 dB in its band. The levels of consecutive blocks can be concatenated for
    :func:`stemprover.detection.regions.detect_cells`.

    Returns
    -------
    ndarray
        Float32, shape ``[cells, n_cell_bands]``, dB re full scale, -200 for digital silence.
    """
    power = block_spectrum(block.audio, spec).square().sum(0).mean(0)
    # A sine of amplitude one has the power sum 3/2 * (n_fft / 4) ** 2 over the three bins of a Hann window's main lobe.
    full_scale = 1.5 * (spec.n_fft / 4) ** 2 * spec.cell_frames
    levels: np.ndarray = (10 * torch.log10(pool_sum(power, spec) / full_scale + _SILENT_POWER)).numpy()
    return levels
