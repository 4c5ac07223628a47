"""Scores of a whole stem set: every metric per stem, per segment and per band."""

from __future__ import annotations

import dataclasses
import importlib.util
import math
from collections.abc import Iterator, Mapping, Sequence

import numpy as np

from stemprover.evaluation.arrays import BAND_EDGES_HZ, EMPTY_DBFS, SILENCE_DBFS, pair, rms_dbfs
from stemprover.evaluation.bleed import best_gain, match_gain
from stemprover.evaluation.bss import bss_eval, pesq, stoi
from stemprover.evaluation.metrics import METRICS, Metric, evaluate
from stemprover.evaluation.segments import SegmentScores, evaluate_segments
from stemprover.evaluation.spectral import frequency_response_bands, phase_coherence_bands, sdr_bands

__all__ = [
    "COLUMNS",
    "NEEDS",
    "BandScores",
    "Column",
    "StemScores",
    "bss_scores",
    "mean_scores",
    "missing_packages",
    "score_stem",
]

_INVERTED = -0.5
"""Correlation below which an estimate is upside down: what is unrelated lies around 0."""
_SPEECH = {"pesq": pesq, "stoi": stoi}
_BAND_METRICS = {
    "sdr": sdr_bands,
    "phase_coherence": phase_coherence_bands,
    "frequency_response": frequency_response_bands,
}


@dataclasses.dataclass(frozen=True, slots=True)
class Column:
    """What a score is called and which direction is better; ``None``: closest to zero."""

    label: str
    unit: str
    higher_is_better: bool | None


COLUMNS: Mapping[str, Column] = {
    **{name: Column(metric.label, metric.unit, metric.higher_is_better) for name, metric in METRICS.items()},
    "si_sdr_over_mixture": Column("SI-SDR over the mixture", "dB", True),
    "sdr_over_mixture": Column("SDR over the mixture", "dB", True),
    "bss_sdr": Column("BSS Eval SDR", "dB", True),
    "bss_isr": Column("BSS Eval ISR", "dB", True),
    "bss_sir": Column("BSS Eval SIR", "dB", True),
    "bss_sar": Column("BSS Eval SAR", "dB", True),
    "pesq": Column("PESQ", "", True),
    "stoi": Column("Extended STOI", "", True),
    "gain": Column("Gain to match", "dB", None),
    "silence_level": Column("Level of what should be silent", "dBFS", False),
}
"""Every score by name, in the order of tables."""

NEEDS: Mapping[str, tuple[str, ...]] = {
    "museval": ("bss_sdr", "bss_isr", "bss_sir", "bss_sar"),
    "pesq": ("pesq",),
    "pystoi": ("stoi",),
}
"""Scores that a package of the extra ``stemprover[evaluate]`` computes."""


@dataclasses.dataclass(frozen=True, slots=True)
class BandScores:
    """Scores of one octave band, ``low_hz`` to ``high_hz``; of a frequency response the signed level in dB."""

    low_hz: float
    high_hz: float
    scores: Mapping[str, float]


@dataclasses.dataclass(frozen=True, slots=True)
class StemScores:
    """All scores of one stem.

    Attributes
    ----------
    stem : str
        Its name.
    scores : Mapping[str, float]
        Of the whole stem, keys of :data:`COLUMNS`. A reference that is silent (below :data:`EMPTY_DBFS`, -90 dBFS)
        has ``silence_level`` and nothing else: ratios to silence say nothing.
    segments : tuple of SegmentScores
        Segments whose reference is silent (below :data:`SILENCE_DBFS`, -60 dBFS) have ``silence_level`` only.
    bands : tuple of BandScores
        Octave bands in which the reference holds something.
    inverted : bool
        Whether the estimate's polarity is that of the reference upside down, which metrics of spectra do not hear.
    """

    stem: str
    scores: Mapping[str, float]
    segments: tuple[SegmentScores, ...]
    bands: tuple[BandScores, ...]
    inverted: bool = False


def missing_packages() -> dict[str, tuple[str, ...]]:
    """Return packages that are not installed, with the scores that need them."""
    return {package: scores for package, scores in NEEDS.items() if importlib.util.find_spec(package) is None}


