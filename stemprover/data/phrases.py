"""Pitched parts: bass lines, accompaniments (held, struck, broken, strummed) and melodies with phrases."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from stemprover.data.score import Harmony, Hit, Section

__all__ = ["ACCOMPANIMENTS", "accompany", "bass_line", "melody"]

ACCOMPANIMENTS = ("held", "struck", "broken", "strummed")
_BASSES = ("root", "eighths", "octaves", "walking", "synco")


def _velocity(level: float, section: Section, rng: np.random.Generator) -> int:
    return int(np.clip(level * (0.8 + 0.3 * section.energy) + rng.normal(0, 6), 10, 127))


def bass_line(sections: Sequence[Section], harmony: Harmony, rng: np.random.Generator) -> tuple[Hit, ...]:
    """Roots, fifths and passing notes around the low E; each kind of section has one style."""
    styles = [str(style) for style in rng.choice(_BASSES, size=2)]
    near, held = int(rng.integers(33, 42)), rng.uniform(0.5, 1.0)
    hits: list[Hit] = []
    for section in sections:
        style = styles[section.energy > 0.6]
        for start, degree in section.bars():
            root = harmony.pitch(degree, near)
            fifth = harmony.pitch(degree + 4, near)
            for time, length, key in _bass_bar(style, section.beats, root, fifth, harmony, rng):
                when = max(0.0, start + time + rng.normal(0, 0.01))
                hits.append(Hit(when, max(0.1, length * held), key, _velocity(98, section, rng)))
    return tuple(hits)


def _bass_bar(
    style: str, beats: int, root: int, fifth: int, harmony: Harmony, rng: np.random.Generator
) -> list[tuple[float, float, int]]:
    if style == "root":
        return [(0.0, float(beats), root)] if rng.random() < 0.6 else [(0.0, 2.0, root), (2.0, beats - 2.0, fifth)]
    if style == "eighths":
        return [(k / 2, 0.5, root if rng.random() < 0.85 else fifth) for k in range(2 * beats)]
    if style == "octaves":
        return [(k / 2, 0.5, root + 12 * (k % 2)) for k in range(2 * beats)]
    if style == "walking":
        steps = harmony.ladder(root - 5, root + 9)
        return [(float(k), 1.0, root if k == 0 else int(rng.choice(steps))) for k in range(beats)]
    times = [0.0, *sorted(rng.choice(np.arange(1, 4 * beats), size=int(rng.integers(2, 6)), replace=False) / 4)]
    ends = [*times[1:], float(beats)]
    return [(a, min(b - a, 1.0), root if rng.random() < 0.7 else fifth) for a, b in zip(times, ends, strict=True)]


def accompany(
    sections: Sequence[Section], harmony: Harmony, style: str, near: int, rng: np.random.Generator
) -> tuple[Hit, ...]:
    """Chords around the key ``near`` in one of ``ACCOMPANIMENTS``."""
    voices = int(rng.integers(3, 6))
    places = [0.0, *(np.flatnonzero(rng.random(15) < 0.25) + 1) / 4]
    order, rate = rng.permutation(voices), float(rng.choice([0.25, 0.5, 0.5, 1.0]))
    hits: list[Hit] = []
    for section in sections:
        for start, degree in section.bars():
            keys = harmony.chord(degree, voices, near)
            level = _velocity(82, section, rng)
            if style == "held":
                hits += [Hit(start, section.beats * 0.98, key, level) for key in keys]
            elif style == "broken":
                count = int(section.beats / rate)
                hits += [
                    Hit(start + k * rate, rate * 1.3, keys[order[k % voices] % len(keys)], _velocity(80, section, rng))
                    for k in range(count)
                ]
            else:
                delay = rng.uniform(0.02, 0.06) if style == "strummed" else 0.0
                length = rng.uniform(0.3, 1.2)
                for place in (place for place in places if place < section.beats):
                    struck = _velocity(84, section, rng)
                    hits += [Hit(start + place + k * delay, length, key, struck) for k, key in enumerate(keys)]
    return tuple(hits)


def melody(
    sections: Sequence[Section], harmony: Harmony, low: int, high: int, rng: np.random.Generator
) -> tuple[Hit, ...]:
    """One voice: a motif of two bars that comes back with other notes, chord tones on the first beat, some rests."""
    ladder = harmony.ladder(low, high)
    place, rests = len(ladder) // 2, rng.uniform(0.05, 0.3)
    motifs = [_motif(2 * sections[0].beats, rng) for _ in range(2)]
    held = rng.uniform(0.8, 1.0)
    hits: list[Hit] = []
    for section in sections:
        motif = motifs[section.energy > 0.6]
        for number, (start, degree) in enumerate(section.bars()):
            rest = rng.random() < rests
            first = number % 2 * section.beats
            for time, length in motif:
                if rest or not first <= time < first + section.beats:
                    continue
                place = int(np.clip(place + rng.integers(-2, 3), 0, len(ladder) - 1))
                key = ladder[place]
                if time == first:
                    key = harmony.pitch(degree + 2 * int(rng.integers(3)), key)
                when = max(0.0, start + time - first + rng.normal(0, 0.015))
                hits.append(Hit(when, max(0.1, length * held), key, _velocity(92, section, rng)))
    return tuple(hits)


def _motif(beats: int, rng: np.random.Generator) -> list[tuple[float, float]]:
    """Starts and lengths that fill a number of beats."""
    lengths = rng.choice([0.25, 0.5, 0.5, 1.0, 1.0, 1.5, 2.0], size=3)
    notes, time = [], 0.0
    while time < beats:
        length = float(rng.choice(lengths))
        notes.append((time, min(length, beats - time)))
        time += length
    return notes
