"""The host's own metrics against well-kept packages that compute the same."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import auraloss
import numpy as np
import pytest
import scipy.signal
import soundfile
import soxr
import torch
from test_cli import run
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


def test_pesq_in_a_report_is_what_its_package_says_of_real_bleed(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The kit holds no voice: a snare's strokes stand for syllables, with what a separator left of other drums.

    Mixed to mono and brought to 16 kHz by soxr, as the page on metrics says.
    """
    library = pytest.importorskip("pesq", reason="pesq comes with stemprover[evaluate]")
    folders, wide = {}, {}
    for side, source in (("reference", KIT / "reference" / "snare.flac"), ("estimate", KIT / "snare.flac")):
        folders[side] = tmp_path / side
        folders[side].mkdir()
        shutil.copyfile(source, folders[side] / "vocals.flac")
        wide[side] = soxr.resample(soundfile.read(source)[0].mean(1), RATE, 16_000, quality="VHQ")
    arguments = [word for side, folder in folders.items() for word in (f"--{side}", str(folder))]
    report = json.loads(run(capsys, "evaluate", *arguments, "--json")[1])
    theirs = library.pesq(16_000, wide["reference"], wide["estimate"], "wb")
    assert 1.5 < theirs < 3.5, "far from both ends of the scale"
    assert report["stems"]["vocals"]["scores"]["pesq"] == pytest.approx(theirs, abs=1e-5)


@pytest.mark.parametrize(("left", "right", "isr_db"), [(0.5, 0.5, 6.02), (1.0, 0.0, 3.01), (1.1, 0.9, 20.0)])
def test_isr_says_how_much_level_and_place_are_off(left: float, right: float, isr_db: float) -> None:
    """Independent noise left and right: what a gain of each channel takes away is all of the spatial error."""
    pytest.importorskip("museval", reason="museval comes with stemprover[evaluate]", exc_type=Exception)
    stems = {name: np.concatenate([noise(seed), noise(seed + 1)]) for name, seed in (("vocals", 0), ("drums", 2))}
    moved = stems["vocals"] * np.array([[left], [right]])
    scores = bss_eval(stems, {**stems, "vocals": moved}, RATE)["vocals"]
    assert scores["isr"] == pytest.approx(isr_db, abs=0.2)
    assert min(scores["sir"], scores["sar"]) > isr_db + 20, "a filter explains it"


def kit(*folders: str) -> dict[str, np.ndarray]:
    """Four seconds of kick and snare, ``[channels, samples]``."""
    paths = {name: KIT.joinpath(*folders, f"{name}.flac") for name in ("kick", "snare")}
    return {name: soundfile.read(path, frames=4 * RATE)[0].T for name, path in paths.items()}


def isr_of_museval(references: dict[str, np.ndarray], estimates: dict[str, np.ndarray]) -> dict[str, float]:
    museval = pytest.importorskip("museval", reason="museval comes with stemprover[evaluate]", exc_type=Exception)
    signals = [np.stack([stems[name].T for name in references]) for stems in (references, estimates)]
    _, isr, _, _ = museval.evaluate(*signals, win=RATE, hop=RATE, mode="v4")
    return dict(zip(references, np.nanmedian(isr, axis=1), strict=True))


def test_isr_of_a_snare_in_the_wrong_place_is_known_and_that_of_museval() -> None:
    """Its left channel is 6 dB too quiet, and nothing else is wrong: medians over windows of one second."""
    true = kit("reference")
    moved = {**kit(), "snare": true["snare"] * [[0.5], [1.0]]}
    windows = np.stack(np.split(true["snare"], 4, axis=1))
    known = np.median(10 * np.log10(np.sum(windows**2, (1, 2)) / np.sum((0.5 * windows[:, 0]) ** 2, 1)))
    ours = bss_eval(true, moved, RATE)["snare"]["isr"]
    assert ours == pytest.approx(isr_of_museval(true, moved)["snare"], abs=0.001)
    assert ours == pytest.approx(known, abs=0.001)


def test_isr_of_separated_stems_is_that_of_museval() -> None:
    """The noise that fills frequencies which the references lack may count for half a dB."""
    ours, theirs = bss_eval(kit("reference"), kit(), RATE), isr_of_museval(kit("reference"), kit())
    assert {name: scores["isr"] for name, scores in ours.items()} == pytest.approx(theirs, abs=0.5)
    assert 15.0 < theirs["snare"] < theirs["kick"] < 45.0
