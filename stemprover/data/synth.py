"""Synthesised notes: additive, FM, plucked string, subtractive, formant voice and drums.

Every voice maps a :class:`Note` to mono float32 samples. Time-varying spectra are sums of harmonics whose phasors are
multiplied up one after the other (``e^{jk phi} = e^{j(k-1) phi} e^{j phi}``), so a voice costs one complex product
per harmonic and no sample loop. All random choices come from the generator that is handed in.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping

import numpy as np
from scipy import signal

from stemprover.spectral.spec import SPEC

__all__ = ["DRUMS", "VOICES", "Note", "Voice", "envelope", "render_drum", "reverberate"]

RATE = SPEC.sample_rate
CONTROL = 256  # samples per value of slowly varying amplitudes


@dataclasses.dataclass(frozen=True, slots=True)
class Note:
    """A pitch in Hz held for a number of samples, with a velocity in ``(0, 1]``."""

    hz: float
    samples: int
    velocity: float = 1.0


Voice = Callable[[Note, np.random.Generator], np.ndarray]


def envelope(samples: int, attack: float, decay: float, sustain: float, release: float) -> np.ndarray:
    """Return an attack-decay-sustain-release curve; times in seconds, squeezed where the note is too short."""
    times = np.cumsum([0.0, attack, decay])
    end = samples / RATE
    points = np.array([*times, max(times[-1], end - release), max(times[-1], end - release) + release])
    points *= end / max(points[-1], 1e-9)
    curve = np.interp(np.arange(samples) / RATE, points, [0.0, 1.0, sustain, sustain, 0.0])
    return _float32(curve)


def _float32(values: np.ndarray) -> np.ndarray:
    return np.asarray(values, np.float32)


def _phase(note: Note, rng: np.random.Generator, vibrato: float, glide: float = 0.0) -> np.ndarray:
    """Phase in radians of a note with vibrato (depth in semitones, fading in) and a start that glides (semitones)."""
    time = np.arange(note.samples) / RATE
    wobble = (
        vibrato * np.sin(2 * np.pi * rng.uniform(4.0, 7.0) * time + rng.uniform(0, 6.28)) * np.minimum(time / 0.4, 1)
    )
    bend = wobble + glide * np.exp(-time / 0.05)
    phase: np.ndarray = 2 * np.pi * np.cumsum(note.hz * 2 ** (bend / 12)) / RATE + rng.uniform(0, 2 * np.pi)
    return phase


def _harmonics(phase: np.ndarray, amplitudes: np.ndarray) -> np.ndarray:
    """Sum ``amplitudes[k] sin((k + 1) phase)``; amplitudes ``[K]`` or, per control block, ``[K, blocks]``."""
    phasor = np.exp(1j * phase).astype(np.complex64)
    turning, out = phasor.copy(), np.zeros(phase.size, np.float32)
    for amplitude in amplitudes.astype(np.float32):
        gain = amplitude if amplitude.ndim == 0 else _per_sample(amplitude, phase.size)
        out += gain * turning.imag
        turning *= phasor
    return out


def _per_sample(values: np.ndarray, samples: int) -> np.ndarray:
    return _float32(np.interp(np.arange(samples), np.arange(values.size) * CONTROL, values))


def _count(hz: float, limit: int) -> int:
    return max(1, min(limit, int(0.45 * RATE / hz)))


def additive(note: Note, rng: np.random.Generator) -> np.ndarray:
    """Organ, bell or flute-like: harmonics with a random roll-off, each second one sometimes weak."""
    order = np.arange(1, _count(note.hz, 24) + 1)
    amplitudes = order ** -rng.uniform(0.8, 2.2) * rng.uniform(0.4, 1.0, order.size)
    amplitudes[1::2] *= rng.choice([1.0, 0.15])
    shape = envelope(note.samples, rng.uniform(0.005, 0.15), rng.uniform(0.05, 0.5), rng.uniform(0.3, 1), 0.08)
    return _float32(_harmonics(_phase(note, rng, rng.uniform(0, 0.3)), amplitudes) * shape * note.velocity)


def fm(note: Note, rng: np.random.Generator) -> np.ndarray:
    """Two operators, the modulator with its own decay (Chowning 1973)."""
    phase = _phase(note, rng, rng.uniform(0, 0.2))
    ratio, depth = rng.choice([0.5, 1, 1, 2, 3, 1.41, 3.5]), rng.uniform(0.3, 5.0)
    depth *= min(1.0, 3000 / note.hz / max(ratio, 1))  # keeps the side bands below Nyquist
    fading = envelope(note.samples, 0.002, rng.uniform(0.1, 1.5), rng.uniform(0, 0.6), 0.05)
    shape = envelope(note.samples, rng.uniform(0.002, 0.05), rng.uniform(0.2, 1.5), rng.uniform(0.2, 0.9), 0.08)
    return _float32(np.sin(phase + depth * fading * np.sin(ratio * phase)) * shape * note.velocity)


def pluck(note: Note, rng: np.random.Generator) -> np.ndarray:
    """Plucked string (Karplus and Strong 1983) as one linear filter: ``y[n] = x[n] + g (y[n-p] + y[n-p-1]) / 2``."""
    period = max(2, round(RATE / note.hz - 0.5))
    burst = np.zeros(note.samples, np.float32)
    length = min(period, note.samples)
    burst[:length] = signal.lfilter([1 - (a := rng.uniform(0, 0.8))], [1, -a], rng.standard_normal(length))
    feedback = np.zeros(period + 2)
    loss = rng.uniform(0.985, 0.999) ** (110 / max(note.hz, 40))
    feedback[0], feedback[period], feedback[period + 1] = 1.0, -loss / 2, -loss / 2
    tone = signal.lfilter([1.0], feedback, burst)
    tone = signal.lfilter([1, -1], [1, -0.995], tone)
    tone *= envelope(note.samples, 0.001, 0.01, 1.0, 0.04) * note.velocity / (np.abs(tone).max() + 1e-9)
    return _float32(tone)


def subtractive(note: Note, rng: np.random.Generator) -> np.ndarray:
    """Band-limited saw or pulse through a resonant low-pass whose cut-off follows an envelope."""
    order = np.arange(1, _count(note.hz, 40) + 1)
    width = rng.choice([0.0, 0.5, rng.uniform(0.1, 0.4)])
    source = 1.0 / order if width == 0 else np.abs(np.sin(np.pi * order * width)) / order
    blocks = note.samples // CONTROL + 2
    sweep = np.exp(-np.arange(blocks) * CONTROL / RATE / rng.uniform(0.05, 0.8))
    cutoff = note.hz * rng.uniform(1.5, 6) + rng.uniform(100, 5000) * sweep
    ratio = order[:, None] * note.hz / cutoff
    response = 1.0 / np.sqrt((1 - ratio**2) ** 2 + (ratio / rng.uniform(0.7, 3.0)) ** 2)
    shape = envelope(note.samples, rng.uniform(0.002, 0.03), rng.uniform(0.1, 0.6), rng.uniform(0.3, 0.9), 0.05)
    phase = _phase(note, rng, rng.uniform(0, 0.1), glide=rng.choice([0.0, 0.0, rng.uniform(-5, 5)]))
    tone = _harmonics(phase, source[:, None] * response) * shape
    drive = rng.choice([0.0, rng.uniform(0.5, 4)])
    return _float32((np.tanh(drive * tone) / drive if drive else tone) * note.velocity)


_VOWELS = np.array(  # first to fourth formant in Hz of a, e, i, o, u (adult voices, rounded)
    [
        *([750, 1200, 2600, 3500], [500, 1800, 2500, 3500], [300, 2200, 2900, 3700]),
        *([480, 900, 2500, 3400], [330, 800, 2400, 3300]),
    ],
    float,
)


def voice(note: Note, rng: np.random.Generator) -> np.ndarray:
    """Sung vowels: a glottal pulse train through moving formants, with breath noise and a consonant at the start."""
    order = np.arange(1, _count(note.hz, 50) + 1)
    blocks = note.samples // CONTROL + 2
    place = np.clip(np.interp(np.arange(blocks), [0, blocks], rng.uniform(0, 1, 2)) * 3, 0, 3)
    first, second = _VOWELS[rng.integers(5)], _VOWELS[rng.integers(5)]
    centres = (first + (second - first) * place[:, None] / 3) * rng.uniform(0.9, 1.2)
    widths = np.array([90, 110, 160, 220]) * rng.uniform(0.8, 1.6)
    distance = (order[:, None, None] * note.hz - centres) / widths
    response = (np.array([1.0, 0.6, 0.35, 0.2]) / (1 + distance**2)).sum(-1) + 0.02
    phase = _phase(note, rng, rng.uniform(0.05, 0.6), glide=rng.uniform(-2, 1))
    tone = _harmonics(phase, response / order[:, None] ** 0.6)
    breath = signal.sosfilt(_band(3000, 12000), rng.standard_normal(note.samples))
    hiss = np.exp(-np.arange(note.samples) / RATE / 0.04) * rng.choice([0.0, 0.4, 1.0]) + rng.uniform(0.005, 0.05)
    shape = envelope(note.samples, rng.uniform(0.02, 0.1), 0.1, rng.uniform(0.6, 1), 0.08)
    return _float32((tone * shape + breath * hiss * shape.clip(0.05)) * note.velocity)


def _band(low: float, high: float) -> np.ndarray:
    sos: np.ndarray = signal.butter(2, [low, min(high, 0.48 * RATE)], "bandpass", fs=RATE, output="sos")
    return sos


VOICES: Mapping[str, Voice] = {
    "additive": additive,
    "fm": fm,
    "pluck": pluck,
    "subtractive": subtractive,
    "voice": voice,
}


def _decay(samples: int, seconds: float) -> np.ndarray:
    return _float32(np.exp(-np.arange(samples) / RATE / seconds) * np.minimum(np.arange(samples) / 30.0, 1.0))


def _membrane(rng: np.random.Generator, low: float, high: float, length: float, noise: float) -> np.ndarray:
    """A struck skin: a sine that falls to its pitch, its first overtone, and a click of noise."""
    samples = int(RATE * min(4 * length, 1.2))
    time = np.arange(samples) / RATE
    hz = rng.uniform(low, high) * (1 + rng.uniform(0.3, 3) * np.exp(-time / rng.uniform(0.01, 0.05)))
    phase = 2 * np.pi * np.cumsum(hz) / RATE
    body = (np.sin(phase) + 0.25 * np.sin(1.59 * phase)) * _decay(samples, length)
    click = rng.standard_normal(samples) * _decay(samples, rng.uniform(0.002, 0.01)) * rng.uniform(0.05, 0.4)
    rattle = signal.sosfilt(_band(1500, rng.uniform(6000, 14000)), rng.standard_normal(samples))
    return _float32(body + click + noise * rattle * _decay(samples, length * rng.uniform(0.5, 1.2)))


def _metal(rng: np.random.Generator, length: float) -> np.ndarray:
    """Noise above a random edge plus inharmonic partials."""
    samples = int(RATE * min(4 * length, 2.5))
    hiss = signal.sosfilt(_band(rng.uniform(3000, 7000), 18000), rng.standard_normal(samples))
    time = np.arange(samples) / RATE
    ring = sum(np.sin(2 * np.pi * hz * time + rng.uniform(0, 6)) for hz in rng.uniform(2500, 12000, 8))
    return _float32((hiss + rng.uniform(0, 0.08) * ring) * _decay(samples, length))


DRUMS: Mapping[str, Callable[[np.random.Generator], np.ndarray]] = {
    "kick": lambda rng: _membrane(rng, 38, 65, rng.uniform(0.1, 0.35), 0.0),
    "snare": lambda rng: _membrane(rng, 150, 260, rng.uniform(0.05, 0.15), rng.uniform(0.6, 2)),
    "toms": lambda rng: _membrane(rng, 70, 180, rng.uniform(0.12, 0.4), 0.05),
    "hihat": lambda rng: _metal(rng, rng.choice([0.02, 0.04, 0.2])),
    "cymbals": lambda rng: _metal(rng, rng.uniform(0.4, 1.2)),
}


def render_drum(piece: str, rng: np.random.Generator) -> np.ndarray:
    """Return one hit of ``kick``, ``snare``, ``toms``, ``hihat`` or ``cymbals``, mono float32."""
    return DRUMS[piece](rng)


def reverberate(audio: np.ndarray, rng: np.random.Generator, seconds: float, wet: float) -> np.ndarray:
    """Add a stereo tail of exponentially decaying noise; shape ``[2, samples]`` in and out."""
    tail = int(seconds * RATE)
    response = rng.standard_normal((2, tail)) * np.exp(-6.9 * np.arange(tail) / tail)
    response /= np.sqrt((response**2).sum(1, keepdims=True))
    echo = signal.fftconvolve(audio, response, axes=1)[:, : audio.shape[1]]
    return _float32(audio + wet * echo)
