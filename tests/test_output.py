"""Writing the stems of a set: all or none, and the same whatever the size of a block."""

from __future__ import annotations

import dataclasses
import resource
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import cast

import numpy as np
import pytest
import soundfile

from stemprover import output
from stemprover.enhanced import Settings
from stemprover.errors import OutputError, StemSetError
from stemprover.output import render_set
from stemprover.progress import Silent
from stemprover.render import Renderer
from stemprover.stems import Stem, StemSet, Writer, written_together

RATE = 44_100
BLOCK = 1 << 18
ONE_BLOCK = 1 << 21


@dataclasses.dataclass(frozen=True)
class Added:
    """Stands for a renderer: adds this difference."""

    stem: Stem
    difference: np.ndarray

    def blocks(self, size: int) -> Iterator[np.ndarray]:
        for start in range(0, self.stem.format.samples, size):
            yield self.difference[:, start : start + size]


def noise(samples: int, seed: int = 0, peak: float = 0.1, channels: int = 2) -> np.ndarray:
    return peak * np.random.default_rng(seed).uniform(-1, 1, (channels, samples))


def write(path: Path, audio: np.ndarray, subtype: str = "PCM_16") -> Path:
    soundfile.write(path, audio.T, RATE, subtype)
    return path


def added(stems: StemSet, differences: Sequence[np.ndarray]) -> list[Renderer]:
    return [cast(Renderer, Added(stem, each)) for stem, each in zip(stems.stems, differences, strict=True)]


