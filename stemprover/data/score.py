"""Random songs as notes: tempo, key, sections with chords, and parts with General MIDI instruments.

Times are in beats. Everything is drawn from the generator that is handed in; nothing here makes a sound.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping

import numpy as np

__all__ = ["SUNG", "Harmony", "Hit", "Part", "Score", "Section", "draw_sections"]

SUNG = -1  # program of a part that the formant voice sings, not FluidSynth
_SCALES = ((0, 2, 4, 5, 7, 9, 11), (0, 2, 3, 5, 7, 8, 10), (0, 2, 3, 5, 7, 9, 10), (0, 2, 4, 5, 7, 9, 10))
_PROGRESSIONS = (  # degrees of the scale, one a bar
    *((0, 4, 5, 3), (0, 5, 3, 4), (0, 3, 4, 3), (5, 3, 0, 4), (1, 4, 0, 0), (0, 6, 5, 4), (0, 3, 0, 4)),
    *((0, 2, 3, 4), (0, 0, 3, 4), (0, 5, 1, 4), (3, 4, 2, 5), (0, 6, 3, 0), (0, 0, 0, 0)),
)


@dataclasses.dataclass(frozen=True, slots=True)
class Hit:
    """A note: start and length in beats, MIDI key and velocity."""

    start: float
    length: float
    key: int
    velocity: int


@dataclasses.dataclass(frozen=True, slots=True)
class Part:
    """One instrument.

    Attributes
    ----------
    program : int
        General MIDI program from 0, a drum kit's number, or ``SUNG``.
    is_drums : bool
        Whether the part plays on channel 10.
    hits : tuple of Hit
        In any order.
    controls : Mapping[int, int]
        MIDI controllers that are set once: 7 volume, 10 pan, 91 reverb, 93 chorus, 1 modulation.
    """

    program: int
    is_drums: bool
    hits: tuple[Hit, ...]
    controls: Mapping[int, int]


@dataclasses.dataclass(frozen=True, slots=True)
class Score:
    """A song: tempo in beats a minute, and the parts of each stem."""

    tempo: float
    stems: Mapping[str, tuple[Part, ...]]


@dataclasses.dataclass(frozen=True, slots=True)
class Harmony:
    """A key (0 = C) and the semitones of its scale."""

    key: int
    scale: tuple[int, ...]

    @classmethod
    def draw(cls, rng: np.random.Generator) -> Harmony:
        """Draw a key and one of four modes."""
        return cls(int(rng.integers(12)), _SCALES[rng.integers(len(_SCALES))])

    def pitch(self, degree: int, near: int) -> int:
        """MIDI key of a degree, in the octave whose note is nearest to ``near``."""
        tone = (self.key + self.scale[degree % 7]) % 12
        return near + (tone - near + 6) % 12 - 6

    def ladder(self, low: int, high: int) -> list[int]:
        """All keys of the scale from ``low`` to ``high``."""
        return [key for key in range(low, high + 1) if (key - self.key) % 12 in self.scale]

    def chord(self, degree: int, voices: int, near: int) -> list[int]:
        """Keys of a chord in thirds on a degree, voiced around ``near``; ascending, no key twice."""
        return sorted({self.pitch(degree + 2 * voice, near) for voice in range(voices)})


@dataclasses.dataclass(frozen=True, slots=True)
class Section:
    """A stretch of bars with its chords (one degree a bar) and an energy from 0 to 1."""

    first: int
    chords: tuple[int, ...]
    energy: float
    beats: int

    def bars(self) -> list[tuple[float, int]]:
        """First beat and chord of every bar."""
        return [((self.first + k) * float(self.beats), chord) for k, chord in enumerate(self.chords)]


def draw_sections(bars: int, beats: int, rng: np.random.Generator) -> tuple[Section, ...]:
    """Divide a song into sections of 2, 4 or 8 bars; sections of one kind (verse, chorus) share their chords."""
    kinds = [_PROGRESSIONS[rng.integers(len(_PROGRESSIONS))] for _ in range(3)]
    size = int(rng.choice([size for size in (2, 4, 8) if size <= max(2, math.ceil(bars / 2))]))
    sections, first = [], 0
    while first < bars:
        kind = int(rng.integers(3))
        chords = tuple(kinds[kind][k % 4] for k in range(min(size, bars - first)))
        energy = float(np.clip(0.35 + 0.25 * kind + rng.normal(0, 0.15), 0, 1))
        sections.append(Section(first, chords, energy, beats))
        first += size
    return tuple(sections)
