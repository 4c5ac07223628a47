"""Controlled artifacts with known cause, place and strength, applied to otherwise clean stems.

Each artifact is a function ``(scene, region, rng) -> errors``: what it adds to the stem, by cause. A region is a smooth
window over time and frequency; outside it nothing is added. Errors of several artifacts add up.
"""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Callable, Mapping

import numpy as np
import torch
from torch import Tensor

from stemprover.data.cuts import add, loudness
from stemprover.data.labels import BLEED_NAMES, DISTORTION
from stemprover.data.scenes import Scene
from stemprover.data.separators import Errors, noise_field
from stemprover.spectral.spec import SPEC, SpectralSpec
from stemprover.spectral.stft import istft, stft

__all__ = ["ARTIFACTS", "Region", "apply_artifacts", "draw_artifacts", "draw_region"]

_LONG = SpectralSpec(n_fft=8192, hop=2048)
_CODEC = SpectralSpec(n_fft=2048, hop=1024)


@dataclasses.dataclass(frozen=True, slots=True)
class Region:
    """Where an artifact is: seconds and Hz, with soft edges."""

    start_s: float
    end_s: float
    low_hz: float
    high_hz: float

    def window(self, shape: tuple[int, ...], spec: SpectralSpec) -> Tensor:
        """Return weights in ``[0, 1]``, shape ``[1, n_bins, frames]``; edges: 50 ms, a tenth of an octave."""
        time = torch.arange(shape[-1]) * (spec.hop / spec.sample_rate)
        pitch = torch.log2(torch.arange(shape[-2]).clamp(min=0.5) * (spec.sample_rate / spec.n_fft))
        low, high = np.log2(max(self.low_hz, 1.0)), np.log2(self.high_hz)
        in_time = torch.minimum(time - self.start_s, self.end_s - time) / 0.05 + 0.5
        in_pitch = torch.minimum(pitch - low, high - pitch) / 0.1 + 0.5
        return in_time.clamp(0, 1)[None, None, :] * in_pitch.clamp(0, 1)[None, :, None]


def draw_region(rng: np.random.Generator, seconds: float, low_hz: float = 0.0) -> Region:
    """Draw a region: half of the time the whole segment, otherwise 0.4 s or more; at least two thirds of an octave."""
    if rng.random() < 0.5:
        start, end = -1.0, seconds + 1.0
    else:
        length = rng.uniform(0.4, seconds)
        start = rng.uniform(0, seconds - length)
        end = start + length
    bottom, top = np.log2(max(low_hz, 30.0)), np.log2(SPEC.sample_rate / 2)
    if rng.random() < 0.35:
        return Region(start, end, low_hz, SPEC.sample_rate)
    width = rng.uniform(0.66, max(0.7, top - bottom))
    low = rng.uniform(bottom, max(bottom, top - width))
    return Region(start, end, float(2**low), float(2 ** (low + width)))


def _spectrum(audio: np.ndarray, spec: SpectralSpec = SPEC) -> Tensor:
    return stft(torch.from_numpy(np.ascontiguousarray(audio, np.float32)), spec)


def _error(change: Tensor, scene: Scene, cause: str, spec: SpectralSpec = SPEC) -> Errors:
    """Wrap a complex spectrum ``[2, n_bins, frames]`` that is added to the stem."""
    return {cause: istft(change.to(torch.complex64), scene.target.shape[-1], spec).numpy()}


def leakage(scene: Scene, region: Region, rng: np.random.Generator) -> Errors:
    """Bleed of one sibling through a patchy mask, as a separator leaks it; not a plain mix."""
    names = [name for name, audio in scene.siblings.items() if loudness(audio) > 1e-4]
    if not names:
        return {}
    name = names[rng.integers(len(names))]
    sibling = _spectrum(scene.siblings[name])
    shape = (1, *sibling.shape[1:])
    patchy = torch.sigmoid(rng.uniform(0.5, 4) * noise_field(rng, shape, int(rng.choice([2, 8, 30])), 6) - 0.5)
    level = 10 ** (rng.uniform(-24, 0) / 20)
    return _error(level * patchy * region.window(shape, SPEC) * sibling, scene, BLEED_NAMES[name])


