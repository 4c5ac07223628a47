"""Is a file all there? Cheap checks of headers and last pages, without decoding.

libsndfile silently shortens a WAV, AIFF or Ogg file that was cut off and returns no samples for the missing end of an
MP3. A cut-off FLAC fails only when its end is read, see :mod:`stemprover.stems.source`. An MP3 without a Xing header
says nowhere how long it should be: a cut cannot be seen, and libsndfile guesses. Containers without a check here are
refused.
"""

from __future__ import annotations

import struct
from pathlib import Path
from typing import BinaryIO

from stemprover.errors import AudioError
from stemprover.stems import mpeg

__all__ = ["check_complete", "frames_without_length", "not_audio", "truncated"]

_OGG_TAIL = 131_072  # two of the largest possible pages
_MP3_SEARCH = 131_072  # bytes in which an MP3's first frame must begin
_UNKNOWN_SIZES = (0xFFFF_FFFF, *range(0x7FFF_F000, 0x8000_0000))  # written by programs that stream to a pipe


def truncated(path: Path | str, promised: str, found: str) -> AudioError:
    """Return the error for a file that ends too early."""
    return AudioError(promised, f"{found} in '{path}'", "the file is cut off: copy or export it again")


def not_audio(path: Path | str, reason: str = "not audio or damaged") -> AudioError:
    """Return the error for a file that is nothing we can read."""
    return AudioError("a WAV, FLAC, AIFF, OGG or MP3 file", f"'{path}' ({reason})", "convert it to WAV or FLAC first")


def check_complete(path: Path) -> None:
    """Raise ``AudioError`` if the file is missing, empty, unreadable or ends before its header says."""
    if not path.exists():
        raise AudioError("an audio file", f"no file at '{path}'", "check the path")
    if path.is_dir():
        raise AudioError("an audio file", f"the folder '{path}'", "name a file in it")
    try:
        size = path.stat().st_size
        if size == 0:
            raise AudioError("an audio file", f"the empty file '{path}' (0 bytes)", "export or copy it again")
        with path.open("rb") as file:
            _check_open_file(path, file, size)
    except OSError as error:
        raise AudioError("a readable audio file", f"'{path}' ({error.strerror})", "check its permissions") from error


def frames_without_length(path: Path) -> int:
    """Count the MPEG frames of an MP3 whose header does not say how long it is; 0 for every other file."""
    with path.open("rb") as file:
        head = file.read(12)
        if head[:4] in (b"RIFF", b"RF64", b"FORM", b"OggS", b"fLaC"):
            return 0
        file.seek(mpeg.audio_offset(head))
        data = file.read()
    at = mpeg.find_frame(data[:_MP3_SEARCH])
    if data[:4] == b"fLaC" or at < 0 or mpeg.xing_frames(data[at : at + 200]) is not None:
        return 0
    return mpeg.count_frames(data, at)


def _check_open_file(path: Path, file: BinaryIO, size: int) -> None:
    head = file.read(12)
    if head[:4] in (b"RIFF", b"RF64") and head[8:] == b"WAVE":
        _check_chunks(path, file, size, "<", b"data")
    elif head[:4] == b"FORM" and head[8:] in (b"AIFF", b"AIFC"):
        _check_chunks(path, file, size, ">", b"SSND")
    elif head[:4] == b"OggS":
        _check_ogg(path, file, size)
    elif head[:4] != b"fLaC":
        _check_mp3(path, file, size, mpeg.audio_offset(head))


def _check_chunks(path: Path, file: BinaryIO, size: int, order: str, wanted: bytes) -> None:
    """Compare the size of the chunk that holds the samples with what follows in the file."""
    position, long_size = 12, None
    while position + 8 <= size:
        file.seek(position)
        name, length = struct.unpack(order + "4sI", file.read(8))
        if name == b"ds64":
            long_size = struct.unpack("<8xQ", file.read(16))[0]
        if name == wanted:
            if length in _UNKNOWN_SIZES:
                length = long_size or 0
            if position + 8 + length > size:
                raise truncated(path, f"{length} bytes of samples", f"{size - position - 8} bytes")
            return
        position += 8 + length + length % 2
    raise truncated(path, "a chunk of samples", "none")


def _check_ogg(path: Path, file: BinaryIO, size: int) -> None:
    """The last page must be whole and carry the end-of-stream flag."""
    file.seek(max(0, size - _OGG_TAIL))
    tail = file.read()
    start = tail.rfind(b"OggS")
    page = tail[start:] if start >= 0 else b""
    if len(page) < 27 or len(page) < 27 + page[26] or len(page) < 27 + page[26] + sum(page[27 : 27 + page[26]]):
        raise truncated(path, "a whole last Ogg page", "part of one")
    if not page[5] & 4:
        raise truncated(path, "an end-of-stream mark", "none")


def _check_mp3(path: Path, file: BinaryIO, size: int, start: int) -> None:
    """There must be MPEG frames, and as many bytes as the Xing header says, when there is one."""
    file.seek(start)
    head = file.read(_MP3_SEARCH)
    if head[:4] == b"fLaC":  # an ID3 tag in front of a FLAC file
        return
    at = mpeg.find_frame(head)
    if at < 0:
        raise not_audio(path)
    promised = mpeg.xing_bytes(head[at:])
    if promised is not None and start + at + promised > size:
        raise truncated(path, f"{promised} bytes of MP3", f"{size - start - at} bytes")
