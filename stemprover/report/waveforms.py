"""Waveforms: highest and lowest sample per column, block by block."""

from __future__ import annotations

import numpy as np

from stemprover.report.inputs import AudioSource

__all__ = ["Waveform", "waveform", "waveform_path"]

_COLUMNS = 1000
_BLOCK = 1 << 20

Waveform = tuple[np.ndarray, np.ndarray]
"""Lowest and highest sample per column, over all channels."""


def waveform(source: AudioSource, minus: AudioSource | None = None) -> Waveform:
    """Condense a signal, or a difference of two, to at most 1000 columns."""
    samples = source.format.samples
    columns = min(_COLUMNS, max(samples, 1))
    edges = np.linspace(0, samples, columns + 1).astype(np.int64)
    low, high = np.zeros(columns), np.zeros(columns)
    step = max(1, _BLOCK // max(int(edges[1]), 1))
    for first in range(0, columns, step):
        last = min(first + step, columns)
        audio = source.read(int(edges[first]), int(edges[last]))
        if minus is not None:
            audio = audio - minus.read(int(edges[first]), int(edges[last]))
        starts = edges[first:last] - edges[first]
        low[first:last] = np.minimum.reduceat(audio.min(0), starts)
        high[first:last] = np.maximum.reduceat(audio.max(0), starts)
    return low, high


def waveform_path(shape: Waveform, peak: float) -> str:
    """SVG path of a filled waveform in a box of 1000 x 100 units, ``peak`` at its edges; silence is a thin line."""
    low, high = (50.0 - 50.0 * np.clip(side / max(peak, 1e-9), -1.0, 1.0) for side in shape)
    low, high = np.maximum(low, high + 0.6), np.minimum(high, low - 0.6)
    across = (np.arange(high.size) + 0.5) * 1000.0 / high.size
    there = [f"{x:.1f} {y:.1f}" for x, y in zip(across, high, strict=True)]
    back = [f"{x:.1f} {y:.1f}" for x, y in zip(across[::-1], low[::-1], strict=True)]
    return f"M{'L'.join([*there, *back])}Z"
