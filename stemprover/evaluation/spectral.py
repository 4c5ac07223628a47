"""Metrics on spectra: magnitudes, phase, frequency response and stereo image."""

from __future__ import annotations

import numpy as np

from stemprover.evaluation.arrays import band_slices, decibels, pair, spectrum_blocks

__all__ = [
    "frequency_response_bands",
    "frequency_response_deviation",
    "interchannel_error",
    "log_spectral_distance",
    "multi_resolution_stft_distance",
    "phase_coherence",
    "phase_coherence_bands",
    "sdr_bands",
]

_N_FFT, _HOP = 2048, 512
_RESOLUTIONS = ((512, 128), (1024, 256), (2048, 512))
_FLOOR = 1e-8  # power, relative to the loudest bin of the reference: 80 dB down
_ABSOLUTE_FLOOR = 1e-12  # power, relative to a full-scale sine
_ACTIVE = 1e-6  # power of a band, relative to the loudest band of the reference: 60 dB down
_CAP_DEVIATION_DB = 60.0
_CAP_CONVERGENCE = 10.0


def _floor(reference: np.ndarray, n_fft: int, hop: int) -> float:
    """Power 80 dB below the reference's loudest bin, and not below -120 dBFS."""
    loudest = max(float(np.abs(block).max()) for (block,) in spectrum_blocks([reference], n_fft, hop))
    return max(loudest**2 * _FLOOR, _ABSOLUTE_FLOOR)


def _log_difference(first: np.ndarray, second: np.ndarray, floor: float) -> np.ndarray:
    """``ln(|first|^2 / |second|^2)`` of floored powers."""
    powers = (np.maximum(values.real**2 + values.imag**2, floor) for values in (first, second))
    return np.asarray(np.subtract(*map(np.log, powers)))


def log_spectral_distance(reference: np.ndarray, estimate: np.ndarray, sample_rate: int) -> float:
    """Root-mean-square difference of the log spectra in dB, per frame, then averaged over frames and channels.

    Range 0 to about 100 dB, 0 is best. Levels are floored 80 dB below the reference's loudest bin, and
    at -120 dBFS. Phase is not seen.
    Every bin weighs the same, so that inaudible high bins dominate; it falls when holes are filled with noise of about
    the right level, whether or not the waveform gets closer.

    Parameters
    ----------
    reference, estimate : ndarray
        Shape ``[channels, samples]``.
    sample_rate : int
        In Hz; not used, there so that all spectral metrics are called alike.

    References
    ----------
    Gray and Markel, "Distance measures for speech processing", 1976.
    """
    del sample_rate
    signals = pair(reference, estimate)
    floor = _floor(signals[0], _N_FFT, _HOP)
    total, count = 0.0, 0
    for first, second in spectrum_blocks(signals, _N_FFT, _HOP):
        frames = np.sqrt((_log_difference(first, second, floor) ** 2).mean(axis=1))
        total, count = total + float(frames.sum()), count + frames.size
    return total / count * float(10.0 / np.log(10.0))


def multi_resolution_stft_distance(reference: np.ndarray, estimate: np.ndarray, sample_rate: int) -> float:
    """Spectral convergence plus mean absolute log-magnitude difference, averaged over three frame lengths.

    Range from 0 (best), no unit, usually below 5. Frames of 512, 1024 and 2048 samples, a quarter of them as hop;
    natural logarithm, floored like :func:`log_spectral_distance`. It follows loudness: a plain gain of 1 dB costs
    about 0.23. Phase is not seen.

    Parameters
    ----------
    reference, estimate : ndarray
        Shape ``[channels, samples]``.
    sample_rate : int
        In Hz; not used.

    References
    ----------
    Yamamoto et al., "Parallel WaveGAN", ICASSP 2020.
    """
    del sample_rate
    signals = pair(reference, estimate)
    total = 0.0
    for n_fft, hop in _RESOLUTIONS:
        floor = _floor(signals[0], n_fft, hop)
        size = error = logs = count = 0.0
        for first, second in spectrum_blocks(signals, n_fft, hop):
            size += float(np.sum(np.abs(first) ** 2))
            error += float(np.sum((np.abs(first) - np.abs(second)) ** 2))
            logs += 0.5 * float(np.abs(_log_difference(first, second, floor)).sum())
            count += first.size
        convergence = (
            min(float(np.sqrt(error / size)), _CAP_CONVERGENCE) if size > 0 else _CAP_CONVERGENCE * (error > 0)
        )
        total += convergence + logs / count
    return total / len(_RESOLUTIONS)


def _band_powers(values: np.ndarray, bands: tuple[slice, ...]) -> np.ndarray:
    return np.array([float(np.sum(np.abs(values[:, band]) ** 2)) for band in bands])


def _active(power: np.ndarray) -> np.ndarray:
    """Which bands of the reference hold something."""
    return np.asarray((power > _ACTIVE * power.max()) & (power > 0))


