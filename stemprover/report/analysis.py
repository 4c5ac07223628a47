"""One pass over the audio, block by block: spectrogram pictures, level curves and average spectra.

Memory depends on the size of the pictures, not on the length of the file: each picture column stands for an equal
stretch of time and averages at most a handful of frames from it.
"""

from __future__ import annotations

import dataclasses

import numpy as np

from stemprover.report.axes import MelAxis
from stemprover.report.inputs import AudioSource

__all__ = ["FLOOR_DB", "Analysis", "analyse"]

FLOOR_DB = -140.0
_ROWS = 256
_MOST_COLUMNS = 1200
_MOST_FRAMES_PER_COLUMN = 6
_READ_VALUES = 1 << 21
_FRAME_VALUES = 1 << 19


@dataclasses.dataclass(frozen=True)
class Analysis:
    """Pictures and curves of one report; ``None`` where there is no audio after.

    Attributes
    ----------
    axis : MelAxis
        The rows' frequency scale.
    before_db, after_db, difference_db : ndarray
        Mean power in dB, shape ``[rows, columns]``, low frequencies first.
    level_before_db, level_after_db, level_difference_db : ndarray
        RMS level per column in dB relative to full scale, shape ``[columns]``.
    spectrum_before_db, spectrum_after_db : ndarray
        Power averaged over the file, in dB, shape ``[rows]``.
    """

    axis: MelAxis
    before_db: np.ndarray
    after_db: np.ndarray | None
    difference_db: np.ndarray | None
    level_before_db: np.ndarray
    level_after_db: np.ndarray | None
    level_difference_db: np.ndarray | None
    spectrum_before_db: np.ndarray
    spectrum_after_db: np.ndarray | None


@dataclasses.dataclass(frozen=True)
class _Frames:
    """Where the frames of each column lie and how a frame becomes a column of rows."""

    edges: np.ndarray
    per_column: int
    window: np.ndarray
    n_fft: int
    rows: np.ndarray

    def columns(self, audio: np.ndarray, first: int, last: int, offset: int) -> tuple[np.ndarray, np.ndarray]:
        """Power per row and mean square per column, from ``audio`` that starts at sample ``offset``."""
        length = self.window.size
        inner = (np.arange(self.per_column) + 0.5) / self.per_column
        left, right = self.edges[first:last, None], self.edges[first + 1 : last + 1, None]
        starts = (left + inner * (right - left)).astype(np.int64) - length // 2 - offset
        frames = audio[:, starts.reshape(-1, 1) + np.arange(length)] * self.window
        power = (np.abs(np.fft.rfft(frames, self.n_fft)) ** 2).mean(0)
        power = power.reshape(last - first, self.per_column, -1).mean(1)
        bounds = self.edges[first : last + 1] - offset
        squares = np.add.reduceat((audio**2).mean(0), bounds)[:-1] / np.diff(bounds)
        return self.rows @ power.T, squares


def _row_matrix(axis: MelAxis, rows: int, sample_rate: int, n_fft: int) -> np.ndarray:
    """Mean over each row's frequency range, shape ``[rows, bins]``; a bin is as wide as the bin spacing."""
    edges = axis.edges_hz(rows)
    bins = np.arange(n_fft // 2 + 1)
    left = np.maximum(edges[:-1, None], (bins - 0.5) * sample_rate / n_fft)
    right = np.minimum(edges[1:, None], (bins + 0.5) * sample_rate / n_fft)
    matrix = np.maximum(right - left, 0.0)
    return np.asarray(matrix / np.maximum(matrix.sum(1, keepdims=True), 1e-12))


def _frames(source: AudioSource, axis: MelAxis) -> _Frames:
    form = source.format
    length = 1 << max(6, round(np.log2(form.sample_rate * 0.046)))
    columns = int(np.clip(form.samples // (length // 4), 1, _MOST_COLUMNS))
    edges = np.linspace(0, max(form.samples, columns), columns + 1).astype(np.int64)
    per_column = int(np.clip(edges[1] // (length // 2), 1, _MOST_FRAMES_PER_COLUMN))
    window = np.hanning(length + 1)[:-1]
    rows = _row_matrix(axis, _ROWS, form.sample_rate, 2 * length)
    return _Frames(edges, per_column, window / (window.sum() / 2), 2 * length, rows)


def _blocks(frames: _Frames, channels: int) -> list[tuple[int, int]]:
    """Runs of columns that are small enough to be held and transformed at once."""
    columns = len(frames.edges) - 1
    by_read = _READ_VALUES // (int(frames.edges[1]) * channels)
    by_frames = _FRAME_VALUES // (frames.per_column * frames.window.size * channels)
    size = max(1, min(by_read, by_frames))
    return [(first, min(first + size, columns)) for first in range(0, columns, size)]


def _decibels(power: np.ndarray) -> np.ndarray:
    return np.asarray(10.0 * np.log10(np.maximum(power, 10 ** (FLOOR_DB / 10))))


def analyse(before: AudioSource, after: AudioSource | None) -> Analysis:
    """Read both signals once and condense them.

    Parameters
    ----------
    before, after : AudioSource
        Same rate, channels and length.

    Returns
    -------
    Analysis
        Pictures with at most 1200 columns.
    """
    axis = MelAxis.for_rate(before.format.sample_rate)
    frames = _frames(before, axis)
    kinds = 1 if after is None else 3
    columns = len(frames.edges) - 1
    power, squares = np.zeros((kinds, _ROWS, columns)), np.zeros((kinds, columns))
    margin = frames.window.size
    for first, last in _blocks(frames, before.format.channels):
        start, stop = int(frames.edges[first]) - margin, int(frames.edges[last]) + margin
        signals = [before.read(start, stop)]
        if after is not None:
            signals.append(after.read(start, stop))
            signals.append(signals[1] - signals[0])
        for kind, audio in enumerate(signals):
            power[kind, :, first:last], squares[kind, first:last] = frames.columns(audio, first, last, start)
    picture, level, spectrum = _decibels(power), _decibels(squares), _decibels(power.mean(-1))
    after_parts = (picture[1], picture[2], level[1], level[2], spectrum[1]) if kinds == 3 else (None,) * 5
    return Analysis(
        axis, picture[0], after_parts[0], after_parts[1], level[0], after_parts[2], after_parts[3],
        spectrum[0], after_parts[4],
    )  # fmt: skip
