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

from stemprover.errors import OutputError
from stemprover.output import render_set
from stemprover.progress import Silent
from stemprover.render import Renderer
from stemprover.stems import Stem, StemSet, Writer, written_together

RATE = 44_100


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

    second.publish = somebody_writes  # type: ignore[method-assign]
    with pytest.raises(OutputError, match="exists"), written_together([first, second]):
        first.write(native)
        second.write(native)
    assert [path.read_text() for path in (tmp_path / "out").iterdir()] == ["somebody else's"]
