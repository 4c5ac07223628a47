"""Metrics with known ranges, units and blind spots."""

from stemprover.evaluation.bleed import bleedless, fullness
from stemprover.evaluation.metrics import METRICS, Comparison, Metric, compare, evaluate
from stemprover.evaluation.segments import SegmentScores, Summary, evaluate_segments, summarise
from stemprover.evaluation.spectral import (
    frequency_response_bands,
    frequency_response_deviation,
    interchannel_error,
    log_spectral_distance,
    multi_resolution_stft_distance,
    phase_coherence,
    phase_coherence_bands,
)
from stemprover.evaluation.waveform import sdr, si_sdr

__all__ = [
    "METRICS",
    "Comparison",
    "Metric",
    "SegmentScores",
    "Summary",
    "bleedless",
    "compare",
    "evaluate",
    "evaluate_segments",
    "frequency_response_bands",
    "frequency_response_deviation",
    "fullness",
    "interchannel_error",
    "log_spectral_distance",
    "multi_resolution_stft_distance",
    "phase_coherence",
    "phase_coherence_bands",
    "sdr",
    "si_sdr",
    "summarise",
]
