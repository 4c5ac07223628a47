"""Metrics of whole files and sets: which there are, what they refuse, segments, bands, BSS Eval."""

from __future__ import annotations

import importlib.util
import math
import sys

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from metric_signals import RATE, noise, orthogonal_noise, tone

from stemprover.errors import AudioError, OptionError, StemSetError
from stemprover.evaluation import METRICS, compare, evaluate, evaluate_segments, summarise
from stemprover.evaluation.arrays import BAND_EDGES_HZ, band_slices, spectrum_blocks
from stemprover.evaluation.bss import bss_eval, pesq, stoi


def test_the_registry_agrees_with_itself() -> None:
    """An exact copy reaches `best`; a damaged one is worse in the direction that the metric states."""
    reference = noise()
    estimate = reference + orthogonal_noise(reference, 5.0)
    exact, damaged = evaluate(reference, reference, RATE), evaluate(reference, estimate, RATE)
    for name, metric in METRICS.items():
        assert exact[name] == pytest.approx(metric.best, abs=1e-9), name
        assert (damaged[name] < metric.best) == metric.higher_is_better, name
        assert damaged[name] != metric.best, name


@pytest.mark.parametrize("channels", [1, 2, 6])
@pytest.mark.parametrize("rate", [8000, 44_100, 192_000])
def test_any_rate_and_channel_count(rate: int, channels: int) -> None:
    reference = noise(0, channels, 6000)
    assert all(math.isfinite(value) for value in evaluate(reference, 0.9 * reference, rate).values())


@settings(max_examples=15, deadline=None)
@given(
    first=st.sampled_from(["silence", "noise", "impulse", "offset"]),
    second=st.sampled_from(["silence", "noise", "impulse", "offset", "tiny"]),
    samples=st.integers(1, 3000),
)
def test_scores_are_always_finite(first: str, second: str, samples: int) -> None:
    made = {
        "silence": np.zeros((2, samples)),
        "noise": noise(3, 2, samples),
        "impulse": np.eye(2, samples),
        "offset": np.full((2, samples), 0.5),
        "tiny": 1e-12 * noise(4, 2, samples),
    }
    assert all(math.isfinite(value) for value in evaluate(made[first], made[second], RATE).values())


def test_evaluate_refuses_what_cannot_be_compared() -> None:
    with pytest.raises(AudioError, match="same shape"):
        evaluate(noise(samples=100), noise(samples=101), RATE)
    broken = noise()
    broken[0, 5] = np.nan
    with pytest.raises(AudioError, match="finite"):
        evaluate(noise(), broken, RATE)


def test_evaluate_with_a_mixture_gives_gains() -> None:
    reference = noise()
    estimate, mixture = (reference + orthogonal_noise(reference, level) for level in (12.0, 3.0))
    scores = evaluate(reference, estimate, RATE, mixture=mixture, names=["si_sdr", "sdr"])
    assert scores["si_sdr_over_mixture"] == pytest.approx(9.0, abs=1e-6)
    assert set(scores) == {"si_sdr", "sdr", "si_sdr_over_mixture", "sdr_over_mixture"}


def test_compare_gives_rows_for_readers() -> None:
    reference = noise()
    before, after = (reference + orthogonal_noise(reference, level) for level in (3.0, 6.0))
    row = compare(reference, before, after, RATE, names=["si_sdr"])["SI-SDR"]
    assert row["after"] - row["before"] == pytest.approx(3.0, abs=1e-6)
    assert (row["unit"], row["higher_is_better"]) == ("dB", True)


def test_segments_leave_silence_out() -> None:
    reference = noise(samples=4 * RATE)
    reference[:, RATE : 2 * RATE] = 0.0
    estimate = reference + 1e-3 * noise(1, samples=4 * RATE)
    found = list(evaluate_segments(reference, estimate, RATE, segment_s=1.0, names=["sdr"]))
    assert [(part.start_s, part.end_s) for part in found] == [(0.0, 1.0), (2.0, 3.0), (3.0, 4.0)]
    assert all(part.scores["sdr"] == pytest.approx(60.0, abs=0.2) for part in found)


def test_summary_knows_direction_and_tolerance() -> None:
    lower = summarise([10.0, 10.0, 10.0, 10.0], [8.0, 9.0, 10.05, 12.0], higher_is_better=False)
    assert (lower.n, lower.worst, lower.improved, lower.harmed) == (4, -2.0, 0.5, 0.25)
    assert lower.mean == pytest.approx(0.2375)
    assert lower.median == pytest.approx(0.475)
    assert summarise([], [], higher_is_better=True).n == 0


