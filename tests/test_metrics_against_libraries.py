"""The host's own metrics against well-kept packages that compute the same."""

from __future__ import annotations

import auraloss
import numpy as np
import pytest
import torch
from torchmetrics.functional.audio import scale_invariant_signal_distortion_ratio, signal_noise_ratio

from stemprover.evaluation.spectral import multi_resolution_stft_distance
from stemprover.evaluation.waveform import sdr, si_sdr

RATE = 44_100


def noise(seed: int, samples: int = RATE) -> np.ndarray:
    return 0.1 * np.random.default_rng(seed).standard_normal((1, samples))


def tensor(audio: np.ndarray) -> torch.Tensor:
    return torch.from_numpy(audio)


@pytest.mark.parametrize("level", [0.01, 0.3, 2.0])
@pytest.mark.parametrize("gain", [1.0, 0.4, -1.0])
def test_ratios_agree_with_torchmetrics(level: float, gain: float) -> None:
    reference = noise(0)
    estimate = gain * (reference + level * noise(1))
    theirs = float(signal_noise_ratio(tensor(estimate), tensor(reference)))
    assert sdr(reference, estimate) == pytest.approx(theirs, abs=1e-6)
    theirs = float(scale_invariant_signal_distortion_ratio(tensor(estimate), tensor(reference)))
    assert si_sdr(reference, estimate) == pytest.approx(theirs, abs=1e-6)


@pytest.mark.parametrize("level", [0.05, 0.5])
def test_multi_resolution_distance_agrees_with_auraloss(level: float) -> None:
    """It pads by reflection, the host with zeros: the edges differ, hence the tolerance."""
    reference = noise(0, 4 * RATE)
    estimate = 0.8 * reference + level * noise(1, 4 * RATE)
    loss = auraloss.freq.MultiResolutionSTFTLoss(
        fft_sizes=[512, 1024, 2048], hop_sizes=[128, 256, 512], win_lengths=[512, 1024, 2048]
    )
    theirs = float(loss(tensor(estimate)[None].float(), tensor(reference)[None].float()))
    assert multi_resolution_stft_distance(reference, estimate, RATE) == pytest.approx(theirs, rel=0.01)
