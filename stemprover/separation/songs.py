"""From a song's file to files of its stems, in stretches: memory does not grow with the length of the song."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import numpy as np
import torch

from stemprover.errors import AudioError, PluginError
from stemprover.progress import Progress, Silent
from stemprover.separation.base import Separator
from stemprover.stems import Stem, Writer, resample, written_together

__all__ = ["separate_song", "stem_paths", "take_apart"]

_STRETCH_S = 60
_OVERLAP_S = 4
# Of the overlap the outer quarters are thrown away (a separator knows least at its edges, a resampler rings there) and
# the rest is crossfaded. Whole seconds are whole samples at every rate.
_DISCARD_S = 1


def stem_paths(song: Path, separator: Separator, folder: Path) -> dict[str, Path]:
    """Where the stems of a song go: ``FOLDER/SONG/STEM.wav``, by stem."""
    return {stem: folder / song.stem / f"{stem}.wav" for stem in separator.stems}


def separate_song(
    song: Path,
    separator: Separator,
    outputs: Mapping[str, Path],
    *,
    device: torch.device | None = None,
    overwrite: bool = False,
    progress: Progress | None = None,
) -> None:
    """Separate one file and write every stem as 32-bit float WAV, which cannot clip, at the song's rate and length.

    Parameters
    ----------
    song : Path
        Mono or stereo audio.
    separator : Separator
        The host's own or a plugin's.
    outputs : Mapping[str, Path]
        A file for each of the separator's stems. Either all appear or none.
    device : torch.device, optional
        Where the separator computes; the CPU by default.

    Raises
    ------
    AudioError, OutputError, PluginError
        The song cannot be used, an output cannot be written, or the separator returned something else than promised.
    """
    progress = progress or Silent()
    with Stem.open(song, "generic") as mixture:
        form = mixture.format
        if form.channels > 2:
            raise AudioError("a mono or stereo song", f"{form.channels} channels in '{song}'", "mix it down first")
        mixture.check()
        written = dataclasses.replace(form, container="WAV", subtype="FLOAT")
        writers = {name: Writer(path, written, inputs=[song], overwrite=overwrite) for name, path in outputs.items()}
        with written_together(tuple(writers.values())):
            progress.start("separate", form.samples)
            for block in _blocks(mixture, separator, tuple(outputs), device or torch.device("cpu")):
                for place, writer in enumerate(writers.values()):
                    writer.write(block[place].astype(np.float32))
                progress.advance("separate", block.shape[-1])
            progress.finish("separate")


def _blocks(mixture: Stem, separator: Separator, names: Sequence[str], device: torch.device) -> Iterator[np.ndarray]:
    """Consecutive blocks of all stems, ``[stems, channels, samples]``."""
    rate, samples = mixture.format.sample_rate, mixture.format.samples
    step, overlap, discard = (seconds * rate for seconds in (_STRETCH_S - _OVERLAP_S, _OVERLAP_S, _DISCARD_S))
    fade = overlap - 2 * discard
    # Where both answers agree their sum must be that answer: weights that add up to one.
    rising = np.sin(np.pi / 2 * (np.arange(fade) + 0.5) / fade) ** 2
    tail: np.ndarray | None = None
    for start in range(0, max(samples - overlap, 1), step):
        stop = min(start + step + overlap, samples)
        last = stop == samples
        part = _stretch(mixture, separator, names, device, start, stop)
        if tail is not None:
            part = part[..., discard:]
            part[..., :fade] = part[..., :fade] * rising + tail * (1.0 - rising)
        if last:
            yield part
            return
        yield part[..., : -discard - fade]
        tail = part[..., -discard - fade : -discard].copy()


def _stretch(
    mixture: Stem, separator: Separator, names: Sequence[str], device: torch.device, start: int, stop: int
) -> np.ndarray:
    """Separate samples ``start`` to ``stop`` of the file, at the file's rate and with its channels."""
    rate, channels = mixture.format.sample_rate, mixture.format.channels
    audio = np.broadcast_to(mixture.read(start, stop), (2, stop - start))
    parts = take_apart(separator, audio, rate, names, device)
    return parts.mean(1, keepdims=True) if channels == 1 else parts


def take_apart(
    separator: Separator, audio: np.ndarray, rate: int, names: Sequence[str], device: torch.device | None = None
) -> np.ndarray:
    """Separate audio in memory.

    Parameters
    ----------
    separator : Separator
        The host's own or a plugin's.
    audio : ndarray
        Shape ``[2, samples]``, at most a minute or so.
    rate : int
        Of the audio, in Hz; it is resampled where the separator works at another.
    names : sequence of str
        Which of the separator's stems are wanted.
    device : torch.device, optional
        Where the separator computes; the CPU by default.

    Returns
    -------
    ndarray
        Float64, shape ``[names, 2, samples]``.

    Raises
    ------
    PluginError
        The separator returned something else than promised.
    """
    stereo = np.ascontiguousarray(resample(audio, rate, separator.sample_rate), np.float32)
    found = separator.separate(torch.from_numpy(stereo).to(device or torch.device("cpu")))
    parts = []
    for name in names:
        part = found.get(name)
        if part is None or tuple(part.shape) != stereo.shape or not bool(torch.isfinite(part).all()):
            got = "nothing" if part is None else f"{list(part.shape)}, or samples that are not finite"
            fix = "tell its author; another one is --separator light"
            raise PluginError(f"separator {separator.name} to return {list(stereo.shape)} for {name}", got, fix)
        parts.append(resample(part.double().cpu().numpy(), separator.sample_rate, rate)[:, : audio.shape[1]])
    return np.stack(parts)
