"""Perceptual bands: a partition of unity over STFT bins.

The scale is one bin per band up to about 1.5 kHz and geometric above (semitone-like widths), so that 256 bands
cover 1025 bins. Each bin is shared linearly by its two neighbouring band centres and its shares sum to one; hence
``to_bins(ones) == ones`` and a flat gain stays flat.
"""

from __future__ import annotations

import functools

import numpy as np
import torch
from torch import Tensor

from stemprover.spectral.spec import SPEC, SpectralSpec

__all__ = ["band_centres_hz", "band_magnitude", "band_matrix", "cell_band_edges_hz", "to_bands", "to_bins"]


@functools.lru_cache(maxsize=4)
def _centres(spec: SpectralSpec) -> np.ndarray:
    """Band centres in bins, shape ``[n_bands]``: linear, then geometric with a continuous first width."""
    last = spec.n_bins - 1
    linear = 2
    while linear < spec.n_bands - 1:
        ratio = (last / linear) ** (1.0 / (spec.n_bands - 1 - linear))
        if linear * (ratio - 1.0) >= 1.0:
            break
        linear += 1
    geometric = linear * ratio ** np.arange(1, spec.n_bands - linear)
    geometric[-1] = last  # not last +- rounding: the top bin belongs to the top band alone
    return np.concatenate([np.arange(linear + 1, dtype=np.float64), geometric])


@functools.lru_cache(maxsize=4)
def band_matrix(spec: SpectralSpec = SPEC) -> Tensor:
    """Return the band weights, shape ``[n_bands, n_bins]``, float32; every column sums to one."""
    centres = _centres(spec)
    bins = np.arange(spec.n_bins, dtype=np.float64)
    upper = np.clip(np.searchsorted(centres, bins, side="left"), 1, spec.n_bands - 1)
    share = np.clip((bins - centres[upper - 1]) / (centres[upper] - centres[upper - 1]), 0.0, 1.0)
    matrix = np.zeros((spec.n_bands, spec.n_bins))
    matrix[upper, np.arange(spec.n_bins)] = share
    matrix[upper - 1, np.arange(spec.n_bins)] += 1.0 - share
    with torch.inference_mode(mode=False):  # training may need what inference cached
        return torch.from_numpy(matrix.astype(np.float32))


def band_centres_hz(spec: SpectralSpec = SPEC) -> np.ndarray:
    """Return band centres in Hz, shape ``[n_bands]``."""
    return _centres(spec) * spec.sample_rate / spec.n_fft


def cell_band_edges_hz(spec: SpectralSpec = SPEC) -> np.ndarray:
    """Return the edges of the detection bands in Hz, shape ``[n_cell_bands + 1]``, from 0 to Nyquist."""
    centres = band_centres_hz(spec)
    inner = [(centres[k - 1] + centres[k]) / 2 for k in range(spec.cell_bands, spec.n_bands, spec.cell_bands)]
    return np.array([0.0, *inner, spec.sample_rate / 2])


@functools.lru_cache(maxsize=8)
def _blocks(spec: SpectralSpec, into_bins: bool) -> tuple[tuple[Tensor, slice], ...]:
    """Some rows of the matrix (or of its transpose) at a time, without columns of zeros, and which columns those are.

    Products with these take a tenth of the work: a bin belongs to two bands at most.
    """
    matrix, rows = (band_matrix(spec).T, 4 * spec.cell_bands) if into_bins else (band_matrix(spec), spec.cell_bands)
    blocks = []
    with torch.inference_mode(mode=False):  # training may need what inference cached
        for some in torch.split(matrix, rows):
            used = torch.nonzero(some.any(0))
            columns = slice(int(used.min()), int(used.max()) + 1)
            blocks.append((some[:, columns].contiguous(), columns))
    return tuple(blocks)


def _product(values: Tensor, blocks: tuple[tuple[Tensor, slice], ...]) -> Tensor:
    return torch.cat([block.to(values) @ values[..., columns, :] for block, columns in blocks], -2)


def to_bands(values: Tensor, spec: SpectralSpec = SPEC) -> Tensor:
    """Sum bins up by their shares: ``[*, n_bins, frames] -> [*, n_bands, frames]``."""
    return _product(values, _blocks(spec, False))


def to_bins(values: Tensor, spec: SpectralSpec = SPEC) -> Tensor:
    """Interpolate band values (gains, masks) to bins: ``[*, n_bands, frames] -> [*, n_bins, frames]``."""
    return _product(values, _blocks(spec, True))


def band_magnitude(power: Tensor, spec: SpectralSpec = SPEC) -> Tensor:
    """Root-mean-square magnitude per band.

    Parameters
    ----------
    power : Tensor
        ``|X| ** 2``, shape ``[*, n_bins, frames]``.

    Returns
    -------
    Tensor
        Shape ``[*, n_bands, frames]``, linear magnitude.
    """
    return torch.sqrt(to_bands(power, spec) / band_matrix(spec).to(power).sum(1, keepdim=True))