def musical_noise(scene: Scene, region: Region, rng: np.random.Generator) -> Errors:
    """Isolated bins switched off or on: what spectral subtraction leaves; weak bins suffer most."""
    target = _spectrum(scene.target)
    log_power = torch.log(target.abs().square().mean(0, keepdim=True) + 1e-12)
    weak = (log_power.mean(1, keepdim=True) - log_power) / log_power.std().clamp(min=1e-3)
    chance = torch.sigmoid(2 * weak + rng.uniform(-3, 1) + noise_field(rng, tuple(weak.shape), 3, 3))  # type: ignore[arg-type]
    dropped = (torch.from_numpy(rng.random(tuple(weak.shape), np.float32)) < chance).float()
    gain = 1 - dropped * rng.uniform(0.7, 1.0)
    return _error((gain - 1) * region.window(tuple(weak.shape), SPEC) * target, scene, DISTORTION)


def phase_noise(scene: Scene, region: Region, rng: np.random.Generator) -> Errors:
    """Phase that wanders from bin to bin: robotic at small scales, underwater at large ones."""
    target = _spectrum(scene.target)
    shape = (1 if rng.random() < 0.7 else 2, *target.shape[1:])
    bins, frames = int(rng.choice([1, 2, 6])), int(rng.choice([1, 3, 10]))
    angle = rng.uniform(0.3, 2.5) * noise_field(rng, shape, bins, frames) * region.window(shape, SPEC)
    return _error((torch.polar(torch.ones_like(angle), angle) - 1) * target, scene, "phasiness")


def decorrelation(scene: Scene, region: Region, rng: np.random.Generator) -> Errors:
    """Channels drift apart in phase; nothing changes in either channel's magnitude."""
    target = _spectrum(scene.target)
    shape = (1, *target.shape[1:])
    angle = rng.uniform(0.3, 1.8) * noise_field(rng, shape, int(rng.choice([4, 16, 64])), int(rng.choice([4, 32])))
    angle = angle * region.window(shape, SPEC)
    turned = torch.cat([angle, -angle])
    return _error((torch.polar(torch.ones_like(turned), turned) - 1) * target, scene, "phasiness")


def smearing(scene: Scene, region: Region, rng: np.random.Generator) -> Errors:
    """Transients spread over a long window: phase noise in an 8192-point transform (186 ms)."""
    target = _spectrum(scene.target, _LONG)
    shape = (1, *target.shape[1:])
    angle = rng.uniform(0.4, 2.0) * noise_field(rng, shape, int(rng.choice([1, 3])), 1) * region.window(shape, _LONG)
    return _error((torch.polar(torch.ones_like(angle), angle) - 1) * target, scene, "phasiness", _LONG)


def holes(scene: Scene, region: Region, rng: np.random.Generator) -> Errors:
    """Patches of the treble are missing."""
    target = _spectrum(scene.target)
    shape = (1, *target.shape[1:])
    field = noise_field(rng, shape, int(rng.choice([12, 40, 120])), int(rng.choice([3, 8, 25])))
    gain = torch.sigmoid(6 * (field - rng.uniform(-0.5, 0.8)))
    high = Region(-9, 99, rng.uniform(5500, 9000), SPEC.sample_rate).window(shape, SPEC)
    return _error(-gain * region.window(shape, SPEC) * high * target, scene, "hf-distortion")


def cut_off(scene: Scene, region: Region, rng: np.random.Generator) -> Errors:
    """Nothing above an edge between 6.5 and 16 kHz, as separators at low rates or with band limits leave it."""
    target = _spectrum(scene.target)
    edge = float(rng.choice([11_000.0, 16_000.0, 8_000.0, rng.uniform(6_500, 16_000)]))
    above = Region(region.start_s, region.end_s, edge, 2.0 * SPEC.sample_rate).window(tuple(target.shape), SPEC)
    return _error(-above * target, scene, "hf-distortion")