def sdr_bands(reference: np.ndarray, estimate: np.ndarray, sample_rate: int) -> np.ndarray:
    """Signal-to-distortion ratio per octave band, ``10 log10(sum |S|^2 / sum |S - E|^2)`` over the band's bins.

    Range -100 to 100 dB, higher is better. The bands' window leaks: 60 dB and more below a loud neighbour says little.

    Returns
    -------
    ndarray
        One value per octave band below Nyquist; NaN for bands 60 dB or more below the reference's loudest band.
    """
    bands = band_slices(sample_rate, _N_FFT)
    wanted, error = np.zeros((2, len(bands)))
    for first, second in spectrum_blocks(pair(reference, estimate), _N_FFT, _HOP):
        wanted += _band_powers(first, bands)
        error += _band_powers(first - second, bands)
    ratios = [decibels(float(signal), float(noise)) for signal, noise in zip(wanted, error, strict=True)]
    return np.where(_active(wanted), ratios, np.nan)


def phase_coherence_bands(reference: np.ndarray, estimate: np.ndarray, sample_rate: int) -> np.ndarray:
    """Magnitude-weighted cosine of the phase error, per octave band.

    ``sum |S| |E| cos(angle S - angle E) / sum |S| |E|``: range -1 (polarity flipped) over 0 (unrelated) to 1 (same
    phase). Loud bins decide: a wrong phase in quiet tails is not seen.

    Returns
    -------
    ndarray
        One value per octave band below Nyquist; NaN for bands 60 dB or more below the reference's loudest band, 0 for
        bands that only the estimate lacks.
    """
    bands = band_slices(sample_rate, _N_FFT)
    power, aligned, weight = np.zeros((3, len(bands)))
    for first, second in spectrum_blocks(pair(reference, estimate), _N_FFT, _HOP):
        power += _band_powers(first, bands)
        cross = first * second.conj()
        aligned += [float(cross[:, band].real.sum()) for band in bands]
        weight += [float(np.abs(cross[:, band]).sum()) for band in bands]
    coherence = np.divide(aligned, weight, out=np.zeros(len(bands)), where=weight > 0)
    return np.where(_active(power), coherence, np.nan)


def phase_coherence(reference: np.ndarray, estimate: np.ndarray, sample_rate: int) -> float:
    """Mean of :func:`phase_coherence_bands` over bands that hold something.

    Range -1 to 1, higher is better, 1 for an exact copy (also of silence). Noise added to the estimate lowers it as
    well as a wrong phase does; a constant delay lowers the high bands first.
    """
    bands = phase_coherence_bands(reference, estimate, sample_rate)
    if np.isnan(bands).all():
        return 1.0 if not np.any(estimate) else 0.0
    return float(np.nanmean(bands))


def frequency_response_bands(reference: np.ndarray, estimate: np.ndarray, sample_rate: int) -> np.ndarray:
    """Level of the estimate relative to the reference per octave band, in dB within plus or minus 60.

    Returns
    -------
    ndarray
        One value per octave band below Nyquist; NaN for bands 60 dB or more below the reference's loudest band.
    """
    bands = band_slices(sample_rate, _N_FFT)
    wanted, got = np.zeros((2, len(bands)))
    for first, second in spectrum_blocks(pair(reference, estimate), _N_FFT, _HOP):
        wanted += _band_powers(first, bands)
        got += _band_powers(second, bands)
    active = _active(wanted)
    ratio = np.maximum(got, 1e-30) / np.where(active, wanted, 1.0)
    return np.where(active, np.clip(10.0 * np.log10(ratio), -_CAP_DEVIATION_DB, _CAP_DEVIATION_DB), np.nan)


def frequency_response_deviation(reference: np.ndarray, estimate: np.ndarray, sample_rate: int) -> float:
    """Mean absolute deviation of the octave bands' levels, in dB.

    Range 0 to 60 dB, 0 is best. It compares averages over time: energy that is missing in one place and too much in
    another cancels out, and bleed can hide a loss.
    """
    bands = np.abs(frequency_response_bands(reference, estimate, sample_rate))
    if np.isnan(bands).all():
        return 0.0 if not np.any(estimate) else _CAP_DEVIATION_DB
    return float(np.nanmean(bands))


def _spatial(values: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Spatial covariance with trace one, ``[channels, channels, frames]``, and its energy ``[frames]``."""
    covariance = np.einsum("ift,jft->ijt", values, values.conj())
    energy = np.einsum("iit->t", covariance).real
    return covariance / np.where(energy > 0, energy, 1.0), energy


def interchannel_error(reference: np.ndarray, estimate: np.ndarray, sample_rate: int) -> float:
    """Distance of the stereo images: panning, phase between channels and width together.

    Per frame and octave band the spatial covariance matrices of both signals are scaled to trace one; their distance
    (Frobenius, divided by the square root of 2) is averaged with the reference's energy as weight. Range 0 (same image)
    to 1 (hard left against hard right, or an estimate that is silent), 0 for mono. Level and content are not seen: a
    wrong signal at the right place scores 0.

    Parameters
    ----------
    reference, estimate : ndarray
        Shape ``[channels, samples]``.
    sample_rate : int
        In Hz.
    """
    error = weight = 0.0
    for first, second in spectrum_blocks(pair(reference, estimate), _N_FFT, _HOP):
        for band in band_slices(sample_rate, _N_FFT):
            wanted, energy = _spatial(first[:, band])
            got, got_energy = _spatial(second[:, band])
            distance = np.linalg.norm(wanted - got, axis=(0, 1)) / np.sqrt(2.0)
            error += float(np.sum(np.where(got_energy > 0, distance, 1.0) * energy))
            weight += float(energy.sum())
    return error / weight if weight > 0 else 0.0
