"""Drum patterns on sixteenths: grooves with ghost notes, humanised velocities and timing, fills and crashes."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from stemprover.data.score import Hit, Section

__all__ = ["KITS", "drum_hits", "humanise"]

KITS = (0, 8, 16, 24, 25, 32, 40)  # standard, room, power, electronic, TR-808, jazz, brush
_KICKS, _SNARES, _TIMES = (35, 36), (38, 40, 38, 40, 37, 39), ((42, 46), (51, 53), (42, 44), (54, 46), (69, 70))
_TOMS, _CRASHES = (50, 48, 47, 45, 43, 41), (49, 57, 55, 52)
_EXTRAS = (54, 56, 60, 61, 62, 63, 64, 67, 68, 75, 76, 77, 80)
# Steps of one bar in 4/4: kick and snare.
_GROOVES: tuple[tuple[Sequence[int], Sequence[int]], ...] = (
    ((0, 8), (4, 12)),
    ((0, 6, 8), (4, 12)),
    ((0, 4, 8, 12), (4, 12)),
    ((0, 10), (8,)),
    ((0, 2, 10, 11), (4, 12)),
    ((0, 7, 10), (4, 12)),
    ((0, 3, 6, 8, 11), (4, 12)),
    ((0, 6, 12), (4, 10)),
    ((0, 8, 14), (2, 6, 10, 14)),
)
_WALTZES: tuple[tuple[Sequence[int], Sequence[int]], ...] = (((0,), (4, 8)), ((0, 6), (8,)), ((0, 10), (4, 8)))


def drum_hits(sections: Sequence[Section], swing: float, rng: np.random.Generator) -> tuple[Hit, ...]:
    """Hits of a whole song; ``swing`` delays every second eighth (0 straight, 1 triplets)."""
    grooves = _GROOVES if sections[0].beats == 4 else _WALTZES
    kick, snare = int(rng.choice(_KICKS)), int(rng.choice(_SNARES))
    closed, opened = _TIMES[rng.integers(len(_TIMES))]
    steps = 4 * sections[0].beats
    extra, taps = int(rng.choice(_EXTRAS)), rng.random(steps) < 0.25
    patterns = [grooves[rng.integers(len(grooves))] for _ in range(2)]
    hits: list[Hit] = []
    for section in sections:
        kicks, snares = patterns[section.energy > 0.6]
        beat_step = int(rng.choice([1, 2, 2, 2, 4]))
        with_extra = rng.random() < 0.3
        bars = section.bars()
        for number, (start, _) in enumerate(bars):
            fills = number == len(bars) - 1 and rng.random() < 0.7
            last = steps - int(rng.choice([4, 6, 8])) if fills else steps
            bar = [(step, kick, 108) for step in kicks if step < last]
            bar += [(step, snare, 104) for step in snares if step < last]
            bar += [(step, snare, 38) for step in range(last) if step not in snares and rng.random() < 0.05]
            bar += [(step, kick, 80) for step in range(last) if step not in kicks and rng.random() < 0.03]
            for step in range(0, last, beat_step):
                opens = step % 4 == 2 and rng.random() < 0.08
                bar.append((step, opened if opens else closed, 88 if step % 4 == 0 else 66))
            if with_extra:
                bar += [(step, extra, 70) for step in np.flatnonzero(taps).tolist() if step < last]
            if number == 0 and rng.random() < 0.7:
                bar.append((0, int(rng.choice(_CRASHES)), 100))
            bar += _fill(last, steps, snare, rng)
            hits += [humanise(start, step, key, level, swing, section.energy, rng) for step, key, level in bar]
    return tuple(hits)


def _fill(first: int, steps: int, snare: int, rng: np.random.Generator) -> list[tuple[int, int, int]]:
    """A run down the toms, mixed with the snare; empty where ``first`` is the end of the bar."""
    places = sorted(int(place) for place in rng.integers(0, len(_TOMS), max(0, steps - first)))
    run = [(step, _TOMS[place], 92) for step, place in zip(range(first, steps), places, strict=True)]
    return [
        (s, snare if rng.random() < 0.25 else key, level + s - first) for s, key, level in run if rng.random() < 0.85
    ]


def humanise(
    start: float, step: int, key: int, level: int, swing: float, energy: float, rng: np.random.Generator
) -> Hit:
    """A hit on a sixteenth of the bar at beat ``start``, a little early or late, louder where the energy is high."""
    late = swing / 6 if step % 4 == 2 else swing / 12 if step % 2 else 0.0
    time = max(0.0, start + step / 4 + late + rng.normal(0, 0.008))
    return Hit(time, 0.2, key, int(np.clip(level * (0.75 + 0.3 * energy) + rng.normal(0, 6), 8, 127)))
