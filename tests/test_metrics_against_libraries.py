"""The host's own metrics against well-kept packages that compute the same."""

from __future__ import annotations

from pathlib import Path

import auraloss
import numpy as np
import pytest
import scipy.signal
import soundfile
import torch
from torchmetrics.functional.audio import scale_invariant_signal_distortion_ratio, signal_noise_ratio

from stemprover.evaluation.bss import bss_eval, pesq
from stemprover.evaluation.spectral import multi_resolution_stft_distance
from stemprover.evaluation.waveform import sdr, si_sdr

RATE = 44_100
KIT = Path(__file__).parent.parent / "examples" / "east-bay"


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


@pytest.mark.parametrize("level", [0.003, 0.03])
def test_pesq_is_that_of_its_package(level: float) -> None:
    library = pytest.importorskip("pesq", reason="pesq comes with stemprover[evaluate]")
    reference, _ = soundfile.read(KIT / "reference" / "snare.flac", frames=4 * RATE, always_2d=True)
    reference = reference.T
    estimate = reference + level * noise(0, reference.shape[1])
    mono = [audio.mean(0) for audio in (reference, estimate)]
    wide = [scipy.signal.resample_poly(audio, 160, 441) for audio in mono]
    theirs = library.pesq(16_000, wide[0], wide[1], "wb")
    assert 1.0 < theirs < 4.6
    assert pesq(reference, estimate, RATE) == pytest.approx(theirs, abs=0.05), "another resampler"
    alike = np.stack(wide)[:, None]
    assert pesq(alike[0], alike[1], 16_000) == pytest.approx(theirs, abs=1e-9)


@pytest.mark.parametrize(("left", "right", "isr_db"), [(0.5, 0.5, 6.02), (1.0, 0.0, 3.01), (1.1, 0.9, 20.0)])
def test_isr_says_how_much_level_and_place_are_off(left: float, right: float, isr_db: float) -> None:
    """Independent noise left and right: what a gain of each channel takes away is all of the spatial error."""
    pytest.importorskip("museval", reason="museval comes with stemprover[evaluate]", exc_type=Exception)
    stems = {name: np.concatenate([noise(seed), noise(seed + 1)]) for name, seed in (("vocals", 0), ("drums", 2))}
    moved = stems["vocals"] * np.array([[left], [right]])
    scores = bss_eval(stems, {**stems, "vocals": moved}, RATE)["vocals"]
    assert scores["isr"] == pytest.approx(isr_db, abs=0.2)
    assert min(scores["sir"], scores["sar"]) > isr_db + 20, "a filter explains it"
