"""Metrics against known answers, independent formulas and other packages."""

from __future__ import annotations

import math

import librosa
import numpy as np
import pytest
import scipy.signal
from metric_signals import RATE, noise, orthogonal_noise, tone

from stemprover.evaluation.bleed import bleedless, fullness, match_gain, mel_filters
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
