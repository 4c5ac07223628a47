"""One stem: a name, a class, a format and samples that are read on demand."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from stemprover.errors import AudioError
from stemprover.stems.formats import AudioFormat
from stemprover.stems.names import check_stem_class, guess_stem_class
from stemprover.stems.samples import to_float
from stemprover.stems.source import ArraySource, FileSource, MovedSource, Source

__all__ = ["Stem"]

_CHECK_BLOCK = 1 << 18  # samples


@dataclasses.dataclass(frozen=True, slots=True)
class Stem:
    """One stem, opened with :meth:`open` or :meth:`from_array`; a context manager.

    Attributes
    ----------
    name : str
        File name without suffix.
    stem_class : str
        One of ``STEM_CLASSES``.
    format : AudioFormat
        What the file holds.
    path : Path or None
        ``None`` for arrays.
    offset : int
        Sample of the file that is sample 0 here, see :meth:`moved`.
    """

    name: str
    stem_class: str
    format: AudioFormat
    path: Path | None
    _source: Source = dataclasses.field(repr=False, compare=False)
    offset: int = 0

    @classmethod
    def open(cls, path: Path | str, stem_class: str | None = None) -> Stem:
        """Open an audio file; its header and last sample are checked, nothing is decoded yet.

        Raises
        ------
        AudioError
            Missing, empty, cut off, not audio, no samples, or a format that is not supported.
        OptionError
            Unknown ``stem_class``.
        """
        path = Path(path)
        known = guess_stem_class(path) if stem_class is None else check_stem_class(stem_class)
        source = FileSource(path)
        return cls(path.stem, known, source.format, path, source)

    @classmethod
    def from_array(cls, audio: NDArray[Any], sample_rate: int, stem_class: str = "generic", name: str = "stem") -> Stem:
        """Make a stem of an array ``[channels, samples]`` (or ``[samples]``); float32, float64, int16 or int32."""
        known = check_stem_class(stem_class)
        source = ArraySource(np.asarray(audio), sample_rate, name)
        return cls(name, known, source.format, None, source)

    def moved(self, offset: int, samples: int) -> Stem:
        """Return the same stem from sample ``offset`` on (negative: with silence in front), ``samples`` long."""
        source = MovedSource(self._source, offset, samples)
        return dataclasses.replace(self, format=source.format, _source=source, offset=self.offset + offset)

    def read_native(self, start: int, stop: int) -> NDArray[Any]:
        """Read exact samples in the file's own representation.

        Returns
        -------
        ndarray
            ``[channels, stop - start]``; zeros outside the file. ``int32``, left-justified, for PCM;
            ``float32`` or ``float64`` for float files and decoded MP3, Vorbis and Opus.

        Raises
        ------
        AudioError
            If the file ends too early or holds NaN or infinity.
        """
        length = self.format.samples
        first, last = min(max(start, 0), length), min(max(stop, 0), length)
        if last <= first:
            return np.zeros((self.format.channels, max(0, stop - start)), self.format.native_dtype)
        native = self._source.read(first, last)
        if native.dtype != np.int32:
            self._require_finite(native, first)
        if (first, last) == (start, stop):
            return native
        return np.pad(native, ((0, 0), (first - start, stop - last)))

    def read(self, start: int, stop: int) -> NDArray[np.float64]:
        """Read float64 samples in full-scale units, ``[channels, stop - start]``; zeros outside the file."""
        return to_float(self.read_native(start, stop))

    def check(self) -> float:
        """Decode the whole file once, in blocks, so that nothing is written for one that is damaged.

        Returns
        -------
        float
            The highest absolute sample in full-scale units: 0 for silence, above 1 in float files that exceed it.

        Raises
        ------
        AudioError
            As :meth:`read_native`.
        """
        peak = 0.0
        for start in range(0, self.format.samples, _CHECK_BLOCK):
            block = self.read(start, min(start + _CHECK_BLOCK, self.format.samples))
            peak = max(peak, float(np.abs(block).max()))
        return peak

    def _require_finite(self, native: NDArray[Any], start: int) -> None:
        bad = ~np.isfinite(native)
        if bad.any():
            sample = start + int(np.flatnonzero(bad.any(axis=0))[0])
            raise AudioError(
                "finite samples",
                f"NaN or infinity in '{self.path or self.name}' at {sample / self.format.sample_rate:.3f} s",
                "export the file again or remove the bad samples",
            )

    def close(self) -> None:
        """Close the file."""
        self._source.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()
