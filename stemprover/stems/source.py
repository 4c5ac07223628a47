"""Where samples come from: an audio file or an array, both read in blocks from any position."""

from __future__ import annotations

import dataclasses
import threading
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import soundfile
from numpy.typing import NDArray

from stemprover.errors import AudioError
from stemprover.stems.formats import AudioFormat, check_format
from stemprover.stems.integrity import check_complete, frames_without_length, not_audio, truncated

__all__ = ["ArraySource", "FileSource", "MovedSource", "Source"]

_PREROLL = 65_536  # samples; decoders of perceptual codecs need a run-up to return the same samples after a jump
_KEEP = 1 << 19  # samples per channel of a lossy file that stay decoded; steps back within them cost nothing
_LOSSY_BLOCK = 65_536  # samples per decoder call
_MP3_FRAME = 1152  # samples; half of it below 32 kHz


class Source(Protocol):
    """Native samples of one stem."""

    format: AudioFormat

    def read(self, start: int, stop: int) -> NDArray[Any]:
        """Return native samples ``[channels, stop - start]``; the range lies within the file."""
        ...

    def close(self) -> None:
        """Give back the file."""
        ...


class FileSource:
    """Samples of an audio file, decoded on demand.

    Lossy files are decoded from start to end wherever possible: libsndfile's Vorbis decoder returns other samples
    after a seek than when it comes from the start, and its MP3 decoder rounds mono files differently at other block
    lengths. Therefore they are decoded in blocks of one length, the last samples stay in memory for steps back, and
    after a longer jump decoding starts a little earlier.
    """

    def __init__(self, path: Path) -> None:
        check_complete(path)
        self._path = path
        self._lock = threading.Lock()
        with _open(path) as probe:
            samples = _length(path, probe)
            self.format = AudioFormat(probe.samplerate, probe.channels, samples, probe.format, probe.subtype)
            check_format(self.format, f"'{path}'")
            if not probe.seekable():
                raise AudioError("a file that can be read from any position", f"'{path}'", "convert it to WAV or FLAC")
            self._check_last_sample(probe)
        self._file = _open(path)
        self._position = 0
        self._recent = self._empty()

    def _empty(self) -> NDArray[Any]:
        return np.zeros((0, self.format.channels), self.format.native_dtype)

    def _check_last_sample(self, probe: soundfile.SoundFile) -> None:
        try:
            probe.seek(self.format.samples - 1)
            found = len(probe.read(1))
        except soundfile.LibsndfileError as error:
            raise self._cut_off("an earlier end") from error
        if found != 1:
            raise self._cut_off("an earlier end")

    def read(self, start: int, stop: int) -> NDArray[Any]:
        """Return native samples ``[channels, stop - start]``; ``AudioError`` if the file ends before ``stop``."""
        with self._lock:
            if self._file.closed:
                raise AudioError("an open stem", f"'{self._path}' after close()", "open it again")
            try:
                data = self._read_lossy(start, stop) if self.format.is_lossy else self._read_exact(start, stop)
            except soundfile.LibsndfileError as error:
                raise self._cut_off(f"an error ({error.error_string})") from error
        if len(data) != stop - start:
            raise self._cut_off(f"{start + len(data)}")
        return data.T

    def _decode(self, count: int) -> NDArray[Any]:
        data: NDArray[Any] = self._file.read(count, dtype=self.format.native_dtype, always_2d=True)
        self._position += len(data)
        return data

    def _read_exact(self, start: int, stop: int) -> NDArray[Any]:
        self._position = self._file.seek(start)
        return self._decode(stop - start)

    def _read_lossy(self, start: int, stop: int) -> NDArray[Any]:
        if not self._position - len(self._recent) <= start <= self._position + _PREROLL:
            self._jump(max(0, start - _PREROLL) // _LOSSY_BLOCK * _LOSSY_BLOCK)
        blocks = [self._recent]
        first = self._position - len(self._recent)
        while self._position < stop:
            blocks.append(self._decode(min(_LOSSY_BLOCK, self.format.samples - self._position)))
            if not len(blocks[-1]):
                break
        self._recent = np.concatenate(blocks)
        data = self._recent[start - first : stop - first].copy()
        self._recent = self._recent[-_KEEP:]
        return data

    def _jump(self, position: int) -> None:
        if position == 0:  # a fresh decoder, not one that was moved back
            self._file.close()
            self._file = _open(self._path)
        else:
            self._file.seek(position)
        self._position = position
        self._recent = self._empty()

    def _cut_off(self, found: str) -> AudioError:
        return truncated(self._path, f"{self.format.samples} readable samples", found)

    def close(self) -> None:
        """Close the file; reading afterwards is an error."""
        with self._lock:
            self._file.close()
            self._recent = self._empty()


def _open(path: Path) -> soundfile.SoundFile:
    try:
        return soundfile.SoundFile(path)
    except soundfile.LibsndfileError as error:
        raise not_audio(path, error.error_string.strip(" .")) from error
    except TypeError as error:  # soundfile wants to be told the rate of .raw files
        raise not_audio(path, "samples without a header") from error


def _length(path: Path, probe: soundfile.SoundFile) -> int:
    """Return how many samples can be read; an MP3 without a length is decoded once to see.

    libsndfile guesses such a length from the first frame and never reads beyond it: too high a guess does no harm, too
    low a one (variable bit rate) would lose the end.
    """
    frames = frames_without_length(path)
    if not frames:
        return int(probe.frames)
    if probe.frames < (frames - 2) * (_MP3_FRAME if probe.samplerate >= 32_000 else _MP3_FRAME // 2):
        fix = "convert it to WAV or FLAC first"
        raise AudioError("a file that says how long it is", f"no length in '{path}', an MP3 of variable bit rate", fix)
    with _open(path) as file:
        return sum(iter(lambda: len(file.read(_LOSSY_BLOCK, dtype="float32")), 0))


class ArraySource:
    """Samples of an array in memory."""

    def __init__(self, audio: NDArray[Any], sample_rate: int, name: str) -> None:
        subtypes = {"int16": "PCM_16", "int32": "PCM_32", "float32": "FLOAT", "float64": "DOUBLE"}
        if audio.ndim == 1:
            audio = audio[None]
        if audio.ndim != 2 or audio.dtype.name not in subtypes:
            raise AudioError(
                "an array [channels, samples] of float32, float64, int16 or int32",
                f"{audio.dtype.name} of shape {list(audio.shape)}",
                "convert it first",
            )
        if audio.shape[0] > max(64, audio.shape[1]):
            raise AudioError("an array [channels, samples]", f"shape {list(audio.shape)}", "transpose it")
        self.format = AudioFormat(sample_rate, audio.shape[0], audio.shape[1], "WAV", subtypes[audio.dtype.name])
        check_format(self.format, f"'{name}'")
        is_short = audio.dtype == np.int16
        self._audio: NDArray[Any] = audio.astype(np.int32) << 16 if is_short else audio.copy()

    def read(self, start: int, stop: int) -> NDArray[Any]:
        """Return a copy of the samples from ``start`` to ``stop``."""
        return self._audio[:, start:stop].copy()

    def close(self) -> None:
        """Nothing to give back."""


class MovedSource:
    """Another source's samples from ``offset`` on, cut or padded with zeros to ``samples``."""

    def __init__(self, source: Source, offset: int, samples: int) -> None:
        self.format = dataclasses.replace(source.format, samples=samples)
        self._source = source
        self._offset = offset

    def read(self, start: int, stop: int) -> NDArray[Any]:
        """Return samples ``start`` to ``stop`` of the moved signal."""
        start, stop, length = start + self._offset, stop + self._offset, self._source.format.samples
        first, last = min(max(start, 0), length), min(max(stop, 0), length)
        if last <= first:
            return np.zeros((self.format.channels, stop - start), self.format.native_dtype)
        return np.pad(self._source.read(first, last), ((0, 0), (first - start, stop - last)))

    def close(self) -> None:
        """Close the source."""
        self._source.close()
