"""Two separators that never make training pairs, so that the benchmark also shows what does not come from training."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import torch
from scipy import ndimage

from stemprover.spectral.spec import SPEC
from stemprover.spectral.stft import istft, stft

__all__ = ["repeating_pattern", "spatial_wiener"]

_SMOOTH_BINS, _SMOOTH_FRAMES = 9, 31
_PEAK_WIDTH = 25
_LOW_HZ = 100.0
_TINY = 1e-10


def spatial_wiener(sources: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Multichannel Wiener filter of stereo sources whose power is known only coarsely.

    Each source is modelled by its power, averaged over 9 bins and 31 frames, times one spatial covariance matrix per
    bin (Duong, Vincent and Gribonval, 2010, with the parameters of the true sources). It is an upper bound for such
    models, not a blind separator; its errors are smeared onsets, leakage between neighbouring partials and a wandering
    image.

    Parameters
    ----------
    sources : Mapping[str, ndarray]
        True stems, float ``[2, samples]``; the mixture is their sum.
    """
    names = list(sources)
    spectra = stft(torch.from_numpy(np.stack([sources[name] for name in names])).float()).numpy()
    models = []
    for spectrum in spectra:
        level = ndimage.uniform_filter((np.abs(spectrum) ** 2).mean(0), (_SMOOTH_BINS, _SMOOTH_FRAMES)) + _TINY
        outer = np.einsum("aft,bft->abf", spectrum, spectrum.conj())
        image = outer / np.maximum(np.einsum("aaf->f", outer).real, _TINY) * 2 + 0.05 * np.eye(2)[:, :, None]
        models.append(level[None, None] * image[..., None])
    total = np.sum(models, axis=0) + _TINY * np.eye(2)[:, :, None, None]
    whitened = np.einsum("abft,bft->aft", _inverse(total), spectra.sum(0))
    estimates = [np.einsum("abft,bft->aft", model, whitened).astype(np.complex64) for model in models]
    samples = next(iter(sources.values())).shape[-1]
    audio = istft(torch.from_numpy(np.stack(estimates)), samples).double().numpy()
    return dict(zip(names, audio, strict=True))


def _inverse(matrix: np.ndarray) -> np.ndarray:
    """Inverse of 2 x 2 matrices in the first two dimensions."""
    (a, b), (c, d) = matrix
    return np.stack([np.stack([d, -b]), np.stack([-c, a])]) / (a * d - b * c)


def repeating_pattern(mixture: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Split a mixture into foreground (vocals) and background by the peaks of its spectrogram's 2-D Fourier transform.

    What repeats in time or frequency is a peak there; see Seetharaman, Pishdadian and Pardo, "Music/voice separation
    using the 2D Fourier transform", WASPAA 2017. Blind, binary masks.

    Parameters
    ----------
    mixture : ndarray
        Float ``[channels, samples]``.
    """
    spectrum = stft(torch.from_numpy(mixture).float())
    magnitude = spectrum.abs().mean(0).numpy()
    transform = np.fft.fft2(magnitude)
    size = np.abs(transform)
    peaks = size == ndimage.maximum_filter(size, size=(1, _PEAK_WIDTH), mode="wrap")
    background = np.fft.ifft2(transform * peaks).real
    mask = (background > magnitude - background).astype(np.float32)
    mask[: round(_LOW_HZ / SPEC.sample_rate * SPEC.n_fft)] = 1.0
    repeating = istft(spectrum * torch.from_numpy(mask), mixture.shape[-1]).double().numpy()
    return mixture - repeating, repeating
