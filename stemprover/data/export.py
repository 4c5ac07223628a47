"""Synthesised songs as folders of stems, for users' own experiments; training draws its stems in memory."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np

from stemprover.data.songs import render_song
from stemprover.data.synth import RATE
from stemprover.stems import Stem, Writer

__all__ = ["write_songs"]

_PEAK = 0.9


def write_songs(
    out: Path, count: int, seconds: float = 20.0, seed: int = 0, progress: Callable[[int], None] | None = None
) -> int:
    """Write songs ``out/000000/`` and so on: one 16-bit FLAC per stem, and ``mixture.flac``, their exact sum.

    Parameters
    ----------
    out : Path
        Folder; songs that are complete are kept, so that an interrupted run goes on where it stopped.
    count : int
        Number of songs that shall be there.
    seconds : float
        Length of each.
    seed : int
        A song depends on the seed and its number only.
    progress : callable, optional
        Called with 1 after each song.

    Returns
    -------
    int
        Number of songs that were written now.
    """
    written = 0
    for number in range(count):
        folder = out / f"{number:06d}"
        if not (folder / "mixture.flac").is_file():
            _write_song(folder, (seed, number), seconds)
            written += 1
        if progress is not None:
            progress(1)
    return written


def _write_song(folder: Path, seed: tuple[int, int], seconds: float) -> None:
    stems = render_song(seed, seconds)
    loudest = max(float(np.abs(audio).max()) for audio in (*stems.values(), sum(stems.values())))
    # Rounded before they are added: the mixture is then the sum of the files, not only of what they were made from.
    whole = {name: np.rint(audio * (_PEAK * 32767 / loudest)).astype(np.int16) for name, audio in stems.items()}
    whole["mixture"] = np.asarray(sum(audio.astype(np.int32) for audio in whole.values())).astype(np.int16)
    for name, samples in whole.items():
        with Stem.from_array(samples, RATE, name=name) as stem:
            length = stem.format.samples
            with Writer(folder / f"{name}.flac", stem.format, overwrite=True) as writer:
                writer.write(stem.read_native(0, length))
