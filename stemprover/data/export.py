"""Rendered songs as folders of stems; training on single notes draws its stems in memory instead."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import numpy as np

from stemprover.data.fluidsynth import find_soundfont, render_midi_song
from stemprover.data.kits import kit_name, render_kit
from stemprover.data.songs import render_song
from stemprover.data.synth import RATE
from stemprover.data.workers import in_processes
from stemprover.errors import OptionError
from stemprover.stems import Stem, Writer

__all__ = ["RENDERERS", "write_songs"]

RENDERERS = ("builtin", "fluidsynth", "drumkit")
_PEAK = 0.9


def write_songs(
    out: Path,
    count: int,
    seconds: float = 20.0,
    seed: int = 0,
    progress: Callable[[int], None] | None = None,
    renderer: str = "builtin",
    soundfont: Path | None = None,
    jobs: int = 1,
) -> int:
    """Write songs ``out/000000/`` and so on: one 16-bit FLAC per stem, and ``mixture.flac``, their exact sum.

    Drum performances are called after their SoundFont and kit.

    Parameters
    ----------
    out : Path
        Folder; songs that are complete are kept, so that an interrupted run goes on where it stopped.
    count : int
        Number of songs that shall be there.
    seconds : float
        Length of each.
    seed : int
        A song depends on the seed, its number, the renderer and the SoundFont only, not on ``jobs``.
    progress : callable, optional
        Called with 1 after each song.
    renderer : str
        ``builtin`` (synthesised notes), ``fluidsynth`` (composed songs with sampled instruments) or ``drumkit`` (drum
        patterns with sampled kits, one stem per piece).
    soundfont : Path, optional
        For ``fluidsynth`` and ``drumkit``; without it one that is installed.
    jobs : int
        Parallel processes.

    Returns
    -------
    int
        Number of songs that were written now.

    Raises
    ------
    TrainingError
        If FluidSynth or a SoundFont is asked for and missing.
    """
    if renderer not in RENDERERS:
        raise OptionError(f"a renderer ({', '.join(RENDERERS)})", f"'{renderer}'", "name one of these")
    used = None if renderer == "builtin" else find_soundfont(soundfont)
    job = _Job(out, seed, seconds, renderer, used)
    missing = [number for number in range(count) if not (job.folder(number) / "mixture.flac").is_file()]
    if progress is not None:
        progress(count - len(missing))
    for _ in in_processes(job.write, missing, jobs, at_once=1):
        if progress is not None:
            progress(1)
    return len(missing)


@dataclasses.dataclass(frozen=True, slots=True)
class _Job:
    """What a worker process needs to know; ``soundfont`` is None for built-in synthesis."""

    out: Path
    seed: int
    seconds: float
    renderer: str
    soundfont: Path | None

    def folder(self, number: int) -> Path:
        name = kit_name(number, self.soundfont) if self.renderer == "drumkit" and self.soundfont else f"{number:06d}"
        return self.out / name

    def write(self, numbers: Sequence[int]) -> list[int]:
        for number in numbers:
            _write_song(self.folder(number), self._render(number))
        return list(numbers)

    def _render(self, number: int) -> Mapping[str, np.ndarray]:
        if self.soundfont is None:
            return render_song((self.seed, number), self.seconds)
        if self.renderer == "drumkit":
            return render_kit(self.seed, number, self.seconds, self.soundfont)
        return render_midi_song((self.seed, number), self.seconds, self.soundfont)


def _write_song(folder: Path, stems: Mapping[str, np.ndarray]) -> None:
    loudest = max(float(np.abs(audio).max()) for audio in (*stems.values(), sum(stems.values())))
    # Rounded before they are added: the mixture is then the sum of the files, not only of what they were made from.
    whole = {name: np.rint(audio * (_PEAK * 32767 / loudest)).astype(np.int16) for name, audio in stems.items()}
    whole["mixture"] = np.asarray(sum(audio.astype(np.int32) for audio in whole.values())).astype(np.int16)
    for name, samples in whole.items():
        with Stem.from_array(samples, RATE, name=name) as stem:
            length = stem.format.samples
            with Writer(folder / f"{name}.flac", stem.format, overwrite=True) as writer:
                writer.write(stem.read_native(0, length))
