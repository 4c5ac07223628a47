"""Separators as a source of real artifacts: the repository's own networks, cross-fitted, and installed ones.

A separator never sees music that it trained on: there it is better than anywhere else, and makes other errors.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import torch

from stemprover.data.cuts import add
from stemprover.data.installed import InstalledSeparator
from stemprover.data.library import Library
from stemprover.data.scenes import Scene, draw_class, draw_scene, targets
from stemprover.data.separators import Errors, errors_of_estimate
from stemprover.errors import TrainingError
from stemprover.separation.layout import KIT_STEMS
from stemprover.separation.trained import TrainedSeparator
from stemprover.spectral.stft import istft, power, stft

__all__ = ["Source", "draw_separated", "renormalise"]

Source = TrainedSeparator | InstalledSeparator

_ATTEMPTS = 24
_RENORMALISED = 0.3


def draw_separated(
    library: Library, separators: Sequence[Source], samples: int, rng: np.random.Generator
) -> tuple[Scene, str, Errors]:
    """Draw a scene and separate it with a separator that never heard any part of it.

    Returns
    -------
    tuple of Scene, str, Errors
        The scene, the architecture or the installed separator's name, and the errors by cause.

    Raises
    ------
    TrainingError
        If no separator makes stems of which there is material, or every one trained on something in every scene.
    """
    served = [target for target in targets(library) if any(_makes(separator, target) for separator in separators)]
    if not served:
        made = sorted({stem for separator in separators for stem in separator.stems})
        fix = "drum kits are taken apart by `stemprover train separator --kit`, songs without --kit"
        raise TrainingError(f"a separator of {', '.join(targets(library))}", ", ".join(made) or "none", fix)
    for _ in range(_ATTEMPTS):
        scene = draw_scene(library, samples, rng, draw_class(served, rng))
        fitting = [one for one in separators if _makes(one, scene.stem_class) and not one.heard & scene.sources]
        if fitting:
            break
    else:
        fix = "train separators without some of the songs: `stemprover train separator --without SONG`"
        raise TrainingError("a separator that did not train on the songs of a mixture", "none", fix)
    architectures = sorted({separator.architecture for separator in fitting})
    architecture = str(rng.choice(architectures))
    same = [separator for separator in fitting if separator.architecture == architecture]
    mixture = scene.mixture
    separator = same[rng.integers(len(same))]
    stems = separator.separate(mixture, scene.sources)
    if rng.random() < _RENORMALISED and separator.whole:
        stems = renormalise(stems, mixture)
    estimate = _of_class(
        dict(zip(separator.stems, stems, strict=True)), mixture, scene.stem_class, separator.whole, rng
    )
    return scene, architecture, errors_of_estimate(scene, estimate, mixture)


def _makes(separator: Source, target: str) -> bool:
    needed = {"instrumental": ("vocals",), "kit": KIT_STEMS}.get(target, (target,))
    return set(needed) <= set(separator.stems)


def renormalise(stems: np.ndarray, mixture: np.ndarray) -> np.ndarray:
    """Share the mixture out among the estimates in proportion to their power, as many pipelines do after a network.

    Parameters
    ----------
    stems : ndarray
        Estimates, shape ``[n, 2, samples]``.
    mixture : ndarray
        Shape ``[2, samples]``.

    Returns
    -------
    ndarray
        Same shape as ``stems``; the sum over stems is the mixture wherever any estimate sounds.
    """
    powers = power(stft(torch.from_numpy(stems)))
    total = powers.sum(0)
    masks = powers / (total + 1e-7 * total.mean() + 1e-20)
    shared: np.ndarray = istft(masks * stft(torch.from_numpy(mixture)), mixture.shape[1]).numpy()
    return shared


def _of_class(
    stems: Mapping[str, np.ndarray], mixture: np.ndarray, stem_class: str, whole: bool, rng: np.random.Generator
) -> np.ndarray:
    """One stem; the instrumental is what is left without vocals, or the sum of the others if these are all."""
    if stem_class != "instrumental":
        return stems[stem_class]
    if rng.random() < 0.5 or not whole:
        return np.asarray(mixture - stems["vocals"], np.float32)
    return add(audio for name, audio in stems.items() if name != "vocals")
