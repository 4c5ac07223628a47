"""Metrics against known answers, independent formulas and other packages."""

from __future__ import annotations

import importlib.util
import math
import sys

import librosa
import numpy as np
import pytest
import scipy.signal
from hypothesis import given, settings
from hypothesis import strategies as st

from stemprover.errors import AudioError, OptionError, StemSetError
from stemprover.evaluation import METRICS, compare, evaluate, evaluate_segments, summarise
from stemprover.evaluation.arrays import BAND_EDGES_HZ, band_slices, spectrum_blocks
from stemprover.evaluation.bleed import bleedless, fullness, match_gain, mel_filters
from stemprover.evaluation.bss import bss_eval, pesq, stoi
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

RATE = 44_100


def noise(seed: int = 0, channels: int = 2, samples: int = RATE) -> np.ndarray:
    return 0.1 * np.random.default_rng(seed).standard_normal((channels, samples))


def orthogonal_noise(reference: np.ndarray, snr_db: float, seed: int = 1) -> np.ndarray:
    """Noise exactly orthogonal to the reference and exactly ``snr_db`` below it."""
    other = noise(seed, *reference.shape)
    other -= np.sum(other * reference) / np.sum(reference**2) * reference
    return other * np.sqrt(np.sum(reference**2) / np.sum(other**2) / 10 ** (snr_db / 10))


def tone(hertz: float, samples: int = RATE, phase: float = 0.0) -> np.ndarray:
    return 0.5 * np.sin(2 * np.pi * hertz * np.arange(samples) / RATE + phase)[None]


def delayed_phase(audio: np.ndarray, angle: float) -> np.ndarray:
    """Turn the phase of every frequency by the same angle."""
    turned = np.fft.rfft(audio) * np.exp(1j * angle)
    return np.fft.irfft(turned, audio.shape[-1])


@pytest.mark.parametrize("snr_db", [-20.0, 0.0, 12.5, 60.0])
def test_sdr_of_orthogonal_noise_is_its_level(snr_db: float) -> None:
    reference = noise()
    estimate = reference + orthogonal_noise(reference, snr_db)
    assert sdr(reference, estimate) == pytest.approx(snr_db, abs=1e-9)
    assert si_sdr(reference, estimate) == pytest.approx(snr_db, abs=1e-9)


def test_only_si_sdr_forgives_gain() -> None:
    reference = noise()
    estimate = 0.5 * (reference + orthogonal_noise(reference, 10.0))
    assert si_sdr(reference, estimate) == pytest.approx(10.0, abs=1e-9)
    assert sdr(reference, 0.5 * reference) == pytest.approx(20 * math.log10(2), abs=1e-9)


def test_si_sdr_counts_a_change_of_balance() -> None:
    reference = noise()
    assert si_sdr(reference, reference * np.array([[1.0], [0.5]])) < 12.0


def test_ratios_at_their_ends() -> None:
    reference, silence = noise(), np.zeros((2, RATE))
    assert sdr(reference, reference) == si_sdr(reference, reference) == 100.0
    assert sdr(silence, silence) == si_sdr(silence, silence) == 100.0
    assert sdr(silence, reference) == si_sdr(silence, reference) == -100.0
    assert sdr(reference, silence) == 0.0
    assert si_sdr(reference, silence) == -100.0


def test_log_spectral_distance_of_a_gain_is_the_gain() -> None:
    reference = noise()
    assert log_spectral_distance(reference, reference * 10 ** (-6 / 20), RATE) == pytest.approx(6.0, abs=1e-3)


def scipy_magnitude(audio: np.ndarray, n_fft: int, hop: int) -> np.ndarray:
    """Unscaled magnitudes of a centred Hann STFT, ``[bins, frames]``."""
    window = scipy.signal.get_window("hann", n_fft)
    spectra = scipy.signal.stft(audio[0], window=window, nperseg=n_fft, noverlap=n_fft - hop, padded=False)[2]
    return np.abs(spectra) * window.sum()


def test_log_spectral_distance_matches_scipy_spectra() -> None:
    reference, estimate = noise(0, 1), noise(1, 1)
    first, second = (scipy_magnitude(audio, 2048, 512) ** 2 for audio in (reference, estimate))
    floor = first.max() * 1e-8
    difference = 10 * np.log10(np.maximum(first, floor) / np.maximum(second, floor))
    expected = np.sqrt((difference**2).mean(0)).mean()
    assert log_spectral_distance(reference, estimate, RATE) == pytest.approx(expected, rel=1e-6)


def test_multi_resolution_stft_distance_of_a_gain() -> None:
    reference = noise()
    expected = (1 - 0.5) + math.log(2)  # spectral convergence + log magnitude, the same at every resolution
    assert multi_resolution_stft_distance(reference, 0.5 * reference, RATE) == pytest.approx(expected, abs=1e-4)


