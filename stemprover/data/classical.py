"""Classical separators as a source of real artifacts: harmonic-percussive, repetition-based and NMF."""

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


def separate_classically(method: str, scene: Scene, rng: np.random.Generator) -> Errors:
    """Separate the scene's mixture with ``hpss``, ``repet`` or ``nmf``; returns the errors by cause."""
    target, siblings = spectra(scene, SPEC)
    mixture = target + sum(siblings.values()) if siblings else target
    magnitude = mixture.abs().mean(0)
    wanted = target.abs().mean(0)
    mask = torch.from_numpy(_METHODS[method](magnitude.numpy(), wanted.numpy(), rng)).clamp(0, 1)
    return errors_of_mask(mask[None].to(torch.float32), target, siblings, scene.target.shape[-1])


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


_METHODS: Mapping[str, Callable[[np.ndarray, np.ndarray, np.random.Generator], np.ndarray]] = {
    "hpss": hpss,
    "repet": repet,
    "nmf": nmf,
}
CLASSICAL = tuple(_METHODS)
