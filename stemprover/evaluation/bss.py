"""Metrics from other packages: BSS Eval v4, PESQ and STOI (extra ``stemprover[evaluate]``)."""

from __future__ import annotations

import importlib
import importlib.util
import warnings
from collections.abc import Mapping
from pathlib import Path
from types import ModuleType

import numpy as np

from stemprover.errors import OptionError, StemSetError
from stemprover.evaluation.arrays import EMPTY_DBFS, pair, rms_dbfs
from stemprover.stems import resample

__all__ = ["bss_eval", "pesq", "stoi"]

_SPEECH_RATE = 16_000
_STOI_S = 0.384  # length of its segments
_NOISE = 1e-3  # SIR and SAR of band-limited music stay within 0.1 dB from here to ten times as much


def _missing(module: str) -> OptionError:
    return OptionError(f"the package {module}", "no such package installed", "run: pip install 'stemprover[evaluate]'")


def _need(module: str) -> ModuleType:
    try:
        return importlib.import_module(module)
    except ImportError as error:
        raise _missing(module) from error


def _museval_metrics() -> ModuleType:
    """Load ``museval.metrics`` by itself: the package around it reads data sets and does not import without ffmpeg."""
    package = importlib.util.find_spec("museval")
    if package is None or not package.submodule_search_locations:
        raise _missing("museval")
    path = Path(package.submodule_search_locations[0]) / "metrics.py"
    spec = importlib.util.spec_from_file_location("stemprover.evaluation._museval_metrics", path)
    if spec is None or spec.loader is None:
        raise _missing("museval")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def bss_eval(
    references: Mapping[str, np.ndarray], estimates: Mapping[str, np.ndarray], sample_rate: int
) -> dict[str, dict[str, float]]:
    """SDR, ISR, SIR and SAR with the conventions of museval v4: medians over windows of one second.

    In dB, higher is better. SDR counts everything, as the plain one does, but window by window. The rest is told apart
    by what a filter of 512 samples makes of the references: of the stem's own reference (ISR: a wrong place in the
    stereo image, a wrong level, dulled highs), of the others (SIR: bleed), and what is left (SAR: musical noise).
    Windows in which any source is silent are left out, which favours methods that leak into pauses. References get
    white noise 60 dB below their level first: for music from MP3 or AAC, which ends at 16 kHz, museval's equations are
    singular and SIR and SAR arbitrary.

    Parameters
    ----------
    references, estimates : Mapping[str, ndarray]
        By stem, ``[channels, samples]``, all of one shape, the same stems in both; at least two stems.
    sample_rate : int
        In Hz.

    Returns
    -------
    dict
        By stem: ``sdr``, ``isr``, ``sir``, ``sar``; NaN when no window could be scored.

    References
    ----------
    Stoeter, Liutkus and Ito, "The 2018 Signal Separation Evaluation Campaign", 2018.
    """
    if set(references) != set(estimates) or len(references) < 2:
        raise StemSetError(
            "the same two or more stems as references and estimates",
            f"{', '.join(sorted(references))} against {', '.join(sorted(estimates))}",
            "hand in every stem of the set",
        )
    museval = _museval_metrics()
    names = sorted(references)
    pairs = [pair(references[name], estimates[name]) for name in names]
    stacked = [np.stack([item[side].T for item in pairs]) for side in (0, 1)]
    stacked[0] = _with_every_frequency(stacked[0], sample_rate)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of windows with a silent source, which the result leaves out
        values = museval.bss_eval(
            *stacked,
            compute_permutation=False,
            window=sample_rate,
            hop=sample_rate,
            framewise_filters=False,
            bsseval_sources_version=False,
        )[:4]
    result: dict[str, dict[str, float]] = {}
    for row, name in enumerate(names):
        series = zip(("sdr", "isr", "sir", "sar"), values, strict=True)
        result[name] = {key: _median(np.asarray(item[row], dtype=np.float64)) for key, item in series}
    return result


def _with_every_frequency(references: np.ndarray, window: int) -> np.ndarray:
    """Add the same noise each time, except to windows of pure silence; ``[sources, samples, channels]`` in and out."""
    noise = np.random.default_rng(0).standard_normal(references.shape)
    for source, audio in zip(noise, references, strict=True):
        source *= _NOISE * np.sqrt(np.mean(audio**2))
        for start in range(0, len(audio), window):
            if not audio[start : start + window].any():
                source[start : start + window] = 0.0
    return references + noise


def _median(values: np.ndarray) -> float:
    finite = values[np.isfinite(values)]
    return float(np.median(finite)) if finite.size else float("nan")


def _speech(reference: np.ndarray, estimate: np.ndarray, sample_rate: int) -> tuple[np.ndarray, np.ndarray] | None:
    """Both signals as mono at 16 kHz, or None when the reference is silent: pure silence would divide by zero."""
    mono = [signal.mean(0, keepdims=True) for signal in pair(reference, estimate)]
    if rms_dbfs(mono[0]) < EMPTY_DBFS:
        return None
    first, second = (resample(signal, sample_rate, _SPEECH_RATE)[0] for signal in mono)
    return np.asarray(first), np.asarray(second)


def pesq(reference: np.ndarray, estimate: np.ndarray, sample_rate: int) -> float:
    """Wide-band PESQ (ITU-T P.862.2) of vocals, mixed to mono at 16 kHz.

    About 1.0 to 4.6, higher is better; NaN where the reference is silent (in mono below -90 dBFS) or no speech is
    found. It aligns levels, so that quiet stems score as loud ones do. It was made for telephone speech: singing lies
    outside what it was fitted to, and nothing above 8 kHz is heard.
    """
    signals = _speech(reference, estimate, sample_rate)
    if signals is None:
        return float("nan")
    module = _need("pesq")
    value = module.pesq(_SPEECH_RATE, signals[0], signals[1], "wb", on_error=module.PesqError.RETURN_VALUES)
    return float(value) if value >= 0 else float("nan")


def stoi(reference: np.ndarray, estimate: np.ndarray, sample_rate: int) -> float:
    """Extended short-time objective intelligibility of vocals, mixed to mono.

    Range about 0 to 1, higher is better; NaN where the reference is silent (in mono below -90 dBFS), or sounds for less
    than the 0.4 s that one value takes. Level does not count. It needs words: on held notes and breaths it says little,
    and above 5 kHz nothing.
    """
    signals = _speech(reference, estimate, sample_rate)
    if signals is None or signals[0].size < _STOI_S * _SPEECH_RATE:
        return float("nan")
    with warnings.catch_warnings():
        # It returns 1e-5 then, the score of an estimate that nobody understands.
        warnings.filterwarnings("error", "Not enough STFT frames", RuntimeWarning)
        try:
            return float(_need("pystoi").stoi(signals[0], signals[1], _SPEECH_RATE, extended=True))
        except RuntimeWarning:
            return float("nan")
