"""Post-filters that StemProver is compared with. Each maps an item to repaired stems."""

from __future__ import annotations

import importlib.util
from collections.abc import Iterator, Mapping

import numpy as np
import torch
from quality_runs import ALL, BLIND, MIXTURE, REAL, SIBLINGS, Bench, Method
from quality_scores import Repaired
from quality_sets import Item

from stemprover.separation.layout import KIT_STEMS
from stemprover.spectral.residue import share_residue
from stemprover.spectral.spec import SPEC
from stemprover.spectral.stft import istft, stft

__all__ = ["classical_baselines", "own_baselines"]

_DRUMS = frozenset({"drums", *KIT_STEMS})


def classical_baselines(bench: Bench) -> Iterator[Method]:
    """Yield what is there without StemProver; packages that are not installed are left out."""
    del bench
    yield Method("do nothing", SIBLINGS, _nothing, ALL)
    yield Method("mixture consistency alone", MIXTURE, _consistency, REAL)
    if importlib.util.find_spec("norbert") is not None:
        yield Method("Wiener filter (norbert)", MIXTURE, _wiener, REAL)
    if importlib.util.find_spec("noisereduce") is not None:
        yield Method("spectral gating (noisereduce)", BLIND, _gate, REAL)
    if importlib.util.find_spec("librosa") is not None:
        yield Method("HPSS (librosa)", BLIND, _hpss, REAL)


def own_baselines(bench: Bench) -> Iterator[Method]:
    """Yield StemProver with one part exchanged."""
    yield bench.method("input phase, no vocoder", SIBLINGS, ALL, vocoder="input-phase")
    yield bench.everything("vocoder everywhere, no blending", SIBLINGS, REAL, wet=1.0, second_opinion=False)
    yield bench.method("base without LoRA", SIBLINGS, ALL, generic=True, without=bench.adapters)
    if bench.wrong is not None:
        yield bench.wrong.method("wrong LoRA", SIBLINGS, REAL)
    yield bench.method("no second opinion", SIBLINGS, REAL, second_opinion=False)


def _nothing(item: Item) -> Mapping[str, Repaired]:
    return {name: Repaired(audio, 0.0) for name, audio in item.estimates.items()}


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


def _gate(item: Item) -> Mapping[str, Repaired]:
    """Non-stationary spectral gating with the package's own settings."""
    import noisereduce

    def gated(audio: np.ndarray) -> np.ndarray:
        done = noisereduce.reduce_noise(y=audio, sr=SPEC.sample_rate)
        return np.asarray(done, np.float64).reshape(audio.shape)

    return {name: Repaired(gated(audio), 1.0) for name, audio in item.estimates.items()}


def _hpss(item: Item) -> Mapping[str, Repaired]:
    """The percussive part of drums, the harmonic part of what has a pitch; a whole band stays as it is."""
    import librosa

    def part(name: str, audio: np.ndarray) -> np.ndarray:
        if name == "instrumental":
            return audio
        spectrum = stft(torch.from_numpy(audio).float())
        masks = librosa.decompose.hpss(spectrum.abs().mean(0).numpy(), mask=True)
        mask = torch.from_numpy(np.asarray(masks[name in _DRUMS], np.float32))
        return istft(spectrum * mask, audio.shape[-1]).double().numpy()

    return {name: Repaired(part(name, audio), 1.0) for name, audio in item.estimates.items()}
