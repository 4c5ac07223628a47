"""Repairs for the gate to learn from: pairs are repaired once by the whole chain, and what is needed of each is kept.

Detection takes part, because what the chain does wrong is what the gate must know. Repairing takes nearly all of the
time and does not change while the gate learns; an interrupted run goes on.
"""

from __future__ import annotations

import dataclasses
import hashlib
import itertools
import json
import os
import random
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import torch
from accelerate import PartialState
from safetensors.torch import load_file, save_file
from torch import Tensor

from stemprover.data.pairs import PairAudio, load
from stemprover.enhance import Enhancer
from stemprover.enhanced import QUALITY_STEPS, Settings
from stemprover.errors import TrainingError
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
from stemprover.training.loop import Log
from stemprover.windows import CONTEXT_S, MAX_SEGMENT_S, WINDOW, window_start

__all__ = ["join", "make_outcomes", "outcome_of", "spoiled_change"]

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


def _repaired(ungated: Enhancer, draw: Draw) -> Outcome:
    """Repair a pair, let all of it through and sum up what was done."""
    audio, rate = load(draw.pair), draw.pair.sample_rate
    if draw.quality == SPOILED:
        change = spoiled_change(audio, random.Random(draw.pair.id))
        ends = [step * _SPOILED_S for step in range(int(draw.pair.samples / rate / _SPOILED_S) + 1)]
        segments = [Segment(start, start, stop, stop) for start, stop in itertools.pairwise(ends)]
        return outcome_of(audio, change, segments, draw.alone)
    stem = Stem.from_array(audio.artifact, rate, draw.pair.stem)
    mixture = None if draw.alone else Stem.from_array(audio.mixture, rate)
    settings = Settings(auto_detect=True, quality=draw.quality, generic=True)
    done = ungated.enhance_set(StemSet((stem,), mixture), settings)[0]
    return outcome_of(audio, done.audio - audio.artifact, done.segments, draw.alone)


def make_outcomes(enhancer: Enhancer, draws: Sequence[Draw], folder: Path, log: Log | None = None) -> Outcome:
    """Repair pairs with the whole chain; what is known of each is kept in ``folder``, several processes share the work.

    What is there already is used if the same base, vocoder, detectors and adapters made it.

    Returns
    -------
    Outcome
        Of all their segments that are not silent.

    Raises
    ------
    TrainingError
        If nothing was found in any of them, or if the folder's repairs were made by other networks.
    """
    state = PartialState(cpu=not torch.accelerator.is_available())
    folder.mkdir(parents=True, exist_ok=True)
    _require_same(folder / "made_with.json", _made_with(enhancer))
    ungated = enhancer.with_gate(constant_gate(1.0))
    paths = [folder / f"{draw.name}.safetensors" for draw in draws]
    for number in range(state.process_index, len(draws), state.num_processes):
        if not paths[number].is_file():
            partial = paths[number].with_suffix(".partial")
            save_file(dataclasses.asdict(_repaired(ungated, draws[number])), partial)
            partial.replace(paths[number])
        if log is not None:
            log({"step": 0.0, "repaired": number + 1.0})
    state.wait_for_everyone()
    parts = [load_file(path) for path in paths]
    if not any(len(part["seen"]) for part, draw in zip(parts, draws, strict=True) if draw.quality != SPOILED):
        got = f"none in {len(draws)} of {folder.name}"
        raise TrainingError("pairs in which something is found", got, "make more with `stemprover data pairs`")
    return join(parts)


def _made_with(enhancer: Enhancer) -> dict[str, str]:
    """What repairs depend on, and what is noted of them."""
    plugins = [plugin for plugin in enhancer.plugins if plugin.status == "ok" and plugin.kind in REPAIRING]
    return {
        **{plugin.name: hashlib.sha256(repr(plugin.contents).encode()).hexdigest() for plugin in plugins},
        "segments": f"at most {MAX_SEGMENT_S} s, {CONTEXT_S} s of context, window {WINDOW}",
        "base": enhancer.models.identity.sha256,
        "vocoder": folder_sha256(EMBEDDED_VOCODER),
        "sampling": f"{QUALITY_STEPS} steps, temperature {TEMPERATURE}",
        "evidence": hashlib.sha256("\n".join(EVIDENCE).encode()).hexdigest(),
    }


def _require_same(path: Path, made_with: Mapping[str, str]) -> None:
    """Note what repairs are made with, or compare it with the note."""
    if path.is_file():
        noted = json.loads(path.read_text(encoding="utf-8"))
        differing = sorted(name for name in noted.keys() | made_with.keys() if noted.get(name) != made_with.get(name))
        if differing:
            got = f"others of {', '.join(differing)}"
            raise TrainingError(f"the networks and plugins that made {path.parent}", got, "name another --out")
        return
    partial = path.with_suffix(f".{os.getpid()}.partial")  # another process may be about to read the note
    partial.write_text(json.dumps(made_with, indent=2, sort_keys=True), encoding="utf-8")
    partial.replace(path)


def join(parts: Sequence[Mapping[str, Tensor]]) -> Outcome:
    """Put what is kept of several repairs together, without segments in which the stem or the truth is silent."""
    names = [field.name for field in dataclasses.fields(Outcome)]
    joined = {name: torch.cat([part[name] for part in parts]) for name in names}
    audible = (joined["clean"] > 1e-2) & (joined["stem"] > 1e-2)
    return Outcome(**{name: values[audible] for name, values in joined.items()})
