"""Cuts: stretches of recordings where something sounds, and stems of a class from whatever a library holds."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np
import soxr

from stemprover.data.library import Kit, Library
from stemprover.data.songs import render_stem
from stemprover.data.sources import Recording
from stemprover.separation.layout import KIT_STEMS
from stemprover.spectral.spec import SPEC

__all__ = ["ATTEMPTS", "active_start", "add", "any_kit", "any_stem", "by_length", "longest", "loudness", "sequence"]

ATTEMPTS = 12
"""How often to draw again where nothing sounds."""


def add(parts: Iterable[np.ndarray]) -> np.ndarray:
    """Sum of arrays of one shape, float32; at least one."""
    return np.asarray(np.sum(list(parts), axis=0), np.float32)


def loudness(audio: np.ndarray) -> float:
    """Root-mean-square over all channels."""
    return float(np.sqrt(np.mean(np.square(audio))))


def active_start(recording: Recording, samples: int, rng: np.random.Generator) -> int:
    """A start within the split's range, tried a few times until something sounds there."""
    latest = max(recording.first + 1, recording.last - samples)
    for _ in range(ATTEMPTS):
        start = int(rng.integers(recording.first, latest))
        if recording.is_active(start, samples):
            break
    return start


def by_length(recordings: Sequence[Recording], rng: np.random.Generator) -> int:
    """Draw a place in a list, longer recordings more often: many short songs must not drown a few whole ones."""
    lengths = np.array([recording.last - recording.first for recording in recordings], float)
    return int(rng.choice(len(lengths), p=lengths / lengths.sum()))


def longest(tracks: Sequence[Recording]) -> Recording:
    """The track that says how long a song is."""
    return max(tracks, key=lambda track: track.last - track.first)


def any_kit(kits: Sequence[Kit], rng: np.random.Generator) -> Kit:
    """Draw a kit; recorded (those with a separator's outputs) and rendered ones equally often, where there are both."""
    recorded, rendered = [kit for kit in kits if kit.estimates], [kit for kit in kits if not kit.estimates]
    several = recorded if recorded and (not rendered or rng.random() < 0.5) else rendered
    return several[rng.integers(len(several))]


def any_stem(library: Library, stem_class: str, samples: int, rng: np.random.Generator) -> tuple[str, np.ndarray]:
    """A stem of a class from songs, kits, solos, one-shots or the synthesiser, with its speed changed by up to 15 %."""
    tracks = [t for song in library.songs.values() for t in song if t.stem_class == stem_class]
    shots = library.samples.get(stem_class, ())
    weights = {
        "songs": (0.15 if stem_class == "bass" else 0.45) * bool(tracks),
        "kits": 0.25 * (stem_class == "drums" and bool(library.kits)),
        "solos": 0.3 * (stem_class == "vocals" and bool(library.solos)),
        "shots": 0.15 * bool(shots),
        "synth": 0.6 if stem_class == "bass" else 0.15,
    }
    total = sum(weights.values())
    source = str(rng.choice(list(weights), p=[weight / total for weight in weights.values()]))
    if source == "synth":
        return "synth", render_stem(stem_class, samples, rng)
    if source == "shots":
        return "oneshots", sequence(shots, samples, rng)
    speed = rng.uniform(1 / 1.15, 1.15) if rng.random() < 0.6 else 1.0
    length = round(samples * speed)
    if source == "kits":
        kit = any_kit(library.kits, rng)
        start = active_start(kit.mix, length, rng)
        audio = add(kit.references[name].read(start, length) for name in KIT_STEMS)
        return kit.name, _change_speed(audio, speed, samples)
    recordings = tracks if source == "songs" else library.solos
    recording = recordings[by_length(recordings, rng)]
    audio = recording.read(active_start(recording, length, rng), length)
    return recording.song if source == "songs" else recording.name, _change_speed(audio, speed, samples)


def _change_speed(audio: np.ndarray, speed: float, samples: int) -> np.ndarray:
    """Play faster or slower, pitch included: ``[2, samples * speed] -> [2, samples]``."""
    if speed == 1.0:
        return audio
    changed = soxr.resample(audio.T, SPEC.sample_rate * speed, SPEC.sample_rate, quality="MQ").T[:, :samples]
    return np.pad(changed, ((0, 0), (0, samples - changed.shape[1]))).astype(np.float32)


def sequence(shots: tuple[Recording, ...], samples: int, rng: np.random.Generator) -> np.ndarray:
    """One to three one-shots or loops, each repeated at its own period."""
    audio = np.zeros((2, samples), np.float32)
    for _ in range(rng.integers(1, 4)):
        shot = shots[rng.integers(len(shots))]
        speed = rng.uniform(1 / 1.15, 1.15)
        length = min(shot.last, int(samples * speed))
        sound = _change_speed(shot.read(0, length), speed, max(1, int(length / speed)))
        period = max(int(rng.choice([0.125, 0.25, 0.5, 1.0]) * SPEC.sample_rate), sound.shape[1] // 4)
        for start in range(int(rng.integers(0, period)), samples, period):
            part = sound[:, : samples - start]
            audio[:, start : start + part.shape[1]] += part * np.float32(rng.uniform(0.5, 1))
    return audio