def score_stem(
    name: str,
    reference: np.ndarray,
    estimate: np.ndarray,
    sample_rate: int,
    *,
    mixture: np.ndarray | None = None,
    segment_s: float = 3.0,
    matched_gain: bool = False,
    speech: bool = False,
    metrics: Mapping[str, Metric] | None = None,
) -> StemScores:
    """Score one stem by everything that needs no other stem.

    Parameters
    ----------
    name : str
        The stem's name.
    reference, estimate : ndarray
        Shape ``[channels, samples]``.
    sample_rate : int
        In Hz.
    mixture : ndarray, optional
        Same shape: adds by how much the estimate is closer to the reference than the mixture is.
    segment_s : float
        Length of segments in seconds.
    matched_gain : bool
        Scale the estimate to the reference first, and the mixture as well, for material whose level is of no interest.
        ``gain`` says how much; it is left out, and nothing is scaled, where no gain above 0 brings the estimate closer.
    speech : bool
        Whether to run PESQ and STOI, which hear voices only; needs their packages.
    metrics : Mapping[str, Metric], optional
        More metrics by name, for example those of plugins. A score that is not finite is left out.

    Raises
    ------
    AudioError
        When shapes differ or samples are not finite.
    """
    reference, estimate = pair(reference, estimate)
    if rms_dbfs(reference) < EMPTY_DBFS:
        return StemScores(name, {"silence_level": rms_dbfs(estimate)}, (), ())
    gain, alike = best_gain(reference, estimate), _correlation(reference, estimate)
    if matched_gain:
        estimate = match_gain(reference, estimate)
        mixture = None if mixture is None else match_gain(reference, np.atleast_2d(mixture))
    scores = evaluate(reference, estimate, sample_rate, mixture)
    for key, metric in (metrics or {}).items():
        score = float(metric.function(reference, estimate, sample_rate))
        if math.isfinite(score):
            scores[key] = score
    if speech:
        missing = {score for scores_of in missing_packages().values() for score in scores_of}
        values = {key: _SPEECH[key](reference, estimate, sample_rate) for key in _SPEECH if key not in missing}
        scores |= {key: value for key, value in values.items() if math.isfinite(value)}
    if gain > 0.0:
        scores["gain"] = 20 * math.log10(gain)
    segments = tuple(_segments(reference, estimate, sample_rate, segment_s))
    return StemScores(name, scores, segments, _bands(reference, estimate, sample_rate), alike < _INVERTED)


def _correlation(reference: np.ndarray, estimate: np.ndarray) -> float:
    energy = float(np.sum(reference**2)) * float(np.sum(estimate**2))
    return float(np.sum(reference * estimate)) / math.sqrt(energy) if energy > 0.0 else 0.0


def bss_scores(
    references: Mapping[str, np.ndarray], estimates: Mapping[str, np.ndarray], sample_rate: int
) -> dict[str, dict[str, float]]:
    """Return BSS Eval's scores by stem, keys of :data:`COLUMNS`; windows that could not be scored are left out."""
    found = bss_eval(references, estimates, sample_rate)
    return {
        stem: {f"bss_{name}": value for name, value in scores.items() if math.isfinite(value)}
        for stem, scores in found.items()
    }


def _segments(
    reference: np.ndarray, estimate: np.ndarray, sample_rate: int, segment_s: float
) -> Iterator[SegmentScores]:
    """Scored segments, and the level of the estimate in those whose reference is silent, in order of time."""
    scored = {one.start_s: one for one in evaluate_segments(reference, estimate, sample_rate, segment_s)}
    size = max(round(segment_s * sample_rate), 1)
    for start in range(0, reference.shape[1], size):
        stop = min(start + size, reference.shape[1])
        start_s, stop_s = start / sample_rate, stop / sample_rate
        if start_s in scored:
            yield scored[start_s]
        elif rms_dbfs(reference[:, start:stop]) < SILENCE_DBFS:
            yield SegmentScores(start_s, stop_s, {"silence_level": rms_dbfs(estimate[:, start:stop])})


def _bands(reference: np.ndarray, estimate: np.ndarray, sample_rate: int) -> tuple[BandScores, ...]:
    columns = {name: band_metric(reference, estimate, sample_rate) for name, band_metric in _BAND_METRICS.items()}
    edges = [min(edge, sample_rate / 2) for edge in BAND_EDGES_HZ]
    rows: list[BandScores] = []
    for place, low in enumerate(edges[: len(columns["sdr"])]):
        scores = {name: float(values[place]) for name, values in columns.items()}
        if all(map(math.isfinite, scores.values())):
            rows.append(BandScores(low, edges[place + 1], scores))
    return tuple(rows)


def mean_scores(stems: Sequence[StemScores]) -> dict[str, float]:
    """Mean over the stems that have a score, by score."""
    names = dict.fromkeys(name for stem in stems for name in stem.scores)
    values = {name: [stem.scores[name] for stem in stems if name in stem.scores] for name in names}
    return {name: float(np.mean(found)) for name, found in values.items()}
