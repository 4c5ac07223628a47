"""STFT and its inverse with the spec's frame, hop and periodic Hann window."""

from __future__ import annotations

import functools

import torch
from torch import Tensor

from stemprover.spectral.spec import SPEC, SpectralSpec

__all__ = ["istft", "n_frames", "power", "product", "stft"]


@functools.lru_cache(maxsize=8)
def _window(n_fft: int, device: str) -> Tensor:
    with torch.inference_mode(mode=False):  # training may need what inference cached
        return torch.hann_window(n_fft, periodic=True, device=device)


def n_frames(n_samples: int, spec: SpectralSpec = SPEC) -> int:
    """Return the number of frames of a centred STFT of ``n_samples`` samples."""
    return n_samples // spec.hop + 1


def stft(audio: Tensor, spec: SpectralSpec = SPEC) -> Tensor:
    """Centred STFT (zero padding at both ends).

    Parameters
    ----------
    audio : Tensor
        Shape ``[*, samples]``, float32.

    Returns
    -------
    Tensor
        Complex, shape ``[*, n_bins, frames]`` with ``frames = samples // hop + 1``.
    """
    batch = audio.shape[:-1]
    spectrum = torch.stft(
        audio.reshape(-1, audio.shape[-1]),
        spec.n_fft,
        spec.hop,
        window=_window(spec.n_fft, str(audio.device)),
        center=True,
        pad_mode="constant",
        return_complex=True,
    )
    return spectrum.reshape(*batch, *spectrum.shape[-2:])


def istft(spectrum: Tensor, n_samples: int, spec: SpectralSpec = SPEC) -> Tensor:
    """Inverse of :func:`stft`: ``[*, n_bins, frames] -> [*, n_samples]``, exact up to float32 rounding."""
    batch = spectrum.shape[:-2]
    audio = torch.istft(
        spectrum.reshape(-1, *spectrum.shape[-2:]),
        spec.n_fft,
        spec.hop,
        window=_window(spec.n_fft, str(spectrum.device)),
        center=True,
        length=n_samples,
    )
    return audio.reshape(*batch, n_samples)


def power(spectrum: Tensor) -> Tensor:
    """``|X| ** 2``, real, same shape; without the square root that ``abs`` would take."""
    # One pass over memory: a sum over the last dimension of ``view_as_real`` takes five times as long on a CPU.
    return torch.addcmul(spectrum.real.square(), spectrum.imag, spectrum.imag)


def product(one: Tensor, other: Tensor) -> Tensor:
    """Real part of one spectrum times the other conjugated, ``|X| |Y| cos(phase difference)``; same shape."""
    return torch.addcmul(one.real * other.real, one.imag, other.imag)
