"""Separators that make artifacts: simulated neural masks, complex and waveform-like ones, and classical algorithms.

All are linear once their (complex) mask is known, so the estimate splits exactly into the stem, the part of each
sibling that leaks and the part of the stem that is lost. That split is what the labels are made of.
"""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Mapping

import numpy as np
import torch
from torch import Tensor

from stemprover.data.cuts import add
from stemprover.data.labels import BLEED_NAMES, DISTORTION, RESIDUAL
from stemprover.data.scenes import Scene
from stemprover.spectral.spec import SPEC, SpectralSpec
from stemprover.spectral.stft import istft, stft

__all__ = ["MaskStyle", "draw_style", "errors_of_estimate", "errors_of_mask", "noise_field", "simulate_mask", "spectra"]

Errors = dict[str, np.ndarray]
_GRIDS = ((1024, 256), (2048, 512), (2048, 1024), (4096, 1024))


@dataclasses.dataclass(frozen=True, slots=True)
class MaskStyle:
    """What kind of separator is simulated.

    Attributes
    ----------
    n_fft, hop : int
        Its STFT.
    exponent : float
        Of the ratio mask ``|C|^p / (|C|^p + |S|^p)``; large is close to binary.
    shared : bool
        One mask for both channels.
    blur_bins, blur_frames : int
        Resolution of its view of the mixture.
    noise : tuple of (deviation, bins, frames)
        Random errors of the mask's logit at several scales.
    bias : float
        Mean error of the logit: above zero lets siblings through, below zero swallows the stem.
    patches : int
        Number of time-frequency regions with a gross confusion.
    floor, ceiling : float
        Range of the mask.
    cutoff_hz : float | None
        Nothing is estimated above.
    n_bands : int
        Bands of a low-resolution mask, 0 for full resolution.
    phase : float
        Deviation of the mask's phase in radians where the mask is unsure.
    """

    n_fft: int
    hop: int
    exponent: float
    shared: bool
    blur_bins: int
    blur_frames: int
    noise: tuple[tuple[float, int, int], ...]
    bias: float
    patches: int
    floor: float
    ceiling: float
    cutoff_hz: float | None
    n_bands: int
    phase: float


def draw_style(rng: np.random.Generator) -> MaskStyle:
    """Draw a separator: good and bad ones, with errors from single bins to wide bands and from frames to seconds."""
    n_fft, hop = _GRIDS[rng.integers(len(_GRIDS))]
    quality = rng.uniform(0, 1)
    scales = [(1, 1), (2, 8), (8, 3), (24, 16), (96, 6), (6, 64)]
    chosen = rng.choice(len(scales), size=int(rng.integers(1, 5)), replace=False)
    cutoff = rng.choice([11_000.0, 16_000.0, rng.uniform(7_000, 18_000)])
    return MaskStyle(
        n_fft=n_fft,
        hop=hop,
        exponent=float(rng.uniform(0.7, 2.5)),
        shared=bool(rng.random() < 0.6),
        blur_bins=int(rng.choice([1, 1, 3, 5, 9])),
        blur_frames=int(rng.choice([1, 1, 3, 5, 11])),
        noise=tuple((float(rng.exponential(0.3 + 1.2 * quality)), *scales[k]) for k in chosen),
        bias=float(rng.normal(0, 0.3 + 0.8 * quality)),
        patches=int(rng.poisson(1.5 * quality)),
        floor=float(rng.choice([0.0, 0.0, 0.0, rng.uniform(0.01, 0.1)])),
        ceiling=float(rng.choice([1.0, 1.0, rng.uniform(0.8, 1.1)])),
        cutoff_hz=float(cutoff) if rng.random() < 0.12 else None,
        n_bands=int(rng.choice([64, 32])) if rng.random() < 0.15 else 0,
        phase=float(rng.choice([0.0, 0.0, rng.uniform(0.1, 1.2)])),
    )


