"""Random stems and songs from synthesised notes: bass lines, melodies, chords, singing and drum patterns."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from stemprover.data.synth import RATE, VOICES, Note, render_drum, reverberate

__all__ = ["SYNTH_CLASSES", "render_song", "render_stem", "spread"]

SYNTH_CLASSES = ("vocals", "drums", "bass", "other")
_SCALES = ((0, 2, 4, 5, 7, 9, 11), (0, 2, 3, 5, 7, 8, 10), (0, 3, 5, 7, 10), (0, 2, 4, 7, 9))
_BASS_VOICES = ("subtractive", "subtractive", "fm", "pluck", "additive")
_LEAD_VOICES = ("additive", "fm", "pluck", "subtractive")


def render_song(seed: int | tuple[int, ...], seconds: float) -> Mapping[str, np.ndarray]:
    """Return one stem per class in the same key and tempo, each float32 ``[2, samples]``; their sum is the mixture."""
    samples = int(seconds * RATE)
    base = (seed,) if isinstance(seed, int) else seed
    tempo_key = np.random.default_rng([*base, 0]).integers(0, 2**31)
    return {
        name: render_stem(name, samples, np.random.default_rng([*base, number + 1]), song=int(tempo_key))
        for number, name in enumerate(SYNTH_CLASSES)
    }


def render_stem(stem_class: str, samples: int, rng: np.random.Generator, song: int | None = None) -> np.ndarray:
    """Render one random stem.

    Parameters
    ----------
    stem_class : str
        ``vocals``, ``drums``, ``bass`` or ``other``.
    samples : int
        Length at 44.1 kHz.
    rng : Generator
        Source of all choices except tempo, key and scale.
    song : int, optional
        Seed of tempo, key and scale; stems with the same number fit together.

    Returns
    -------
    ndarray
        Float32, shape ``[2, samples]``, root-mean-square about 0.1.
    """
    shared = np.random.default_rng(rng.integers(0, 2**31) if song is None else song)
    beat = RATE * 60 / shared.uniform(70, 170)
    key, scale = int(shared.integers(0, 12)), _SCALES[shared.integers(len(_SCALES))]
    if stem_class == "drums":
        audio = _drums(samples, beat, rng)
    elif stem_class == "bass":
        audio = _line(samples, beat, rng, _pitches(rng, key, scale, 28, 45), _BASS_VOICES[rng.integers(5)], 0.0)
    elif stem_class == "vocals":
        audio = _line(samples, beat, rng, _pitches(rng, key, scale, 48, 72), "voice", rng.uniform(0, 0.3))
    elif rng.random() < 0.5:
        audio = _chords(samples, beat, rng, _pitches(rng, key, scale, 48, 67))
    else:
        lead = _LEAD_VOICES[rng.integers(4)]
        audio = _line(samples, beat, rng, _pitches(rng, key, scale, 55, 88), lead, rng.uniform(0, 1))
    if rng.random() < (0.25 if stem_class == "bass" else 0.6):
        audio = reverberate(audio, rng, rng.uniform(0.1, 1.5), rng.uniform(0.05, 0.6))
    return np.asarray(audio * (0.1 / (np.sqrt(np.mean(audio**2)) + 1e-9)), np.float32)


def spread(mono: np.ndarray, position: float) -> np.ndarray:
    """Place a mono signal between left (-1) and right (1) at constant power: ``[samples] -> [2, samples]``."""
    angle = (position + 1) * np.pi / 4
    return np.stack([np.cos(angle) * mono, np.sin(angle) * mono]).astype(np.float32)


def _pitches(rng: np.random.Generator, key: int, scale: Sequence[int], low: int, high: int) -> np.ndarray:
    """MIDI numbers of the scale between two bounds, narrowed to a random octave and a half."""
    notes = np.array([n for n in range(low, high) if (n - key) % 12 in scale])
    start = rng.integers(0, max(1, len(notes) - 9))
    return notes[start : start + 10]


def _hz(midi: float) -> float:
    return float(440.0 * 2 ** ((midi - 69) / 12))


def _add(target: np.ndarray, start: int, audio: np.ndarray) -> None:
    length = min(audio.shape[-1], target.shape[-1] - start)
    if length > 0:
        target[..., start : start + length] += audio[..., :length]


def _line(
    samples: int, beat: float, rng: np.random.Generator, pitches: np.ndarray, voice: str, width: float
) -> np.ndarray:
    """A random walk over the pitches; the timbre is drawn once, so that the line is one instrument."""
    audio = np.zeros((2, samples), np.float32)
    timbre = int(rng.integers(0, 2**31))
    durations = rng.choice([0.25, 0.5, 0.5, 1.0, 1.0, 2.0, 4.0], size=3)  # in beats; a line uses few of them
    position, place = -int(rng.integers(0, int(beat))), int(rng.integers(len(pitches)))
    while position < samples:
        length = int(beat * rng.choice(durations))
        place = sorted((0, place + int(rng.integers(-2, 3)), len(pitches) - 1))[1]
        if rng.random() < 0.85 and position + length > 0:
            held = max(int(length * rng.uniform(0.6, 1.0)), RATE // 20)
            note = Note(_hz(pitches[place] + rng.normal(0, 0.05)), held, rng.uniform(0.5, 1))
            sound = int(rng.integers(0, 2**31)) if voice == "voice" else timbre  # each syllable has its own vowels
            tone = VOICES[voice](note, np.random.default_rng(sound))
            skip = max(0, -position)
            _add(audio, position + skip, spread(tone, rng.uniform(-width, width))[:, skip:])
        position += length
    return audio


def _chords(samples: int, beat: float, rng: np.random.Generator, pitches: np.ndarray) -> np.ndarray:
    """Held chords of two to four detuned, panned notes."""
    audio = np.zeros((2, samples), np.float32)
    length = int(beat * rng.choice([1, 2, 4]))
    timbre, voice = int(rng.integers(0, 2**31)), _LEAD_VOICES[rng.integers(4)]
    for start in range(-int(rng.integers(0, length)), samples, length):
        for midi in rng.choice(pitches, size=min(len(pitches), int(rng.integers(2, 5))), replace=False):
            note = Note(_hz(midi + rng.normal(0, 0.04)), int(length * rng.uniform(0.8, 1.05)), rng.uniform(0.5, 1))
            tone = VOICES[voice](note, np.random.default_rng(timbre))
            skip = max(0, -start)
            _add(audio, start + skip, spread(tone, rng.uniform(-1, 1))[:, skip:])
    return audio


def _drums(samples: int, beat: float, rng: np.random.Generator) -> np.ndarray:
    """A pattern on sixteenths: each piece is one sound, one place, and a random rhythm that repeats each bar."""
    audio = np.zeros((2, samples), np.float32)
    offset = -rng.integers(0, int(4 * beat))
    rates = {"kick": 0.25, "snare": 0.15, "hihat": 0.6, "toms": 0.06, "cymbals": 0.04}
    for piece, rate in rates.items():
        hit = spread(render_drum(piece, rng) * rng.uniform(0.4, 1.0), rng.uniform(-0.4, 0.4))
        rhythm = rng.random(16) < rate * rng.uniform(0.5, 1.5)
        for step in range(int((samples - offset) / (beat / 4)) + 1):
            start = int(offset + step * beat / 4 + rng.normal(0, 60))
            if rhythm[step % 16] and start >= 0:
                _add(audio, start, hit * np.float32(rng.uniform(0.4, 1.0)))
    if not audio.any():
        _add(audio, 0, spread(render_drum("kick", rng), 0.0))
    return audio