def test_octave_bands_cover_every_bin_once() -> None:
    for rate in (8000, 44_100, 48_000):
        bands = band_slices(rate, 2048)
        covered = np.concatenate([np.arange(band.start, band.stop) for band in bands])
        assert np.array_equal(covered, np.arange(1025)), rate
    assert len(band_slices(48_000, 2048)) == len(BAND_EDGES_HZ) - 1


def test_spectra_come_in_blocks_and_are_scaled(monkeypatch: pytest.MonkeyPatch) -> None:
    sine = 2 * tone(RATE * 64 / 2048)
    (whole,) = (block for (block,) in spectrum_blocks([sine], 2048, 512))
    assert abs(whole[0, 64, 20]) == pytest.approx(1.0, abs=1e-6)
    assert whole.shape == (1, 1025, RATE // 512 + 1)
    monkeypatch.setattr("stemprover.evaluation.arrays._BLOCK_VALUES", 7 * 2048)
    pieces = [block for (block,) in spectrum_blocks([sine], 2048, 512)]
    assert max(piece.shape[-1] for piece in pieces) == 7
    assert np.array_equal(np.concatenate(pieces, axis=-1), whole)


def test_scores_do_not_depend_on_the_block_size(monkeypatch: pytest.MonkeyPatch) -> None:
    reference = noise()
    estimate = reference + orthogonal_noise(reference, 8.0)
    whole = evaluate(reference, estimate, RATE)
    monkeypatch.setattr("stemprover.evaluation.arrays._BLOCK_VALUES", 10_000)
    assert evaluate(reference, estimate, RATE) == pytest.approx(whole, rel=1e-9)


def test_bss_eval_needs_the_whole_set() -> None:
    with pytest.raises(StemSetError, match="two or more stems"):
        bss_eval({"vocals": noise()}, {"vocals": noise()}, RATE)


def test_bss_eval_tells_bleed_from_artifacts() -> None:
    if importlib.util.find_spec("museval") is None:
        pytest.skip("museval comes with stemprover[evaluate]")
    stems = {"vocals": noise(0, 2, 8000), "drums": noise(1, 2, 8000)}
    bleeding = {name: audio + 0.3 * stems["drums" if name == "vocals" else "vocals"] for name, audio in stems.items()}
    noisy = {name: audio + 0.3 * noise(7, 2, 8000) for name, audio in stems.items()}
    bleed, artifacts = (bss_eval(stems, estimate, 4000)["vocals"] for estimate in (bleeding, noisy))
    assert bleed["sir"] == pytest.approx(-20 * math.log10(0.3), abs=1.5)
    assert artifacts["sir"] > bleed["sir"] + 3
    assert artifacts["sar"] < bleed["sar"]


def test_bss_eval_of_band_limited_music_is_not_arbitrary() -> None:
    """Nothing above three quarters of Nyquist, as after a lossy coder: the projections would be singular."""
    if importlib.util.find_spec("museval") is None:
        pytest.skip("museval comes with stemprover[evaluate]")
    spectra = np.fft.rfft([noise(seed, 2, 8000) for seed in (0, 1)])
    spectra[..., 3000:] = 0.0
    vocals, drums = np.fft.irfft(spectra, 8000)
    stems = {"vocals": vocals, "drums": drums}
    scores = bss_eval(stems, {"vocals": vocals + 0.1 * drums, "drums": drums}, 4000)["vocals"]
    assert scores["sdr"] == pytest.approx(20.0, abs=1.0)
    assert scores["sir"] == pytest.approx(20.0, abs=1.5)
    assert scores["sar"] > 30.0


@pytest.mark.parametrize(("function", "module"), [(pesq, "pesq"), (stoi, "pystoi")])
def test_speech_metrics_prefer_the_cleaner_estimate(function, module) -> None:
    pytest.importorskip(module, reason=f"{module} comes with stemprover[evaluate]")
    seconds = np.arange(3 * 16_000) / 16_000
    gate = np.sin(2 * np.pi * 2.3 * seconds) > -0.3
    voice = sum(np.sin(2 * np.pi * k * (140 + 15 * np.sin(9 * seconds)) * seconds) / k for k in range(1, 12))
    clean = 0.2 * (voice * gate)[None]
    hiss = np.random.default_rng(0).standard_normal(clean.shape)
    assert function(clean, clean + 0.005 * hiss, 16_000) > function(clean, clean + 0.2 * hiss, 16_000)
    assert math.isnan(function(np.zeros_like(clean), clean, 16_000))


def test_a_missing_package_names_the_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pystoi", None)
    with pytest.raises(OptionError, match=r"stemprover\[evaluate\]"):
        stoi(noise(), noise(), RATE)
