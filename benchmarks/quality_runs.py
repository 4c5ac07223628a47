"""What is compared: StemProver with more and less context, and baselines. A method maps an item to repaired stems."""

from __future__ import annotations

import dataclasses
import importlib.util
from collections.abc import Callable, Iterator, Mapping

import numpy as np
import torch
from quality_sets import Item

from stemprover.consistency import share_residue
from stemprover.enhance import Enhancer, Settings
from stemprover.spectral.spec import SPEC
from stemprover.spectral.stft import istft, stft
from stemprover.stems import Stem, StemSet

__all__ = ["BLIND", "MIXTURE", "SIBLINGS", "Method", "Repaired", "methods"]

BLIND, SIBLINGS, MIXTURE = "blind", "siblings", "mixture"


@dataclasses.dataclass(frozen=True, eq=False)
class Repaired:
    """One stem after a method, and the share of its time inside repaired segments."""

    audio: np.ndarray
    share: float


Run = Callable[[Item], Mapping[str, Repaired]]


@dataclasses.dataclass(frozen=True)
class Method:
    """A method by name, with the context it gets (``blind``, ``siblings`` or ``mixture``)."""

    name: str
    context: str
    run: Run


def methods(enhancer: Enhancer, settings: Settings) -> Iterator[Method]:
    """Yield StemProver in all contexts, then the baselines, which know all stems."""
    for context in (BLIND, SIBLINGS, MIXTURE):
        yield Method("StemProver", context, _stemprover(enhancer, settings, context))
    yield Method("do nothing", SIBLINGS, lambda item: {k: Repaired(v, 0.0) for k, v in item.estimates.items()})
    phase = dataclasses.replace(settings, vocoder="input-phase")
    yield Method("input phase, no vocoder", SIBLINGS, _stemprover(enhancer, phase, SIBLINGS))
    adapters = tuple(plugin.name for plugin in enhancer.plugins if plugin.kind == "lora")
    plain = dataclasses.replace(settings, generic=True, without=adapters)
    yield Method("base without LoRA", SIBLINGS, _stemprover(enhancer, plain, SIBLINGS))
    yield Method("mixture consistency alone", MIXTURE, _consistency)
    if importlib.util.find_spec("norbert") is not None:
        yield Method("Wiener filter (norbert)", MIXTURE, _wiener)


def _stemprover(enhancer: Enhancer, settings: Settings, context: str) -> Run:
    def run(item: Item) -> Mapping[str, Repaired]:
        stems = [Stem.from_array(audio, SPEC.sample_rate, name, name) for name, audio in item.estimates.items()]
        mixture = Stem.from_array(item.mixture, SPEC.sample_rate, "generic", "mix") if context == MIXTURE else None
        sets = [StemSet(tuple(stems))] if context == SIBLINGS else [StemSet((stem,), mixture) for stem in stems]
        done = [one for stem_set in sets for one in enhancer.enhance_set(stem_set, settings)]
        seconds = item.mixture.shape[-1] / SPEC.sample_rate
        return {one.stem.name: Repaired(one.audio, one.repaired_s / seconds) for one in done}

    return run


def _consistency(item: Item) -> Mapping[str, Repaired]:
    """Share out what the stems lack of the mixture, by their power."""
    shares = share_residue(item.mixture, list(item.estimates.values()))
    pairs = zip(item.estimates.items(), shares, strict=True)
    return {name: Repaired(audio + share, 1.0) for (name, audio), share in pairs}


def _wiener(item: Item) -> Mapping[str, Repaired]:
    """Multichannel Wiener filter with one iteration of EM from the estimates' power."""
    import norbert

    def frames_first(audio: np.ndarray) -> np.ndarray:
        return stft(torch.from_numpy(audio).float()).permute(2, 1, 0).numpy()

    names = list(item.estimates)
    magnitudes = np.stack([np.abs(frames_first(item.estimates[name])) for name in names], axis=-1)
    spectra = norbert.wiener(magnitudes.astype(np.float64), frames_first(item.mixture).astype(np.complex128), 1)
    filtered = torch.from_numpy(np.ascontiguousarray(spectra.transpose(3, 2, 1, 0)).astype(np.complex64))
    audio = istft(filtered, item.mixture.shape[-1]).double().numpy()
    return {name: Repaired(one, 1.0) for name, one in zip(names, audio, strict=True)}