@pytest.mark.parametrize("angle", [0.0, 0.4, math.pi / 2, math.pi])
def test_phase_coherence_is_the_cosine_of_a_constant_phase_error(angle: float) -> None:
    reference = noise(channels=1)
    turned = delayed_phase(reference, angle)
    middle = phase_coherence_bands(reference, turned, RATE)[1:-1]  # 0 Hz and Nyquist cannot be turned
    assert middle == pytest.approx(np.cos(angle), abs=0.02)


def test_phase_coherence_finds_the_band_that_is_wrong() -> None:
    low, high = tone(180.0), tone(6000.0)
    bands = phase_coherence_bands(low + high, low - high, RATE)
    assert bands[1] == pytest.approx(1.0, abs=1e-3)
    assert bands[6] == pytest.approx(-1.0, abs=1e-3)


def test_phase_coherence_of_unrelated_noise_is_near_zero() -> None:
    assert abs(phase_coherence(noise(0), noise(1), RATE)) < 0.05


def test_frequency_response_bands_give_the_gain_of_the_changed_band() -> None:
    reference = noise(channels=1)
    spectra, hertz = np.fft.rfft(reference), np.fft.rfftfreq(RATE, 1 / RATE)
    estimate = np.fft.irfft(np.where((hertz > 3900) & (hertz < 8100), 0.1, 1.0) * spectra, RATE)
    bands = frequency_response_bands(reference, estimate, RATE)
    assert bands[6] == pytest.approx(-20.0, abs=0.3)
    assert np.delete(bands, 6) == pytest.approx(0.0, abs=0.3)
    assert frequency_response_deviation(reference, estimate, RATE) == pytest.approx(20.0 / len(bands), abs=0.1)


def test_frequency_response_leaves_empty_bands_out() -> None:
    low = np.hanning(RATE) * tone(360.0)  # a hard start and end would leak into every band
    assert np.isnan(frequency_response_bands(low, low + tone(6000.0), RATE)[6])


def test_interchannel_error_of_known_images() -> None:
    left, right = np.vstack([noise(0, 1), np.zeros((1, RATE))]), np.vstack([np.zeros((1, RATE)), noise(0, 1)])
    centre = np.repeat(noise(0, 1), 2, axis=0)
    assert interchannel_error(left, right, RATE) == pytest.approx(1.0, abs=1e-9)
    # covariances [[1, 0], [0, 0]] and [[.5, .5], [.5, .5]]: every entry differs by 0.5, so 1 / sqrt(2)
    assert interchannel_error(left, centre, RATE) == pytest.approx(math.sqrt(0.5), abs=1e-9)
    assert interchannel_error(centre, 0.2 * centre, RATE) == pytest.approx(0.0, abs=1e-9)
    flipped = centre * np.array([[1.0], [-1.0]])
    assert interchannel_error(centre, flipped, RATE) == pytest.approx(1.0, abs=1e-9)
    assert interchannel_error(noise(0, 1), noise(1, 1), RATE) == pytest.approx(0.0, abs=1e-9)


def test_mel_filters_match_librosa() -> None:
    expected = librosa.filters.mel(sr=RATE, n_fft=4096, n_mels=512, dtype=np.float64)
    assert mel_filters(RATE, 4096, 512) == pytest.approx(expected, abs=1e-12)


def test_bleedless_and_fullness_match_their_published_definition() -> None:
    reference, estimate = noise(0, 1), noise(0, 1) + 0.4 * noise(1, 1)
    estimate = match_gain(reference, estimate)
    levels = []
    for audio in (reference, estimate):
        magnitude = scipy_magnitude(audio, 4096, 1024)
        mel = librosa.filters.mel(sr=RATE, n_fft=4096, n_mels=512, dtype=np.float64) @ magnitude
        levels.append(librosa.amplitude_to_db(mel, ref=1.0, amin=1e-10, top_db=80.0))
    difference = levels[1] - levels[0]
    expected_bleedless = 100 / (1 + difference[difference > 0].mean())
    expected_fullness = 100 / (1 - difference[difference < 0].mean())
    assert bleedless(reference, estimate, RATE) == pytest.approx(expected_bleedless, rel=1e-6)
    assert fullness(reference, estimate, RATE) == pytest.approx(expected_fullness, rel=1e-6)


def test_bleed_lowers_bleedless_and_loss_lowers_fullness() -> None:
    low, high = tone(200.0), tone(5000.0)
    stem = low + 0.1 * high
    assert bleedless(stem, stem + 0.1 * tone(1500.0), RATE) < 20 < fullness(stem, stem + 0.1 * tone(1500.0), RATE)
    assert fullness(stem, low, RATE) < 20 < bleedless(stem, low, RATE)
    assert bleedless(stem, 0.3 * stem, RATE) == pytest.approx(100.0, abs=1e-6)


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
