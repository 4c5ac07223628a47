"""Axes: a perceptual frequency scale, and ticks for frequency, time and level."""

from __future__ import annotations

import dataclasses

import numpy as np

__all__ = ["MelAxis", "Tick", "clock", "frequency_ticks", "time_ticks"]

_HZ_TICKS = (100, 250, 500, 1000, 2000, 4000, 8000, 16_000)
_TIME_STEPS_S = (0.1, 0.2, 0.5, 1, 2, 5, 10, 15, 30, 60, 120, 300, 600, 1800, 3600, 7200)
_TOP_HZ = 24_000.0


@dataclasses.dataclass(frozen=True, slots=True)
class Tick:
    """A labelled place on an axis; ``at`` runs from 0 to 1."""

    at: float
    label: str


@dataclasses.dataclass(frozen=True, slots=True)
class MelAxis:
    """Frequency on the mel scale (O'Shaughnessy, 1987), from 0 to ``top_hz``."""

    top_hz: float

    @classmethod
    def for_rate(cls, sample_rate: int) -> MelAxis:
        """Axis up to Nyquist, at most 24 kHz: nothing above is analysed or changed."""
        return cls(min(sample_rate / 2, _TOP_HZ))

    def fraction(self, hertz: float) -> float:
        """Height of a frequency on the axis, 0 (bottom) to 1 (top)."""
        return float(np.clip(np.log1p(hertz / 700.0) / np.log1p(self.top_hz / 700.0), 0.0, 1.0))

    def edges_hz(self, rows: int) -> np.ndarray:
        """Edges of equally high rows in Hz, shape ``[rows + 1]``, rising."""
        return 700.0 * np.expm1(np.linspace(0.0, np.log1p(self.top_hz / 700.0), rows + 1))


def frequency_ticks(axis: MelAxis, minimum_gap: float = 0.048) -> tuple[Tick, ...]:
    """Round frequencies that fit on the axis without touching; labels like ``500`` and ``2k``."""
    ticks: list[Tick] = []
    for hertz in reversed(_HZ_TICKS):
        at = axis.fraction(hertz)
        if hertz < 0.97 * axis.top_hz and all(abs(tick.at - at) >= minimum_gap for tick in ticks):
            ticks.append(Tick(at, f"{hertz // 1000}k" if hertz >= 1000 else str(hertz)))
    return tuple(reversed(ticks))


def clock(seconds: float, decimals: int = 0) -> str:
    """``65.2`` as ``1:05`` (or ``1:05.2`` with one decimal)."""
    scale = 10**decimals
    total = round(seconds * scale)
    whole, rest = divmod(total, scale)
    hours, minutes = divmod(whole // 60, 60)
    text = f"{hours}:{minutes:02d}:{whole % 60:02d}" if hours else f"{minutes}:{whole % 60:02d}"
    return f"{text}.{rest:0{decimals}d}" if decimals else text


def time_ticks(duration_s: float, most: int = 10) -> tuple[Tick, ...]:
    """Round times, at most ``most`` + 1 of them."""
    if duration_s <= 0:
        return (Tick(0.0, "0:00"),)
    step = next((step for step in _TIME_STEPS_S if duration_s / step <= most), duration_s / most)
    count = int(duration_s / step + 1e-9)
    return tuple(Tick(k * step / duration_s, clock(k * step, 1 if step < 1 else 0)) for k in range(count + 1))
