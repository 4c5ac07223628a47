"""Atomic writing: a file appears under its name only when it is complete."""

from __future__ import annotations

import contextlib
import errno
import hashlib
import os
import secrets
from collections.abc import Iterable
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import numpy as np
import soundfile
from numpy.typing import NDArray

from stemprover.errors import OutputError
from stemprover.stems.formats import AudioFormat, clear_peak_time, output_format, pcm_bits

__all__ = ["Writer", "part_prefix"]

_PROBE = 1 << 16


class Writer:
    """Write native samples to WAV or FLAC, by suffix; a context manager.

    Samples go to a hidden temporary file in the target's folder. On a clean exit it is synced to disk and renamed;
    on any exception, Ctrl-C included, it is removed, and so are folders made for it. Several files that belong together
    are written by :func:`~stemprover.stems.written_together`.

    Parameters
    ----------
    path : Path
        Target, ending in ``.wav`` or ``.flac``.
    format : AudioFormat
        The input's format; see :func:`output_format` for what becomes of it.
    inputs : iterable of Path
        Files that must not be overwritten.
    overwrite : bool
        Whether an existing file may be replaced.

    Attributes
    ----------
    format : AudioFormat
        What is written.

    Raises
    ------
    OutputError
        At once for a target that is an input, exists, has another suffix or cannot hold the samples; on entering for
        a folder that cannot be written; while writing for a full disk or when the length differs from the format's.
    """

    def __init__(
        self, path: Path | str, format: AudioFormat, *, inputs: Iterable[Path | str] = (), overwrite: bool = False
    ) -> None:
        self.path = Path(path)
        self._part = self.path.with_name(f"{part_prefix(self.path.name)}{secrets.token_hex(8)}.part")
        self.format = output_format(format, self.path)
        self._native_dtype = np.dtype(format.native_dtype)
        self._overwrite = overwrite
        try:
            self._refuse_inputs(inputs)
            self._refuse_existing()
        except OSError as error:  # for example a name that is too long
            raise self._failed(error) from error
        self._written = 0
        self._new_folders: list[Path] = []
        self._finished = self._published = self._is_new = False

    def _refuse_inputs(self, inputs: Iterable[Path | str]) -> None:
        for source in map(Path, inputs):
            same = self.path.resolve() == source.resolve()
            if same or (self.path.exists() and source.exists() and self.path.samefile(source)):
                raise OutputError("an output that is not an input", f"'{self.path}'", "choose another -o or --suffix")

    def _refuse_existing(self) -> None:
        if self.path.is_dir():
            raise OutputError("a file name", f"the folder '{self.path}'", "add a file name")
        if self.path.exists() and not self._overwrite:
            raise OutputError("a new file", f"'{self.path}', which exists", "use --overwrite or another name")

    def __enter__(self) -> Self:
        try:
            self._make_folders()
            with self._part.open("xb"):  # by open() and not by libsndfile: the error says why
                pass
            self._file = soundfile.SoundFile(
                self._part,
                "w",
                self.format.sample_rate,
                self.format.channels,
                self.format.subtype,
                format=self.format.container,
            )
        except (OSError, soundfile.LibsndfileError) as error:
            failed = self._failed(error)
            self._remove()
            raise failed from error
        except BaseException:
            self._remove()
            raise
        return self

    def _make_folders(self) -> None:
        missing = [folder for folder in (self.path.parent, *self.path.parent.parents) if not folder.exists()]
        for folder in reversed(missing):
            folder.mkdir(exist_ok=True)
            self._new_folders.append(folder)

    def write(self, native: NDArray[Any]) -> None:
        """Append native samples, ``[channels, n]``, of the dtype that the input is read as."""
        if native.dtype != self._native_dtype or native.shape[0] != self.format.channels:
            raise ValueError(
                f"need {self._native_dtype} [{self.format.channels}, n], got {native.dtype} {native.shape}"
            )
        if native.dtype.kind == "f" and self.format.native_dtype == "int32":
            native = self._quantise(native)
        try:
            self._file.write(np.ascontiguousarray(native.T))
        except (OSError, soundfile.LibsndfileError, AssertionError) as error:
            raise self._failed(error) from error
        self._written += native.shape[1]

    def _quantise(self, native: NDArray[Any]) -> NDArray[np.int32]:
        """Decoded samples of a lossy file for FLAC; the only place where samples change type."""
        bits = pcm_bits(self.format.subtype)
        scaled = np.rint(native.astype(np.float64) * 2.0 ** (bits - 1))
        if scaled.size and (scaled.max() > 2 ** (bits - 1) or scaled.min() < -(2 ** (bits - 1))):
            raise OutputError(
                "samples within full scale for a FLAC file",
                f"a peak of {np.abs(native).max():.3f}",
                f"write '{self.path.stem}.wav', which is floating point and cannot clip",
            )
        steps: NDArray[np.int32] = np.minimum(scaled, 2 ** (bits - 1) - 1).astype(np.int32)
        return np.left_shift(steps, 32 - bits, dtype=np.int32)

    def finish(self) -> None:
        """Close the temporary file, check that it is whole and sync it to disk; what can fail fails here.

        Raises
        ------
        OutputError
        """
        if self._finished:
            return
        try:
            self._close()
            if self._written != self.format.samples:
                raise OutputError(f"{self.format.samples} samples", f"{self._written}", "report this as a bug")
            if soundfile.info(str(self._part)).frames != self._written:
                raise OSError(errno.ENOSPC, "the file is shorter than what was written to it")
            clear_peak_time(self._part)
            with self._part.open("rb+") as file:
                os.fsync(file.fileno())
            self._refuse_existing()
        except (OSError, soundfile.LibsndfileError) as error:
            raise self._failed(error) from error
        self._finished = True

    def publish(self) -> None:
        """Give the finished file its name; an exception before the writer is left takes a new file back again.

        Raises
        ------
        OutputError
        """
        if self._published:
            return
        self._refuse_existing()
        self._is_new = not self.path.exists()
        try:
            _move(self._part, self.path, self._overwrite)
        except OSError as error:
            raise self._failed(error) from error
        self._published = True

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            if kind is None:
                self.finish()
                self.publish()
                self._new_folders.clear()
            elif self._published and self._is_new:
                with contextlib.suppress(OSError):
                    self.path.unlink()
        finally:
            with contextlib.suppress(OSError, soundfile.LibsndfileError):  # it fails only where finish() has failed
                self._close()
            self._remove()

    def _close(self) -> None:
        if not self._file.closed:
            self._file.close()

    def _remove(self) -> None:
        with contextlib.suppress(OSError):  # it was renamed, or the folder is none
            self._part.unlink()
        for folder in reversed(self._new_folders):
            with contextlib.suppress(OSError):  # not empty: somebody else uses it
                folder.rmdir()
        self._new_folders.clear()

    def _failed(self, error: Exception) -> OutputError:
        reason = getattr(error, "strerror", None) or self._plain_reason() or str(error) or "the disk may be full"
        return OutputError(
            f"to write '{self.path}'", f"an error ({reason})", "check free space and permissions; nothing was written"
        )

    def _plain_reason(self) -> str | None:
        """Why writing fails: libsndfile says no more than "System error.", a plain write does."""
        try:
            with self._part.open("rb+") as file:
                file.seek(0, os.SEEK_END)
                file.write(bytes(_PROBE))
                file.flush()
                os.fsync(file.fileno())
        except OSError as error:
            return error.strerror
        return None


def part_prefix(name: str) -> str:
    """Return how the temporary files of an output begin; what a killed process left of it can be told by that."""
    return f".stemprover-{hashlib.sha256(name.encode()).hexdigest()[:16]}-"


def _move(part: Path, path: Path, overwrite: bool) -> None:
    """Give a finished file its name in one step; without ``overwrite`` that step fails if the name was taken."""
    if not overwrite:
        try:
            os.link(part, path)
            return
        except FileExistsError as error:
            raise OutputError("a new file", f"'{path}', which exists", "use --overwrite or another name") from error
        except OSError:  # a file system without links: another process may come between check and move
            pass
    os.replace(part, path)  # noqa: PTH105  (the call that is known to be atomic)
