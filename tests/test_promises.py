"""What the design promises to users, each as a test of the enhancer from file to file."""

from __future__ import annotations

import dataclasses
import tracemalloc
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch
from tiny_base import FlagBand, tiny_enhancer
from tiny_base import tiny_base as tiny_base

from stemprover.enhance import Enhanced, Enhancer, Settings
from stemprover.errors import OutputError
from stemprover.models import Models
from stemprover.plugins import Plugin, PluginRunner
from stemprover.progress import Silent
from stemprover.spectral.stft import istft
from stemprover.stems import Stem, StemSet
from stemprover.synthesis.base import Vocoder, VocoderInput

SONG = Path(__file__).parent.parent / "examples" / "detroit-garage"
STEMS = ("cymbals", "hihat", "kick", "snare", "toms")
SETTINGS = Settings(auto_detect=True, generic=True, quality="fast", vocoder="input-phase")
RATE = 44_100


@pytest.fixture(name="enhancer", scope="module")
def enhancer_with_tiny_base(base: Path) -> Enhancer:
    return tiny_enhancer(base, FlagBand())


def burst(rate: int = RATE, channels: int = 2, seconds: float = 5.0, peak: float = 0.6) -> np.ndarray:
    """Quiet noise with a loud second in the middle, which the detector flags; ``[channels, samples]``."""
    rng = np.random.default_rng(4)
    audio = 0.002 * rng.standard_normal((channels, round(rate * seconds)))
    middle = slice(round(rate * (seconds / 2 - 0.5)), round(rate * (seconds / 2 + 0.5)))
    time_s = np.arange(middle.stop - middle.start) / rate
    tones = [np.sin(2 * np.pi * 220.0 * (1 + channel) * time_s) for channel in range(channels)]
    audio[:, middle] += peak * np.stack(tones) * np.hanning(time_s.size)
    return audio


def write(path: Path, audio: np.ndarray, rate: int = RATE, subtype: str = "PCM_16") -> Path:
    soundfile.write(path, audio.T, rate, subtype)
    return path


def native(path: Path) -> np.ndarray:
    with Stem.open(path) as stem:
        return stem.read_native(0, stem.format.samples)


def inside(enhanced: Enhanced) -> np.ndarray:
    """Which samples lie in repaired segments."""
    form = enhanced.stem.format
    mask = np.zeros(form.samples, bool)
    for segment in enhanced.segments:
        where = segment.at(form.sample_rate, form.samples)
        mask[where.start : where.stop] = True
    return mask


# 1. Untouched is untouched.


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
    enhancer = Enhancer(InventiveModels(base, "cpu", "float32"), (), detectors=[FlagBand()])
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


# 2. No harm: strength is wet/dry, without comb filtering.


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


# 3. The whole stem set helps.


def test_consistent_stems_null_against_the_mixture(base: Path, tmp_path: Path) -> None:
    rng = np.random.default_rng(1)
    stems = {name: burst(peak=0.3) + 0.01 * rng.standard_normal((2, 5 * RATE)) for name in ("vocals", "bass", "other")}
    for name, audio in stems.items():
        write(tmp_path / f"{name}.wav", audio, subtype="PCM_24")
    write(tmp_path / "mix.wav", sum(stems.values()) + 0.005 * rng.standard_normal((2, 5 * RATE)), subtype="PCM_24")
    outputs = [tmp_path / "out" / f"{name}.wav" for name in sorted(stems)]
    settings = dataclasses.replace(SETTINGS, mixture_consistent=True)
    with StemSet.open(tmp_path) as opened:
        results = tiny_enhancer(base, FlagBand()).enhance_set(opened, settings, outputs=outputs)
    assert all(result.plan.items for result in results)
    total = sum(result.audio for result in results)
    mixture = soundfile.read(tmp_path / "mix.wav")[0].T
    assert np.abs(total - mixture).max() <= 3 * 0.51 / 2**23  # each stem is rounded once


def test_real_stems_null_against_their_mixture_to_16_bits(base: Path, tmp_path: Path) -> None:
    """Separated stems never quite sum to the mixture; what is left moves to where it sounds, not to one stem."""
    kit = SONG.parent / "east-bay"
    outputs = [tmp_path / f"{name}.wav" for name in ("hihat", "kick", "snare")]
    settings = dataclasses.replace(SETTINGS, mixture_consistent=True)
    with StemSet.open(kit) as stems:
        before = [stem.read(0, stem.format.samples) for stem in stems.stems]
        assert stems.mixture is not None
        mixture = stems.mixture.read(0, stems.mixture.format.samples)
        tiny_enhancer(base, FlagBand(above=0.05)).enhance_set(stems, settings, outputs=outputs)
    after = [soundfile.read(path)[0].T for path in outputs]
    assert {soundfile.info(path).subtype for path in outputs} == {"PCM_16"}
    step = 1 / 2**15
    assert np.abs(sum(before) - mixture).max() > 100 * step
    assert np.abs(sum(after) - mixture).max() <= 3 * 0.51 * step  # each of three stems is rounded once
    # The residue holds what toms and cymbals left and what was lost: the quiet hi-hat gets little of the loud kick's.
    changes = [np.sum((new - old) ** 2) for new, old in zip(after, before, strict=True)]
    assert changes[0] < 0.5 * sum(changes)