def aliasing(scene: Scene, region: Region, rng: np.random.Generator) -> Errors:
    """The spectrum mirrored at an edge, as a transposed convolution or a cheap resampler folds it."""
    target = _spectrum(scene.target)
    edge = 2 * round(rng.uniform(5500, 11_025) / SPEC.sample_rate * SPEC.n_fft / 2)  # even: frames stay in phase
    image = torch.zeros_like(target)
    height = min(edge, SPEC.n_bins - 1 - edge)
    image[:, edge + 1 : edge + 1 + height] = target[:, edge - height : edge].flip(1).conj()
    level = 10 ** (rng.uniform(-26, -4) / 20)
    return _error(level * region.window(tuple(target.shape), SPEC) * image, scene, "hf-distortion")


def checkerboard(scene: Scene, region: Region, rng: np.random.Generator) -> Errors:
    """A gain pattern that alternates in time and frequency, the trace of strided decoders."""
    target = _spectrum(scene.target)
    bins = torch.arange(target.shape[1])[:, None] // int(rng.choice([1, 2, 4, 8]))
    frames = torch.arange(target.shape[2])[None, :] // int(rng.choice([1, 2, 4]))
    pattern = ((bins + frames) % 2).float() * 2 - 1
    depth = rng.uniform(0.1, 0.9)
    high = Region(-9, 99, float(rng.choice([0.0, 6000.0])), SPEC.sample_rate).window(tuple(target.shape), SPEC)
    return _error(depth * pattern * high * region.window(tuple(target.shape), SPEC) * target, scene, DISTORTION)


def codec(scene: Scene, region: Region, rng: np.random.Generator) -> Errors:
    """Coarse steps per band and weak bins dropped, like a coder short of bits."""
    target = _spectrum(scene.target, _CODEC)
    edges = np.unique(np.geomspace(4, target.shape[1], 25).astype(int))
    edges[0] = 0
    coarse = torch.zeros_like(target)
    relative = rng.uniform(0.3, 1.6)
    for low, high in itertools.pairwise(edges):
        band = target[:, low:high]
        step = relative * band.abs().square().mean((0, 1), keepdim=True).sqrt() * (1.0 + low / target.shape[1]) + 1e-9
        coarse[:, low:high] = torch.complex(torch.round(band.real / step), torch.round(band.imag / step)) * step
    return _error((coarse - target) * region.window(tuple(target.shape), _CODEC), scene, DISTORTION, _CODEC)


Artifact = Callable[[Scene, Region, np.random.Generator], Errors]
ARTIFACTS: Mapping[str, Artifact] = {
    "leakage": leakage,
    "musical-noise": musical_noise,
    "phase-noise": phase_noise,
    "decorrelation": decorrelation,
    "smearing": smearing,
    "holes": holes,
    "cut-off": cut_off,
    "aliasing": aliasing,
    "checkerboard": checkerboard,
    "codec": codec,
}
_HIGH_ONLY = frozenset({"holes", "aliasing"})
_CHANCES = {"leakage": 0.3, "musical-noise": 0.1, "phase-noise": 0.1, "decorrelation": 0.06, "smearing": 0.08}
_CHANCES |= {"holes": 0.1, "cut-off": 0.06, "aliasing": 0.06, "checkerboard": 0.06, "codec": 0.08}


def apply_artifacts(
    scene: Scene, names: tuple[str, ...], rng: np.random.Generator, region: Region | None = None
) -> Errors:
    """Apply named artifacts, each in ``region`` or in one of its own, and add up their errors by cause."""
    seconds = scene.target.shape[-1] / SPEC.sample_rate
    total: Errors = {}
    for name in names:
        place = region or draw_region(rng, seconds, low_hz=5000.0 if name in _HIGH_ONLY else 0.0)
        for cause, error in ARTIFACTS[name](scene, place, rng).items():
            total[cause] = total[cause] + error if cause in total else error
    return total


def draw_artifacts(scene: Scene, rng: np.random.Generator) -> Errors:
    """Apply one artifact, sometimes two or three at once."""
    audible = 0.02 * loudness(scene.target)
    for _ in range(4):  # a hole in the treble of a bass is nothing: draw again
        count = int(rng.choice([1, 2, 3], p=[0.6, 0.28, 0.12]))
        names = rng.choice(list(_CHANCES), size=count, replace=False, p=list(_CHANCES.values()))
        errors = apply_artifacts(scene, tuple(map(str, names)), rng)
        if errors and loudness(add(errors.values())) > audible:
            break
    return errors
