"""The part of a signal below hearing, without delay."""

from __future__ import annotations

import torch
from scipy import fft
from torch import Tensor

from stemprover.spectral.spec import SPEC

__all__ = ["below_hearing"]

_PASS_HZ, _STOP_HZ = 8.0, 16.0


def below_hearing(audio: Tensor) -> Tensor:
    """Return what lies below about 12 Hz, offset included: ``[channels, samples]`` at 44.1 kHz, same shape.

    The band is cut out of one spectrum of the whole stretch, so nothing moves in time. The stretch is continued at both
    ends by its point reflection, as ``scipy.signal.filtfilt`` does: a jump there would ring through the whole of it.
    """
    samples = audio.shape[-1]
    margin = min(SPEC.sample_rate // 4, samples - 1)
    if margin < 1:
        return audio.clone()
    before = 2.0 * audio[:, :1] - audio[:, 1 : margin + 1].flip(-1)
    # A little more at the end makes a length of small factors; a prime one takes several times as long.
    beyond = min(fft.next_fast_len(samples + 2 * margin, real=True) - samples - margin, samples - 1)
    after = 2.0 * audio[:, -1:] - audio[:, -beyond - 1 : -1].flip(-1)
    longer = torch.cat([before, audio, after], -1)
    hz = torch.fft.rfftfreq(longer.shape[-1], 1.0 / SPEC.sample_rate, device=audio.device)
    share = ((_STOP_HZ - hz) / (_STOP_HZ - _PASS_HZ)).clamp(0.0, 1.0)
    low = torch.fft.irfft(torch.fft.rfft(longer) * share, longer.shape[-1])
    return low[:, margin : margin + samples].contiguous()
