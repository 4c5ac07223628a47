"""Repairs for the gate to learn from: pairs are repaired once by the whole chain.

Detection takes part, because what the chain does wrong is what the gate must know.
"""

from __future__ import annotations

import dataclasses
import hashlib
import itertools
import random
from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from stemprover.data.pairs import PairAudio, load
from stemprover.enhance import Enhancer
from stemprover.enhanced import QUALITY_STEPS, Settings
from stemprover.models import EMBEDDED_VOCODER
from stemprover.plugins import REPAIRING, folder_sha256
from stemprover.restoration.pipeline import TEMPERATURE
from stemprover.spectral.bands import to_bands
from stemprover.spectral.phase import band_features
from stemprover.spectral.segments import Segment
from stemprover.spectral.spec import SPEC
from stemprover.spectral.stft import power, product, stft
from stemprover.stems import Stem, StemSet
from stemprover.synthesis.evidence import EVIDENCE, evidence
from stemprover.synthesis.gate import constant_gate
from stemprover.training.gate import Outcome
from stemprover.training.gate_draws import SPOILED, Draw
from stemprover.windows import CONTEXT_S, MAX_SEGMENT_S, WINDOW, window_start

__all__ = ["Repairs", "found_with", "outcome_of", "spoiled_change", "spoiled_outcome"]

_SPOILED_S = 2.0


def outcome_of(audio: PairAudio, change: np.ndarray, segments: Sequence[Segment], alone: bool) -> Outcome:
    """Sum up a repair of a pair, segment by segment, as the second pass does; ``change`` is what it added."""
    rows = [_window(audio, change, segment, alone) for segment in segments]
    if not rows:
        cells = torch.zeros(0, SPEC.n_bands)
        return Outcome(torch.zeros(0, len(EVIDENCE)), *[torch.zeros(0)] * 3, *[cells] * 3)
    names = [field.name for field in dataclasses.fields(Outcome)]
    return Outcome(*(torch.cat([getattr(row, name) for row in rows]) for name in names))


@torch.inference_mode()
def _window(audio: PairAudio, change: np.ndarray, segment: Segment, alone: bool) -> Outcome:
    start = window_start(segment, audio.clean.shape[1] / SPEC.sample_rate)

    def cut(samples: np.ndarray) -> Tensor:
        within = samples[:, start : start + WINDOW]
        return stft(torch.from_numpy(np.pad(within, ((0, 0), (0, WINDOW - within.shape[1]))).astype(np.float32)))

    clean, stem, changed = cut(audio.clean), cut(audio.artifact), cut(change)
    siblings = None if alone else cut(audio.mixture) - stem
    seen = evidence(stem, siblings, changed, band_features(stem, siblings), len(stem))
    ends = (segment.start_s, segment.stop_s)
    first, last = (round((time_s * SPEC.sample_rate - start) / SPEC.hop) for time_s in ends)
    clean, stem, changed = (part[..., first : last + 1] for part in (clean, stem, changed))

    def in_bands(one: Tensor, other: Tensor) -> Tensor:
        return to_bands(product(one, other).sum(0).sum(-1, keepdim=True)).T

    return Outcome(
        seen,
        power(clean).sum().unsqueeze(0),
        power(stem).sum().unsqueeze(0),
        product(stem, clean).sum().unsqueeze(0),
        in_bands(changed, changed),
        in_bands(changed, clean),
        in_bands(changed, stem),
    )


def spoiled_change(audio: PairAudio, rng: random.Random) -> np.ndarray:
    """Return a change ``[channels, samples]`` that helps nobody, of one of several kinds.

    Other audio in the stem's place, noise with its spectrum, its own sound turned up or down, more bleed.
    """
    stem = np.asarray(audio.artifact, np.float64)
    length = stem.shape[1]
    kind, amount = rng.randrange(4), rng.uniform(0.3, 1.0)
    if kind == 0:
        return amount * (np.roll(stem, length // rng.randint(2, 5), axis=1) - stem)
    if kind == 1:
        turns = np.exp(2j * np.pi * np.random.default_rng(rng.getrandbits(32)).random(length // 2 + 1))
        noise: np.ndarray = np.fft.irfft(np.fft.rfft(stem) * turns, length)
        return amount * (noise - stem)
    if kind == 2:
        return rng.choice((-0.7, 1.0)) * amount * stem
    return amount * (np.asarray(audio.mixture, np.float64) - stem)


def spoiled_outcome(audio: PairAudio, draw: Draw) -> Outcome:
    """Sum up a change that helps nobody."""
    change = spoiled_change(audio, random.Random(draw.pair.id))
    ends = [step * _SPOILED_S for step in range(int(draw.pair.samples / draw.pair.sample_rate / _SPOILED_S) + 1)]
    segments = [Segment(start, start, stop, stop) for start, stop in itertools.pairwise(ends)]
    return outcome_of(audio, change, segments, draw.alone)


def found_with(enhancer: Enhancer) -> dict[str, str]:
    """Return what any change that is made where an enhancer's plugins say depends on, and what is noted of it."""
    plugins = [plugin for plugin in enhancer.plugins if plugin.status == "ok" and plugin.kind in REPAIRING]
    return {
        **{plugin.name: hashlib.sha256(repr(plugin.contents).encode()).hexdigest() for plugin in plugins},
        "segments": f"at most {MAX_SEGMENT_S} s, {CONTEXT_S} s of context, window {WINDOW}",
        "evidence": hashlib.sha256("\n".join(EVIDENCE).encode()).hexdigest(),
    }


class Repairs:
    """Repairs pairs with the whole chain, lets all of it through and sums up what was done.

    Parameters
    ----------
    enhancer : Enhancer
        The chain; its gate takes no part.

    Attributes
    ----------
    made_with : dict
        What repairs depend on.
    """

    def __init__(self, enhancer: Enhancer) -> None:
        self._ungated = enhancer.with_gate(constant_gate(1.0))
        self.made_with = {
            **found_with(enhancer),
            "base": enhancer.models.identity.sha256,
            "vocoder": folder_sha256(EMBEDDED_VOCODER),
            "sampling": f"{QUALITY_STEPS} steps, temperature {TEMPERATURE}",
        }

    def __call__(self, draw: Draw) -> Outcome:
        """Repair a pair as the draw says."""
        audio, rate = load(draw.pair), draw.pair.sample_rate
        if draw.quality == SPOILED:
            return spoiled_outcome(audio, draw)
        stem = Stem.from_array(audio.artifact, rate, draw.pair.stem)
        mixture = None if draw.alone else Stem.from_array(audio.mixture, rate)
        settings = Settings(auto_detect=True, quality=draw.quality, generic=True, second_opinion=False)
        done = self._ungated.enhance_set(StemSet((stem,), mixture), settings)[0]
        return outcome_of(audio, done.audio - audio.artifact, done.segments, draw.alone)
