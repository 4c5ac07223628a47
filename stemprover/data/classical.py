"""Classical separators as a source of real artifacts: by duration, repetition, factors, rank and stereo position."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import numpy as np
import torch
from scipy import ndimage

from stemprover.data.scenes import Scene
from stemprover.data.separators import Errors, errors_of_mask, spectra
from stemprover.spectral.spec import SPEC

__all__ = ["CLASSICAL", "separate_classically"]

_TINY = 1e-9
_RPCA_STEPS = 12


def separate_classically(method: str, scene: Scene, rng: np.random.Generator) -> Errors:
    """Separate the scene's mixture with one of ``CLASSICAL``; returns the errors by cause."""
    target, siblings = spectra(scene, SPEC)
    mixture = target + sum(siblings.values()) if siblings else target
    if method in _MONAURAL:
        mask = _MONAURAL[method](mixture.abs().mean(0).numpy(), target.abs().mean(0).numpy(), rng)
    else:
        mask = azimuth(mixture.numpy(), target.numpy(), rng)
    gain = torch.from_numpy(mask[None]).clamp(0, 1).to(torch.float32)
    return errors_of_mask(gain, target, siblings, scene.target.shape[-1])


def hpss(magnitude: np.ndarray, wanted: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Median filters along time and frequency (Fitzgerald 2010); keeps the half that resembles the target."""
    length = int(rng.choice([11, 17, 31]))
    harmonic = _median(magnitude, 1, length)
    percussive = _median(magnitude, 0, length)
    mask = _ratio(harmonic, percussive, float(rng.choice([1, 2])))
    return _closer(mask, magnitude, wanted)


def repet(magnitude: np.ndarray, wanted: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """REPET-SIM (Rafii and Pardo 2012): the median over similar frames is background, what stands out foreground."""
    frames = magnitude / (np.linalg.norm(magnitude, axis=0, keepdims=True) + _TINY)
    similarity = frames.T @ frames
    near = np.abs(np.subtract.outer(np.arange(len(similarity)), np.arange(len(similarity)))) < 20
    similarity[near] = -1.0
    count = int(rng.choice([5, 9, 15]))
    best = np.argpartition(-similarity, count, axis=1)[:, :count]
    background = np.minimum(magnitude, np.median(magnitude[:, best], axis=2))
    mask = _ratio(background, magnitude - background, float(rng.choice([1, 2])))
    return _closer(mask, magnitude, wanted)


def nmf(magnitude: np.ndarray, wanted: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Non-negative factors (multiplicative updates, Kullback-Leibler), grouped by how much of the target they hold."""
    rank, (height, width) = int(rng.choice([8, 16, 30])), magnitude.shape
    spectra_, gains = rng.random((height, rank), np.float32) + 0.1, rng.random((rank, width), np.float32) + 0.1
    for _ in range(25):
        gains *= spectra_.T @ (magnitude / (spectra_ @ gains + _TINY)) / (spectra_.sum(0)[:, None] + _TINY)
        spectra_ *= (magnitude / (spectra_ @ gains + _TINY)) @ gains.T / (gains.sum(1) + _TINY)
    share = wanted / (magnitude + _TINY)
    held = np.einsum("fk,kt,ft->k", spectra_, gains, share) / (spectra_.sum(0) * gains.sum(1) + _TINY)
    chosen = held >= np.quantile(held, 1 - np.clip(wanted.sum() / (magnitude.sum() + _TINY), 0.1, 0.9))
    kept = spectra_[:, chosen] @ gains[chosen]
    return _ratio(kept, spectra_[:, ~chosen] @ gains[~chosen], 1.0)


def rpca(magnitude: np.ndarray, wanted: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Robust principal components (Huang et al. 2012): what has low rank accompanies, what is sparse sings.

    By inexact augmented Lagrange multipliers, with the constants of Lin, Chen and Ma (2010), for a few steps only.
    """
    weight = float(rng.choice([0.7, 1.0, 1.5]) / np.sqrt(max(magnitude.shape)))
    norm = float(np.linalg.norm(magnitude, 2))
    multiplier, penalty = magnitude / (max(norm, float(magnitude.max()) / weight) + _TINY), 1.25 / (norm + _TINY)
    sparse = np.zeros_like(magnitude)
    for _ in range(_RPCA_STEPS):
        left, values, right = np.linalg.svd(magnitude - sparse + multiplier / penalty, full_matrices=False)
        low = (left * np.maximum(values - 1 / penalty, 0)) @ right
        rest = magnitude - low + multiplier / penalty
        sparse = np.sign(rest) * np.maximum(np.abs(rest) - weight / penalty, 0)
        multiplier = multiplier + penalty * (magnitude - low - sparse)
        penalty *= 1.5
    return _closer(_ratio(np.abs(sparse), np.abs(low), float(rng.choice([1, 2]))), magnitude, wanted)


def azimuth(mixture: np.ndarray, target: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Keep what sounds from the target's direction (after Barry et al. 2004, ADRess); spectra ``[2, bins, frames]``."""
    angle = np.arctan2(np.abs(mixture[1]), np.abs(mixture[0]))
    seen = np.arctan2(np.abs(target[1]), np.abs(target[0]))
    counts, edges = np.histogram(seen, bins=41, range=(0, np.pi / 2), weights=np.square(np.abs(target)).sum(0))
    main = edges[counts.argmax()] + (edges[1] - edges[0]) / 2
    width = float(rng.choice([0.06, 0.12, 0.25]))
    mask: np.ndarray = np.exp(-np.square((angle - main) / width))
    if rng.random() < 0.5:  # what is out of phase comes from nowhere
        mask = mask * np.clip(np.cos(np.angle(mixture[0] * mixture[1].conj())), 0, 1)
    return mask


def _median(magnitude: np.ndarray, axis: int, length: int) -> np.ndarray:
    size = (length, 1) if axis == 0 else (1, length)
    filtered: np.ndarray = ndimage.median_filter(magnitude, size=size, mode="nearest")
    return filtered


def _ratio(first: np.ndarray, second: np.ndarray, exponent: float) -> np.ndarray:
    first, second = first**exponent, second**exponent
    mask: np.ndarray = (first + _TINY) / (first + second + 2 * _TINY)
    return mask


def _closer(mask: np.ndarray, magnitude: np.ndarray, wanted: np.ndarray) -> np.ndarray:
    """Of a mask and its complement, the one whose result is closer to the target."""
    first = np.square(mask * magnitude - wanted).sum()
    second = np.square((1 - mask) * magnitude - wanted).sum()
    return mask if first <= second else 1 - mask


_MONAURAL: Mapping[str, Callable[[np.ndarray, np.ndarray, np.random.Generator], np.ndarray]] = {
    "hpss": hpss,
    "repet": repet,
    "nmf": nmf,
    "rpca": rpca,
}
CLASSICAL = (*_MONAURAL, "azimuth")
