"""What the design promises to users, each as a test of the enhancer from file to file."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch
from promise_audio import RATE, SETTINGS, burst, native, write
from tiny_base import FlagBand, tiny_enhancer
from tiny_base import tiny_base as tiny_base

from stemprover.enhance import Enhanced, Enhancer
from stemprover.models import Models
from stemprover.plugins import Plugin, PluginRunner
from stemprover.spectral.stft import istft
from stemprover.stems import Stem
from stemprover.synthesis.base import Vocoder, VocoderInput
from stemprover.synthesis.gate import constant_gate

SONG = Path(__file__).parent.parent / "examples" / "detroit-garage"


@pytest.fixture(name="enhancer", scope="module")
def enhancer_with_tiny_base(base: Path) -> Enhancer:
    return tiny_enhancer(base, FlagBand())


def inside(enhanced: Enhanced) -> np.ndarray:
    """Which samples lie in repaired segments."""
    form = enhanced.stem.format
    mask = np.zeros(form.samples, bool)
    for segment in enhanced.segments:
        where = segment.at(form.sample_rate, form.samples)
        mask[where.start : where.stop] = True
    return mask


@pytest.mark.parametrize(
    ("suffix", "subtype", "rate", "channels"),
    [
        (".wav", "PCM_16", 44_100, 2),
        (".wav", "PCM_24", 48_000, 1),
        (".flac", "PCM_24", 96_000, 2),
        (".wav", "FLOAT", 44_100, 6),
        (".wav", "DOUBLE", 22_050, 1),
        (".flac", "PCM_16", 8_000, 1),
        (".wav", "PCM_24", 192_000, 2),
        (".wav", "FLOAT", 44_101, 1),
    ],
)
def test_format_is_kept_and_samples_outside_segments_are_bit_identical(
    enhancer: Enhancer, tmp_path: Path, suffix: str, subtype: str, rate: int, channels: int
) -> None:
    source = write(tmp_path / f"in{suffix}", burst(rate, channels), rate, subtype)
    enhanced = enhancer.enhance(source, SETTINGS, output=tmp_path / f"out{suffix}")
    before, after = soundfile.info(source), soundfile.info(tmp_path / f"out{suffix}")
    for key in ("samplerate", "channels", "frames", "format", "subtype"):
        assert getattr(before, key) == getattr(after, key)
    old, new = native(source), native(tmp_path / f"out{suffix}")
    mask = inside(enhanced)
    assert 0.1 < mask.mean() < 0.9
    assert np.array_equal(old[:, ~mask], new[:, ~mask])
    assert (old[:, mask] != new[:, mask]).mean() > 0.05
    assert np.isfinite(new.astype(np.float64)).all()


def test_real_stem_keeps_what_is_outside_its_segments(base: Path, tmp_path: Path) -> None:
    enhancer = tiny_enhancer(base, FlagBand(above=0.05, low_hz=200.0, high_hz=8000.0))
    enhanced = enhancer.enhance(SONG / "kick.flac", SETTINGS, mixture=SONG / "mix.flac", output=tmp_path / "kick.flac")
    old, new = native(SONG / "kick.flac"), native(tmp_path / "kick.flac")
    mask = inside(enhanced)
    assert 0.1 < mask.mean() < 0.95
    assert np.array_equal(old[:, ~mask], new[:, ~mask])
    assert (old[:, mask] != new[:, mask]).any()
    # Repaired bands end at 8 kHz plus a slope: above, the change is small against the change below.
    spectrum = np.abs(np.fft.rfft((new.astype(np.float64) - old)[0])) ** 2
    hz = np.fft.rfftfreq(old.shape[1], 1 / RATE)
    assert spectrum[hz > 11_000].sum() < 0.01 * spectrum[hz < 8000].sum()


def test_nothing_found_leaves_every_sample(base: Path, tmp_path: Path) -> None:
    enhanced = tiny_enhancer(base, FlagBand(above=2.0)).enhance(
        SONG / "snare.flac", SETTINGS, output=tmp_path / "snare.flac"
    )
    assert enhanced.detections == enhanced.plan.items == enhanced.segments == ()
    assert np.array_equal(native(SONG / "snare.flac"), native(tmp_path / "snare.flac"))


def test_what_no_adapter_repairs_is_reported_and_left_alone(enhancer: Enhancer) -> None:
    stem = Stem.from_array(burst(), RATE, "vocals")
    enhanced = enhancer.enhance(stem, dataclasses.replace(SETTINGS, generic=False))
    assert enhanced.plan.items == ()
    assert [found.artifact for found in enhanced.plan.unrepaired] == ["bleed/drums"]
    assert enhanced.plan.unrepaired[0].install
    assert np.array_equal(enhanced.audio, burst())


@pytest.mark.parametrize("subtype", ["PCM_16", "FLOAT"])
def test_silence_stays_silent(base: Path, tmp_path: Path, subtype: str) -> None:
    silence = write(tmp_path / "in.wav", np.zeros((2, 3 * RATE)), subtype=subtype)
    mixture = write(tmp_path / "mix.wav", burst(seconds=3.0), subtype=subtype)
    enhanced = tiny_enhancer(base, FlagBand(above=-1.0)).enhance(silence, SETTINGS, mixture=mixture)
    assert (enhanced.audio == 0).all()


class Inventive:
    """Vocoder that answers with the siblings and a tone of its own, whatever it is given."""

    name = "inventive"

    def synthesise(self, request: VocoderInput) -> torch.Tensor:
        assert request.siblings is not None
        return istft(request.siblings, request.n_samples) + 0.01


class InventiveModels(Models):
    """Models whose vocoder is :class:`Inventive`."""

    def vocoder(self, name: str, plugins: Sequence[Plugin], runner: PluginRunner) -> Vocoder:
        return Inventive()


def test_digital_silence_stays_silent_whatever_the_vocoder_invents(base: Path, tmp_path: Path) -> None:
    audio = burst()
    mixture = write(tmp_path / "mix.wav", audio + 0.1, subtype="FLOAT")
    audio[1] = 0.0
    pause = slice(round(2.4 * RATE), round(2.6 * RATE))
    audio[0, pause] = 0.0
    enhancer = Enhancer(InventiveModels(base, "cpu", "float32"), (), [FlagBand()], constant_gate(1.0))
    out = enhancer.enhance(Stem.from_array(audio, RATE), SETTINGS, mixture=mixture).audio
    assert np.abs(out[0] - audio[0]).max() > 0.01
    assert (out[0, pause] == 0).all()
    assert (out[1] == 0).all()


@pytest.mark.parametrize("subtype", ["PCM_16", "FLOAT"])
def test_loud_stems_get_no_new_clipping(base: Path, tmp_path: Path, subtype: str) -> None:
    loud = burst(peak=0.99)
    loud /= np.abs(loud).max()
    source = write(tmp_path / "in.wav", loud, subtype=subtype)
    output = tmp_path / "out.wav"
    louder = tiny_enhancer(base, FlagBand(severity=1.0))
    enhanced = louder.enhance(source, SETTINGS, output=output)
    new = native(output).astype(np.float64)
    full = 1.0 if subtype == "FLOAT" else 2.0**31 - 2.0**16
    assert np.abs(new).max() <= (1.0 if subtype == "FLOAT" else 2.0**31)
    at_top = np.abs(new) >= full
    assert at_top.any()  # the repair wanted more
    assert not (at_top[:, 1:] & at_top[:, :-1]).any()  # a limited peak touches full scale, it is not cut flat
    assert enhanced.plan.items


def test_strength_zero_is_the_identity(enhancer: Enhancer, tmp_path: Path) -> None:
    source = write(tmp_path / "in.wav", burst(), subtype="PCM_24")
    enhancer.enhance(source, dataclasses.replace(SETTINGS, strength=0.0), output=tmp_path / "out.wav")
    assert soundfile.read(source)[0].tobytes() == soundfile.read(tmp_path / "out.wav")[0].tobytes()


def test_half_strength_is_half_of_the_difference(enhancer: Enhancer) -> None:
    audio = burst(peak=0.2)  # low enough for the limiter to stay out of it
    stem = Stem.from_array(audio, RATE)
    full, half = (
        enhancer.enhance(stem, dataclasses.replace(SETTINGS, strength=strength)).audio - audio
        for strength in (1.0, 0.5)
    )
    assert 0.01 < np.abs(full).max() < 0.8
    assert np.abs(half - full / 2).max() < 1e-5 * np.abs(full).max() + 1e-7


@pytest.mark.parametrize("frequency", [110.0, 997.0])
def test_segments_that_were_repaired_differently_meet_without_a_click(enhancer: Enhancer, frequency: float) -> None:
    """A tone is repaired in several segments; the repair bends no more where they meet than inside them."""
    time = np.arange(9 * RATE) / RATE
    stem = Stem.from_array(np.tile(0.3 * np.sin(2 * np.pi * frequency * time), (1, 1)).astype(np.float32), RATE)
    enhanced = enhancer.enhance(stem, dataclasses.replace(SETTINGS, vocoder="embedded"))
    assert len(enhanced.segments) > 2
    repair = (enhanced.audio - stem.read(0, time.size))[0]
    assert np.abs(repair).max() > 1e-3
    bend = np.abs(np.diff(repair, 2))
    edges = np.unique([round(edge * RATE) for one in enhanced.segments for edge in (one.start_s, one.stop_s)])
    edges = edges[(edges > RATE // 10) & (edges < time.size - RATE // 10)]
    at_joins = np.zeros(bend.size, bool)
    for edge in edges:
        at_joins[edge - 300 : edge + 300] = True
    assert bend[at_joins].max() <= 1.1 * bend[~at_joins].max()


def test_two_detectors_of_one_artifact_both_count(base: Path) -> None:
    """Whatever their order, each cell is judged by the one that is surer of it."""
    low, high = FlagBand(high_hz=2_000.0, severity=0.3), FlagBand(low_hz=6_000.0, severity=0.9)
    audio = np.random.default_rng(0).normal(0.0, 0.2, (1, 2 * RATE)).astype(np.float32)
    found = [tiny_enhancer(base, *order).detect(Stem.from_array(audio, RATE)) for order in ((low, high), (high, low))]
    assert found[0] == found[1]
    assert sorted(round(one.severity, 2) for one in found[0]) == [0.3, 0.9]
