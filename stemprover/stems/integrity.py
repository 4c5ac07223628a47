"""Is a file all there? Cheap checks of headers and last pages, without decoding.

libsndfile silently shortens a WAV, AIFF or Ogg file that was cut off and returns no samples for the missing end of an
MP3. A cut-off FLAC fails only when its end is read, see :mod:`stemprover.stems.source`. An MP3 without a Xing header
says nowhere how long it should be, so that a cut cannot be seen.
"""

from __future__ import annotations

import struct
from pathlib import Path
from typing import BinaryIO

from stemprover.errors import AudioError

__all__ = ["check_complete", "truncated"]

_OGG_TAIL = 131_072  # two of the largest possible pages
_UNKNOWN_SIZE = 0xFFFF_FFFF  # written by programs that stream to a pipe; ds64 holds the size in RF64


def truncated(path: Path | str, promised: str, found: str) -> AudioError:
    """Return the error for a file that ends too early."""
    return AudioError(promised, f"{found} in '{path}'", "the file is cut off: copy or export it again")


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


def _check_open_file(path: Path, file: BinaryIO, size: int) -> None:
    head = file.read(12)
    if head[:4] in (b"RIFF", b"RF64") and head[8:] == b"WAVE":
        _check_chunks(path, file, size, "<", b"data")
    elif head[:4] == b"FORM" and head[8:] in (b"AIFF", b"AIFC"):
        _check_chunks(path, file, size, ">", b"SSND")
    elif head[:4] == b"OggS":
        _check_ogg(path, file, size)
    elif head[:3] == b"ID3" or head[:1] == b"\xff":
        _check_mp3(path, file, size)


def _check_chunks(path: Path, file: BinaryIO, size: int, order: str, wanted: bytes) -> None:
    """Compare the size of the chunk that holds the samples with what follows in the file."""
    position, long_size = 12, None
    while position + 8 <= size:
        file.seek(position)
        name, length = struct.unpack(order + "4sI", file.read(8))
        if name == b"ds64":
            long_size = struct.unpack("<8xQ", file.read(16))[0]
        if name == wanted:
            if length == _UNKNOWN_SIZE:
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


def _check_mp3(path: Path, file: BinaryIO, size: int) -> None:
    """Compare the byte count of a Xing or Info header, when there is one, with the file's size."""
    file.seek(0)
    head = file.read(10)
    start = 0
    if head[:3] == b"ID3":
        start = 10 + sum((byte & 0x7F) << shift for byte, shift in zip(head[6:10], (21, 14, 7, 0), strict=True))
    file.seek(start)
    frame = file.read(256)
    tag = max(frame.find(b"Xing"), frame.find(b"Info"))
    if tag < 0 or len(frame) < tag + 16:
        return
    flags = struct.unpack_from(">I", frame, tag + 4)[0]
    if flags & 2:
        promised = struct.unpack_from(">I", frame, tag + (12 if flags & 1 else 8))[0]
        if start + promised > size:
            raise truncated(path, f"{promised} bytes of MP3", f"{size - start} bytes")