@pytest.fixture(name="small_files")
def file_size_limit(tmp_path: Path) -> Iterator[None]:
    """No file may grow beyond 16 KiB: writing fails as on a full disk."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    yield
    resource.setrlimit(resource.RLIMIT_FSIZE, before)


@pytest.mark.parametrize("large", ["bass", "vocals"])
def test_a_stem_that_does_not_fit_keeps_the_others_from_appearing(
    tmp_path: Path, small_files: None, large: str
) -> None:
    paths = [
        write(tmp_path / f"{name}.wav", noise(3000, channels=2 if name == large else 1), "PCM_24")
        for name in ("bass", "vocals")
    ]
    (tmp_path / "out").mkdir()
    resource.setrlimit(resource.RLIMIT_FSIZE, (16_384, resource.getrlimit(resource.RLIMIT_FSIZE)[1]))
    with StemSet.open(paths) as stems:
        renderers = added(stems, [np.zeros((stem.format.channels, 3000)) for stem in stems.stems])
        outputs = [tmp_path / "out" / path.name for path in paths]
        with pytest.raises(OutputError, match=f"{large}.*nothing was written"):
            render_set(stems, renderers, outputs, overwrite=False, mixture_consistent=False, progress=Silent())
    assert not list((tmp_path / "out").iterdir())


def test_a_name_that_is_taken_meanwhile_takes_the_other_files_back(tmp_path: Path) -> None:
    with Stem.open(write(tmp_path / "in.wav", noise(100))) as stem:
        first, second = (Writer(tmp_path / "out" / name, stem.format) for name in ("a.wav", "b.wav"))
        native = stem.read_native(0, 100)

    def somebody_writes() -> None:
        assert first.path.exists()  # all files are whole by now, and the first has its name
        second.path.write_text("somebody else's")
        Writer.publish(second)

    def write_both() -> None:
        with written_together([first, second]):
            first.write(native)
            second.write(native)

    second.publish = somebody_writes  # type: ignore[method-assign]
    with pytest.raises(OutputError, match="exists"):
        write_both()
    assert [path.read_text() for path in (tmp_path / "out").iterdir()] == ["somebody else's"]


def rendered(stems: StemSet, differences: Sequence[np.ndarray], consistent: bool = False) -> list[np.ndarray]:
    found = render_set(stems, added(stems, differences), None, False, consistent, Silent())
    return [np.asarray(one.native) for one in found]


def in_blocks_and_in_one(
    monkeypatch: pytest.MonkeyPatch, stems: StemSet, differences: Sequence[np.ndarray], consistent: bool
) -> tuple[list[np.ndarray], list[np.ndarray]]:
    blockwise = rendered(stems, differences, consistent)
    monkeypatch.setattr(output, "_BLOCK", ONE_BLOCK)
    return blockwise, rendered(stems, differences, consistent)


def arrays(parts: Sequence[np.ndarray], mixture: np.ndarray | None = None, classes: Sequence[str] = ()) -> StemSet:
    names = classes or ("vocals", "drums", "bass", "other", "piano", "guitar")
    stems = tuple(Stem.from_array(part, RATE, name, name) for part, name in zip(parts, names, strict=False))
    return StemSet(stems, None if mixture is None else Stem.from_array(mixture, RATE, "generic", "mix"))


def int16(audio: np.ndarray) -> np.ndarray:
    return np.rint(audio * 2**15).clip(-(2**15), 2**15 - 1).astype(np.int16)


@pytest.mark.parametrize("samples", [2 * BLOCK + 5000, BLOCK + 100, BLOCK])
def test_shares_do_not_know_where_blocks_end(monkeypatch: pytest.MonkeyPatch, samples: int) -> None:
    """Loud and quiet tones under a residue: a transform that began anew at each block would click in the stems."""
    time = np.arange(samples) / RATE
    parts = [level * np.sin(2 * np.pi * hz * time)[None].repeat(2, 0) for level, hz in ((0.3, 220.0), (0.05, 230.0))]
    stems = arrays(parts, sum(parts) + noise(samples, 9, 0.02))
    blockwise, whole = in_blocks_and_in_one(monkeypatch, stems, [np.zeros((2, samples))] * 2, consistent=True)
    for found, expected, part in zip(blockwise, whole, parts, strict=True):
        assert np.abs(found - part).max() > 1e-3
        assert np.abs(found - expected).max() < 1e-6


@pytest.mark.parametrize("consistent", [False, True])
@pytest.mark.parametrize("peak", [BLOCK + 10, BLOCK - 10, BLOCK])
def test_a_peak_beside_an_edge_turns_the_repair_down_smoothly(
    monkeypatch: pytest.MonkeyPatch, peak: int, consistent: bool
) -> None:
    parts = [np.full((1, BLOCK + 5000), 0.5), np.full((1, BLOCK + 5000), -0.2)]
    parts[0][:, peak] = 0.95
    differences = [np.full_like(parts[0], 0.1), np.full_like(parts[0], -0.1)]
    stems = arrays(parts, sum(parts))
    blockwise, whole = in_blocks_and_in_one(monkeypatch, stems, differences, consistent)
    for found, expected in zip(blockwise, whole, strict=True):
        np.testing.assert_allclose(found, expected, rtol=0.0, atol=1e-6)
    assert np.abs(blockwise[0]).max() <= 1.0
    gain = (blockwise[0] - parts[0])[0] / 0.1
    assert gain.min() < 0.6
    assert np.abs(np.diff(gain)).max() < 0.01


def test_six_stems_of_16_bits_null_to_half_a_step() -> None:
    parts = [int16(noise(20_000, seed)) for seed in range(6)]
    mixture = int16(sum(noise(20_000, seed) for seed in range(6)) + noise(20_000, 7, 0.03))
    stems = arrays(parts, mixture)
    differences = [noise(20_000, 10 + seed, 0.01) for seed in range(6)]
    done = rendered(stems, differences, consistent=True)
    assert {one.dtype for one in done} == {np.dtype(np.int32)}
    assert all((one & 0xFFFF == 0).all() for one in done)
    error = (sum(one.astype(np.int64) for one in done) >> 16) - mixture
    assert (error == 0).all()


def test_stems_near_full_scale_hand_on_what_they_have_no_room_for() -> None:
    time = np.arange(30_000) / RATE
    loud = 0.97 * np.sin(2 * np.pi * 110.0 * time)[None]
    parts = [int16(loud), int16(-0.9 * loud), int16(0.1 * noise(30_000, 1, channels=1))]
    mixture = int16(0.1 * loud + 0.1 * noise(30_000, 1, channels=1))
    differences = [0.2 * loud, 0.0 * loud, 0.01 * loud]
    done = rendered(arrays(parts, mixture), differences, consistent=True)
    assert np.abs(done[0] / 2.0**31).max() > 0.98  # the limit was reached
    error = (sum(one.astype(np.int64) for one in done) >> 16) - mixture
    assert np.abs(error).max() <= 1


def test_a_sum_beside_its_parts_is_not_counted_twice() -> None:
    vocals, drums, rest = (noise(20_000, seed) for seed in range(3))
    stems = arrays([vocals, drums, 0.95 * (drums + rest)], vocals + drums + rest, ("vocals", "drums", "instrumental"))
    Settings(auto_detect=True, mixture_consistent=True).validate(stems)
    done = rendered(stems, [np.zeros((2, 20_000))] * 3, consistent=True)
    assert np.abs(done[0] + done[2] - (vocals + drums + rest)).max() < 1e-12
    assert np.array_equal(done[1], drums)


@pytest.mark.parametrize(
    ("classes", "level"),
    [(("vocals", "drums"), r"-4\.8 dB left by vocals, drums"), (("vocals", "generic", "other"), "left by")],
)
def test_sets_that_lack_a_stem_or_hold_one_twice_are_refused(classes: tuple[str, ...], level: str) -> None:
    vocals, drums, rest = (noise(20_000, seed) for seed in range(3))
    parts = [vocals, drums] if len(classes) == 2 else [vocals, drums + rest, rest]
    settings = Settings(auto_detect=True, mixture_consistent=True)
    with pytest.raises(StemSetError, match=f"less than -15 dB of their mixture.*{level}"):
        settings.validate(arrays(parts, vocals + drums + rest, classes))
    settings.validate(arrays([vocals, drums + 0.9 * rest], vocals + drums + rest, ("vocals", "instrumental")))
