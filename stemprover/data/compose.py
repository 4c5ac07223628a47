"""Random songs for a General MIDI synthesiser: which instruments play what in which section."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence

import numpy as np

from stemprover.data.phrases import ACCOMPANIMENTS, accompany, bass_line, melody
from stemprover.data.rhythm import KITS, drum_hits
from stemprover.data.score import SUNG, Harmony, Hit, Part, Score, Section, draw_sections

__all__ = ["compose"]

_BASSES = tuple(range(32, 40))
_CHOIRS = (52, 53, 54, 85, 91)  # choir aahs, voice oohs, synth voice, voice lead, choir pad
_CHORDS = (*range(0, 8), *range(16, 32), 46, *range(48, 52), *range(61, 64), *range(88, 91), *range(92, 96), 11, 12)
_LEADS = (*range(8, 15), *range(24, 31), 40, 41, 42, *range(56, 61), *range(64, 85), 86, 87, *range(104, 112))
_HELD = (*range(16, 24), *range(48, 52), *range(61, 64), *range(88, 96))


def compose(seed: int | tuple[int, ...], seconds: float) -> Score:
    """Compose a song.

    Parameters
    ----------
    seed : int or tuple of int
        The same seed and length give the same song.
    seconds : float
        Length; every stem sounds somewhere in it.

    Returns
    -------
    Score
        Parts of drums, bass, other and vocals.
    """
    base = (seed,) if isinstance(seed, int) else seed
    rng = np.random.default_rng([*base, 7001])
    tempo, beats = float(rng.uniform(60, 180)), int(rng.choice([4, 4, 4, 4, 3]))
    harmony = Harmony.draw(rng)
    total = seconds * tempo / 60
    sections = draw_sections(max(1, math.ceil(total / beats)), beats, rng)
    swing = float(rng.choice([0, 0, 0, 0.6, 1.0]))
    stems = {
        "vocals": _vocals(sections, harmony, rng),
        "drums": (
            Part(int(rng.choice(KITS)), True, _arrange(drum_hits(sections, swing, rng), sections, rng), _mix(rng)),
        ),
        "bass": (_bass(sections, harmony, rng),),
        "other": _others(sections, harmony, rng),
    }
    return Score(tempo, {name: _sounding(name, parts, total) for name, parts in stems.items()})


def _arrange(hits: Sequence[Hit], sections: Sequence[Section], rng: np.random.Generator) -> tuple[Hit, ...]:
    """Let a part rest in some sections: rather in quiet ones, never in the last (which is kept for validation)."""
    if rng.random() < 0.4:
        return tuple(hits)
    resting = [
        (section.first * section.beats, (section.first + len(section.chords)) * section.beats)
        for section in sections[:-1]
        if rng.random() < 0.4 - 0.35 * section.energy
    ]
    return tuple(hit for hit in hits if not any(start <= hit.start < end for start, end in resting))


def _mix(rng: np.random.Generator, width: float = 0.0) -> dict[int, int]:
    """Volume, pan within ``width`` (0 to 1), reverb and chorus sends, and now and then some modulation."""
    return {
        7: int(rng.integers(70, 120)),
        10: int(np.clip(64 + rng.uniform(-64, 63) * width, 0, 127)),
        91: int(rng.choice([0, int(rng.integers(10, 50)), int(rng.integers(30, 110))])),
        93: int(rng.choice([0, 0, int(rng.integers(10, 90))])),
        1: int(rng.choice([0, 0, 0, int(rng.integers(10, 70))])),
    }


def _bass(sections: Sequence[Section], harmony: Harmony, rng: np.random.Generator) -> Part:
    controls = {**_mix(rng, 0.1), 91: int(rng.choice([0, 0, int(rng.integers(5, 30))])), 1: 0}
    hits = _arrange(bass_line(sections, harmony, rng), sections, rng)
    return Part(int(rng.choice(_BASSES)), False, hits, controls)


def _others(sections: Sequence[Section], harmony: Harmony, rng: np.random.Generator) -> tuple[Part, ...]:
    """One to three accompaniments and none to two leads."""
    parts = []
    for _ in range(int(rng.integers(1, 4))):
        program = int(rng.choice(_CHORDS))
        style = "held" if program in _HELD and rng.random() < 0.7 else str(rng.choice(ACCOMPANIMENTS))
        hits = accompany(sections, harmony, style, int(rng.integers(52, 72)), rng)
        parts.append(Part(program, False, _arrange(hits, sections, rng), _mix(rng, 0.8)))
    for _ in range(int(rng.integers(0, 3))):
        low = int(rng.integers(55, 68))
        hits = _arrange(melody(sections, harmony, low, low + 19, rng), sections, rng)
        parts.append(Part(int(rng.choice(_LEADS)), False, hits, _mix(rng, 0.6)))
    return tuple(parts)


def _vocals(sections: Sequence[Section], harmony: Harmony, rng: np.random.Generator) -> tuple[Part, ...]:
    """A lead that the formant voice or a choir program sings, often with a choir or a second voice behind it."""
    low = int(rng.integers(45, 60))
    lead = _arrange(melody(sections, harmony, low, low + 17, rng), sections, rng)
    program = SUNG if rng.random() < 0.6 else int(rng.choice(_CHOIRS[:4]))
    parts = [Part(program, False, lead, _mix(rng, 0.15))]
    backing = rng.random()
    if backing < 0.35:
        hits = _arrange(accompany(sections, harmony, "held", low + 8, rng), sections, rng)
        parts.append(Part(int(rng.choice(_CHOIRS)), False, hits, {**_mix(rng, 0.6), 7: int(rng.integers(40, 90))}))
    elif backing < 0.5:  # the same rhythm, a third or so above
        ladder = harmony.ladder(low - 14, low + 40)
        second = [dataclasses.replace(hit, key=next(k for k in ladder if k >= hit.key + 3)) for hit in lead]
        parts.append(Part(program, False, tuple(second), {**_mix(rng, 0.6), 7: int(rng.integers(40, 90))}))
    return tuple(parts)


def _sounding(name: str, parts: tuple[Part, ...], beats: float) -> tuple[Part, ...]:
    """Give a stem without any note before the end one note at the start."""
    if any(hit.start < 0.8 * beats for part in parts for hit in part.hits):
        return parts
    note = Hit(0.0, max(0.5, beats / 2), 36 if name in ("drums", "bass") else 60, 100)
    return (dataclasses.replace(parts[0], hits=(note, *parts[0].hits)), *parts[1:])