def spectra(scene: Scene, spec: SpectralSpec) -> tuple[Tensor, dict[str, Tensor]]:
    """STFT of the target and of each sibling, complex ``[2, n_bins, frames]``."""
    names = list(scene.siblings)
    stacked = stft(torch.from_numpy(np.stack([scene.target, *(scene.siblings[name] for name in names)])), spec)
    return stacked[0], {name: stacked[k + 1] for k, name in enumerate(names)}


def noise_field(rng: np.random.Generator, shape: tuple[int, int, int], bins: int, frames: int) -> Tensor:
    """Gaussian noise of unit deviation, smooth over ``bins`` x ``frames``; shape ``[channels, n_bins, frames]``."""
    channels, height, width = shape
    coarse = rng.standard_normal((channels, 1, -(-height // bins) + 1, -(-width // frames) + 1), np.float32)
    field = torch.from_numpy(coarse)
    if bins > 1 or frames > 1:
        field = torch.nn.functional.interpolate(
            field, size=(height + bins, width + frames), mode="bilinear", align_corners=False
        )
        field = field / field.std()
    top, left = int(rng.integers(0, bins)), int(rng.integers(0, frames))
    return field[:, 0, top : top + height, left : left + width]


def simulate_mask(scene: Scene, style: MaskStyle, rng: np.random.Generator) -> Errors:
    """Separate a scene with a simulated mask and return the errors by cause, each ``[2, samples]``."""
    spec = SpectralSpec(n_fft=style.n_fft, hop=style.hop)
    target, siblings = spectra(scene, spec)
    logit = _logit(target, list(siblings.values()), style)
    for deviation, bins, frames in style.noise:
        logit = logit + deviation * noise_field(rng, tuple(logit.shape), bins, frames)  # type: ignore[arg-type]
    logit = logit + style.bias
    for _ in range(style.patches):
        logit = logit + _patch(rng, tuple(logit.shape)) * float(rng.choice([-1, 1]) * rng.uniform(2, 6))  # type: ignore[arg-type]
    mask = style.floor + (style.ceiling - style.floor) * torch.sigmoid(logit)
    if style.cutoff_hz is not None:
        mask[:, int(style.cutoff_hz / spec.sample_rate * spec.n_fft) :] = 0.0
    gain = mask.to(torch.complex64)
    if style.phase:
        unsure = 4 * mask.clamp(0, 1) * (1 - mask.clamp(0, 1))
        angle = style.phase * unsure * noise_field(rng, tuple(logit.shape), 4, 4)  # type: ignore[arg-type]
        gain = torch.polar(mask, angle)
    return errors_of_mask(gain, target, siblings, scene.target.shape[-1], spec)


def _logit(target: Tensor, siblings: list[Tensor], style: MaskStyle) -> Tensor:
    """Logit of the ratio mask after the limits of the separator's resolution: ``p log(|C| / |S|)``."""
    power = target.abs().square()
    other = torch.stack(siblings).abs().square().sum(0) if siblings else torch.zeros_like(power)
    if style.shared:
        power, other = power.mean(0, keepdim=True), other.mean(0, keepdim=True)
    quiet = 1e-9 * float((power + other).max())
    log_ratio = torch.log((power + quiet) / (other + quiet))
    if style.blur_bins > 1 or style.blur_frames > 1:
        size = (style.blur_bins, style.blur_frames)
        log_ratio = torch.nn.functional.avg_pool2d(
            log_ratio[:, None], size, stride=1, padding=(size[0] // 2, size[1] // 2), count_include_pad=False
        )[:, 0]
    if style.n_bands:
        edges = np.unique(np.geomspace(2, log_ratio.shape[1], style.n_bands + 1).astype(int))
        edges[0] = 0
        bands = [log_ratio[:, a:b].mean(1, keepdim=True).expand(-1, b - a, -1) for a, b in itertools.pairwise(edges)]
        log_ratio = torch.cat(bands, 1)
    return 0.5 * style.exponent * log_ratio


def _patch(rng: np.random.Generator, shape: tuple[int, int, int]) -> Tensor:
    """One smooth bump of height one, 0.1 to 2 s long and a third of an octave to four octaves wide."""
    _, height, width = shape
    centre, octaves = np.log2(height) * rng.uniform(0.4, 1.0), rng.uniform(0.3, 4.0)
    frequency = torch.log2(torch.arange(height) + 1.0)[:, None]
    time = torch.arange(width)[None, :] / width
    spread, middle = rng.uniform(0.02, 0.4), rng.uniform(0, 1)
    return torch.exp(-(((frequency - centre) / (octaves / 2)) ** 4) - ((time - middle) / (spread / 2)) ** 4)[None]


def errors_of_mask(
    gain: Tensor, target: Tensor, siblings: Mapping[str, Tensor], samples: int, spec: SpectralSpec = SPEC
) -> Errors:
    """Split the error of ``gain * mixture`` into leaked siblings and what the stem lost.

    Parameters
    ----------
    gain : Tensor
        Complex or real mask, broadcastable to ``[2, n_bins, frames]``.
    target, siblings : Tensor
        Complex spectra.
    """
    groups: dict[str, Tensor] = {DISTORTION: (gain - 1) * target}
    for name, spectrum in siblings.items():
        leaked = gain * spectrum
        cause = BLEED_NAMES[name]
        groups[cause] = groups[cause] + leaked if cause in groups else leaked
    audio = istft(torch.stack(list(groups.values())), samples, spec).numpy()
    return dict(zip(groups, audio, strict=True))


def simulate_waveform(scene: Scene, rng: np.random.Generator) -> Errors:
    """Errors of a waveform model: filtered, slightly delayed leakage with a phase of its own, and filtered loss."""
    spec = SPEC
    target, siblings = spectra(scene, spec)
    shape = tuple(target.shape)
    frequency = torch.arange(spec.n_bins)[None, :, None] * (2 * torch.pi / spec.n_fft)

    def wander(level_db: float) -> Tensor:
        """A smooth complex gain around a level."""
        size = 10 ** (level_db / 20) * torch.exp(0.8 * noise_field(rng, shape, 40, 20) - 0.3)  # type: ignore[arg-type]
        angle = rng.uniform(0.2, 3) * noise_field(rng, shape, 120, 40) + rng.uniform(-3, 3)  # type: ignore[arg-type]
        return torch.polar(size, angle - frequency * float(rng.uniform(-8, 40)))

    loss = wander(rng.uniform(-30, -6))
    groups: dict[str, Tensor] = {DISTORTION: -loss * target}
    for name, spectrum in siblings.items():
        cause = BLEED_NAMES[name]
        leaked = wander(rng.uniform(-35, -8)) * spectrum
        groups[cause] = groups[cause] + leaked if cause in groups else leaked
    audio = istft(torch.stack(list(groups.values())), scene.target.shape[-1], spec).numpy()
    return dict(zip(groups, audio, strict=True))


def errors_of_estimate(scene: Scene, estimate: np.ndarray, mixture: np.ndarray, spec: SpectralSpec = SPEC) -> Errors:
    """Explain a real separator's output: the mask that best maps mixture to estimate, applied to the known parts.

    What the mask does not explain (phase errors, coding noise of the recordings) is the residual, so that the errors
    sum exactly to ``estimate - target``.
    """
    target, siblings = spectra(scene, spec)
    mixed, guess = stft(torch.from_numpy(np.stack([mixture, estimate])), spec)
    mask = (guess * mixed.conj()).real / (mixed.abs().square() + 1e-9)
    errors = errors_of_mask(mask.clamp(0, 1.5), target, siblings, estimate.shape[-1], spec)
    return {**errors, RESIDUAL: estimate - scene.target - add(errors.values())}
