"""What the design promises to users about files, runs and stereo; test_promises.py has the promises about samples."""

from __future__ import annotations

import dataclasses
import gc
import multiprocessing
import tracemalloc
from collections.abc import Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

import numpy as np
import pytest
import soundfile
from promise_audio import RATE, SETTINGS, burst, native, write
from tiny_base import FlagBand, tiny_enhancer
from tiny_base import tiny_base as tiny_base
from torch import Tensor

from stemprover.enhance import Enhancer
from stemprover.errors import OutputError
from stemprover.networks import Networks
from stemprover.progress import Silent
from stemprover.restoration.control import Condition
from stemprover.stems import Stem, StemSet

SONG = Path(__file__).parent.parent / "examples" / "detroit-garage"


@pytest.fixture(name="enhancer", scope="module")
def enhancer_with_tiny_base(base: Path) -> Enhancer:
    return tiny_enhancer(base, FlagBand())


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
    assert np.abs(total - mixture).max() <= 0.51 / 2**23  # however many stems are rounded


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
    assert np.abs(sum(after) - mixture).max() <= 0.51 * step  # however many stems are rounded
    # The residue holds what toms and cymbals left and what was lost: the quiet hi-hat gets little of the loud kick's.
    changes = [np.sum((new - old) ** 2) for new, old in zip(after, before, strict=True)]
    assert changes[0] < 0.5 * sum(changes)


def test_siblings_change_the_repair(enhancer: Enhancer, tmp_path: Path) -> None:
    mixture = write(tmp_path / "mix.wav", burst() + 0.1 * burst(seconds=5.0)[:, ::-1], subtype="FLOAT")
    stem = Stem.from_array(burst(), RATE)
    alone, informed = enhancer.enhance(stem, SETTINGS), enhancer.enhance(stem, SETTINGS, mixture=mixture)
    assert alone.segments == informed.segments
    assert not np.array_equal(alone.audio, informed.audio)


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


def test_memory_does_not_grow_with_length(base: Path, tmp_path: Path) -> None:
    # In a process of its own, as users run it: what other tests have left in this one delays its collections.
    with ProcessPoolExecutor(1, multiprocessing.get_context("spawn")) as own:
        # The first loads what is used; the others take 80 and 240 seconds of audio.
        _, short, long = own.map(_peak_mb, [base] * 3, [tmp_path] * 3, [1, 16, 48])
    assert long < 1.1 * short + 1.0


def _peak_mb(base: Path, folder: Path, repeats: int) -> float:
    """Peak of what Python allocates, in MB, while bursts are repaired of which only the first eight are loud."""
    rate = 8_000
    enhancer, loud = tiny_enhancer(base, FlagBand()), burst(rate, 1)
    source = write(folder / f"{repeats}.wav", np.zeros((1, 0)), rate)
    with soundfile.SoundFile(source, "w", rate, 1, "PCM_16") as file:
        for place in range(repeats):
            file.write((loud if place < 8 else 0.1 * loud).T)
    gc.collect()
    tracemalloc.start()
    enhancer.enhance(source, SETTINGS, output=folder / f"{repeats}.out.wav")
    reached = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    return reached / 2**20


@pytest.mark.parametrize("sign", [1.0, -1.0])
def test_dual_mono_and_inverted_channels_stay_so(
    enhancer: Enhancer, tmp_path: Path, sign: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    """And one of the channels is repaired, not both: processors that round rows of a batch alike would hide it."""
    restore, rows = Networks.restore, []

    def noted(networks: Networks, condition: Condition, scales: Mapping[str, float], seeds: Sequence[int]) -> Tensor:
        rows.append(len(condition.image))
        return restore(networks, condition, scales, seeds)

    monkeypatch.setattr(Networks, "restore", noted)
    mono = burst(channels=1)
    source = write(tmp_path / "in.wav", np.concatenate([mono, sign * mono]), subtype="FLOAT")
    out = enhancer.enhance(source, SETTINGS).audio
    assert (out[0] != native(source)[0]).any()
    assert np.array_equal(out[1], sign * out[0])
    of_two = sum(rows)
    rows.clear()
    enhancer.enhance(write(tmp_path / "mono.wav", mono, subtype="FLOAT"), SETTINGS)
    assert 0 < of_two == sum(rows)