def test_siblings_change_the_repair(enhancer: Enhancer, tmp_path: Path) -> None:
    mixture = write(tmp_path / "mix.wav", burst() + 0.1 * burst(seconds=5.0)[:, ::-1], subtype="FLOAT")
    stem = Stem.from_array(burst(), RATE)
    alone, informed = enhancer.enhance(stem, SETTINGS), enhancer.enhance(stem, SETTINGS, mixture=mixture)
    assert alone.segments == informed.segments
    assert not np.array_equal(alone.audio, informed.audio)


# 4. Nothing is lost.


class Interrupted(Silent):
    """Progress that is interrupted in the middle of a stage, as Ctrl-C would."""

    def __init__(self, stage: str) -> None:
        self.stage = stage

    def advance(self, stage: str, amount: float) -> None:
        if stage == self.stage:
            raise KeyboardInterrupt


@pytest.mark.parametrize("stage", ["detect", "restore", "write"])
def test_interruption_leaves_nothing_behind(enhancer: Enhancer, tmp_path: Path, stage: str) -> None:
    source = write(tmp_path / "in.wav", burst())
    with pytest.raises(KeyboardInterrupt):
        enhancer.enhance(source, SETTINGS, output=tmp_path / "new" / "out.wav", progress=Interrupted(stage))
    assert list(tmp_path.iterdir()) == [source]


def test_inputs_are_never_overwritten(enhancer: Enhancer, tmp_path: Path) -> None:
    source, mixture = write(tmp_path / "in.wav", burst()), write(tmp_path / "mix.wav", 2 * burst(peak=0.3))
    for output in (source, mixture):
        content = output.read_bytes()
        with pytest.raises(OutputError, match="not an input"):
            enhancer.enhance(source, SETTINGS, mixture=mixture, output=output, overwrite=True)
        assert output.read_bytes() == content


# 5. You can see why.


def test_a_dry_run_plans_what_a_run_does_and_writes_nothing(enhancer: Enhancer, tmp_path: Path) -> None:
    source = write(tmp_path / "in.wav", burst())
    planned = enhancer.enhance(source, SETTINGS, output=tmp_path / "out.wav", plan_only=True)
    assert list(tmp_path.iterdir()) == [source]
    done = enhancer.enhance(source, SETTINGS)
    assert planned.plan == done.plan
    assert planned.segments == done.segments
    (item,) = done.plan.items
    assert item.start_s < 2.1
    assert item.end_s > 2.9
    assert (item.artifact, item.adapter, item.strength) == ("bleed/drums", "base", 1.0)


# 6. Repeatable.


def test_same_seed_same_samples_in_any_order_of_files(base: Path) -> None:
    stems = [Stem.from_array(audio, RATE) for audio in (burst(), burst(peak=0.4)[:, ::-1], burst(seconds=6.0))]

    def run(order: tuple[int, ...], seed: int = 0) -> dict[int, np.ndarray]:
        enhancer = tiny_enhancer(base, FlagBand())
        settings = dataclasses.replace(SETTINGS, seed=seed, quality="balanced")
        return {place: enhancer.enhance(stems[place], settings).audio for place in order}

    first, second = run((0, 1, 2)), run((2, 0, 1, 0))
    for place, audio in first.items():
        assert np.array_equal(audio, second[place])
    assert not np.array_equal(first[0], run((0,), seed=1)[0])


# 7. Any length.


def test_memory_does_not_grow_with_length(base: Path, tmp_path: Path) -> None:
    rate = 8_000
    enhancer = tiny_enhancer(base, FlagBand())
    loud = burst(rate, 1)

    def peak(repeats: int) -> float:
        source = write(tmp_path / f"{repeats}.wav", np.zeros((1, 0)), rate)
        with soundfile.SoundFile(source, "w", rate, 1, "PCM_16") as file:
            for place in range(repeats):
                file.write((loud if place < 8 else 0.1 * loud).T)
        tracemalloc.start()
        enhancer.enhance(source, SETTINGS, output=tmp_path / f"{repeats}.out.wav")
        reached = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        return reached / 2**20

    peak(1)  # what is imported and loaded on first use
    short, long = peak(16), peak(48)  # 80 and 240 seconds
    assert long < 1.1 * short + 1.0


# The stereo image.


@pytest.mark.parametrize("sign", [1.0, -1.0])
def test_dual_mono_and_inverted_channels_stay_so(enhancer: Enhancer, tmp_path: Path, sign: float) -> None:
    mono = burst(channels=1)
    source = write(tmp_path / "in.wav", np.concatenate([mono, sign * mono]), subtype="FLOAT")
    out = enhancer.enhance(source, SETTINGS).audio
    assert (out[0] != native(source)[0]).any()
    assert np.array_equal(out[1], sign * out[0])
