"""Integrated loudness after ITU-R BS.1770-5: K-weighting, blocks of 400 ms, two gates."""

from __future__ import annotations

import numpy as np

__all__ = ["SILENT_LUFS", "loudness"]

SILENT_LUFS = -70.0
"""The absolute gate, and what is returned for anything quieter."""

_BLOCK_S, _STEP_S = 0.4, 0.1
_SURROUND = 1.41
_WITH_SURROUND, _LFE = 5, 3
# The two filters' analogue prototypes; the Recommendation prints their coefficients at 48 kHz only.
_SHELF = (1681.974450955533, 0.7071752369554196, 3.999843853973347)
_HIGH_PASS = (38.13547087602444, 0.5003270373238773)


def loudness(audio: np.ndarray, sample_rate: int) -> float:
    """Return the integrated loudness in LUFS of ``[channels, samples]``, at least -70.

    Audio shorter than a block counts as one block. Of five channels or more, the fourth is taken for a low-frequency
    channel and left out, and those after it weigh 1.5 dB more.
    """
    block, step = round(_BLOCK_S * sample_rate), round(_STEP_S * sample_rate)
    weighted = _k_weighted(np.atleast_2d(np.asarray(audio, np.float64)), sample_rate)
    weighted = np.pad(weighted, ((0, 0), (0, max(0, block - weighted.shape[1]))))
    power = _channel_gains(len(weighted)) @ np.square(weighted)
    sums = np.concatenate([[0.0], np.cumsum(power)])
    starts = np.arange(0, power.size - block + 1, step)
    blocks = (sums[starts + block] - sums[starts]) / block
    heard = blocks[_lufs(blocks) > SILENT_LUFS]
    if not heard.size:
        return SILENT_LUFS
    kept = heard[_lufs(heard) > _lufs(heard.mean()) - 10.0]
    return max(SILENT_LUFS, float(_lufs(kept.mean())))


def _lufs(power: np.ndarray) -> np.ndarray:
    return -0.691 + 10.0 * np.log10(np.maximum(power, 1e-20))


def _channel_gains(channels: int) -> np.ndarray:
    gains = np.ones(channels)
    if channels >= _WITH_SURROUND:
        gains[_LFE], gains[_LFE + 1 :] = 0.0, _SURROUND
    return gains


def _k_weighted(audio: np.ndarray, sample_rate: int) -> np.ndarray:
    """High shelf of 4 dB, then a high-pass; both by the bilinear transform with the frequency kept."""
    from scipy.signal import lfilter  # half a second to import, and most runs measure nothing

    hz, quality, gain_db = _SHELF
    k, high = np.tan(np.pi * hz / sample_rate), 10.0 ** (gain_db / 20.0)
    middle = high**0.4996667741545416
    below = np.array([1.0 + k / quality + k * k, 2.0 * (k * k - 1.0), 1.0 - k / quality + k * k])
    above = np.array([high + middle * k / quality + k * k, 2.0 * (k * k - high), high - middle * k / quality + k * k])
    shelved = lfilter(above / below[0], below / below[0], audio)
    hz, quality = _HIGH_PASS
    k = np.tan(np.pi * hz / sample_rate)
    below = np.array([1.0 + k / quality + k * k, 2.0 * (k * k - 1.0), 1.0 - k / quality + k * k])
    weighted: np.ndarray = lfilter([1.0, -2.0, 1.0], below / below[0], shelved)
    return weighted
