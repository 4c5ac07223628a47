"""The vocoder: restored magnitude to audio by HiFi-GAN, fitted to the input in time and level."""

from __future__ import annotations

import functools

import numpy as np
import torch
from torch import Tensor

from stemprover.spectral.spec import SPEC
from stemprover.spectral.stft import istft, stft
from stemprover.stems import resample
from stemprover.synthesis.base import VocoderInput
from stemprover.synthesis.reference import restored_spectrum
from stemprover_vocoder_hifigan.generator import Generator, load_generator

__all__ = ["HifiGanVocoder", "align", "match_level"]

_SILENCE = 1e-6
_MAX_GAIN = 4.0
_MAX_LAG = 1024


class HifiGanVocoder:
    """HiFi-GAN below its Nyquist frequency; above it, which its weights know nothing of, the input's phase.

    A mel spectrogram holds no phase, so HiFi-GAN invents it. Its output is therefore shifted to where it correlates
    best with the restored magnitude under the input's phase, and brought to that signal's level. The host uses the
    result only where something was repaired.

    Parameters
    ----------
    source : str
        See :func:`~stemprover_vocoder_hifigan.generator.load_generator`.
    """

    name = "hifigan"

    def __init__(self, source: str = "") -> None:
        self._source = source

    @functools.cached_property
    def generator(self) -> Generator:
        """The network, loaded when first used."""
        return load_generator(self._source)

    @torch.inference_mode()
    def synthesise(self, request: VocoderInput) -> Tensor:
        """Return audio ``[batch, n_samples]``; see :class:`stemprover.synthesis.base.Vocoder`."""
        spectrum = restored_spectrum(request)
        generator = self.generator.to(spectrum.device)
        mel = generator.mel
        share = _share(mel.high_hz).to(spectrum.device)
        low = istft(spectrum * share, request.n_samples)
        made = generator(converted(low, SPEC.sample_rate, mel.sample_rate))
        made = converted(made, mel.sample_rate, SPEC.sample_rate, request.n_samples)
        made = istft(stft(made) * share, request.n_samples)
        high = istft(spectrum * (1.0 - share), request.n_samples)
        return match_level(align(made, low), low) + high


def converted(audio: Tensor, from_rate: int, to_rate: int, samples: int | None = None) -> Tensor:
    """Resample ``[batch, samples]`` and, if asked, cut or zero-pad to a length."""
    rows = resample(audio.cpu().numpy(), from_rate, to_rate)
    if samples is not None:
        rows = np.pad(rows, ((0, 0), (0, max(0, samples - rows.shape[-1]))))[:, :samples]
    return torch.from_numpy(rows).to(audio)


def align(audio: Tensor, target: Tensor, max_lag: int = _MAX_LAG) -> Tensor:
    """Shift each item to where it correlates best with its target, by at most ``max_lag`` samples; ``[batch, n]``."""
    length = audio.shape[-1]
    size = 2 ** (length + max_lag).bit_length()
    cross = torch.fft.irfft(torch.fft.rfft(target, size) * torch.fft.rfft(audio, size).conj(), size)
    lags = torch.arange(-max_lag, max_lag + 1, device=audio.device)
    best = lags[cross[:, lags % size].argmax(-1)]
    padded = torch.nn.functional.pad(audio, (max_lag, max_lag))
    rows = [padded[i, max_lag - lag : max_lag - lag + length] for i, lag in enumerate(best.tolist())]
    return torch.stack(rows)


def match_level(audio: Tensor, target: Tensor) -> Tensor:
    """Scale each item to its target's RMS, by at most 12 dB up; silence where the target is silent."""
    wanted = target.square().mean(-1, keepdim=True).sqrt()
    have = audio.square().mean(-1, keepdim=True).sqrt()
    gain = torch.where(wanted > _SILENCE, (wanted / have.clamp_min(_SILENCE)).clamp_max(_MAX_GAIN), 0.0)
    return audio * gain


def _share(high_hz: float) -> Tensor:
    """How much of each bin HiFi-GAN provides, ``[n_bins, 1]``.

    Nothing below 30 Hz, where it would only add an offset; all above, fading out over the top tenth of its range.
    """
    hz = torch.arange(SPEC.n_bins)[:, None] * SPEC.sample_rate / SPEC.n_fft
    share = (
        ((high_hz - hz) / (0.1 * high_hz)).clamp(0.0, 1.0) if high_hz < SPEC.sample_rate / 2 else torch.ones_like(hz)
    )
    return share * (hz > 30.0)
