"""MPEG audio headers: is this an MP3, and does it hold as many bytes as its Xing header says?

Data that is no MP3 must not reach libsndfile, whose decoder would look for frames in it and write to standard error.
Source: ISO/IEC 11172-3 and 13818-3 for frame headers; the Xing header as LAME writes it.
"""

from __future__ import annotations

import struct

__all__ = ["audio_offset", "count_frames", "find_frame", "frame_length", "xing_bytes", "xing_frames"]

_KBPS_1 = {
    1: (32, 64, 96, 128, 160, 192, 224, 256, 288, 320, 352, 384, 416, 448),
    2: (32, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320, 384),
    3: (32, 40, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320),
}
_KBPS_2 = {
    1: (32, 48, 56, 64, 80, 96, 112, 128, 144, 160, 176, 192, 224, 256),
    2: (8, 16, 24, 32, 40, 48, 56, 64, 80, 96, 112, 128, 144, 160),
    3: (8, 16, 24, 32, 40, 48, 56, 64, 80, 96, 112, 128, 144, 160),
}
_RATES = (44_100, 48_000, 32_000)
_RATE_DIVISOR = {3: 1, 2: 2, 0: 4}  # by version bits: MPEG 1, 2, 2.5


def audio_offset(head: bytes) -> int:
    """Return the length of the ID3v2 tag that a file begins with, 0 if there is none; needs ten bytes."""
    if head[:3] != b"ID3" or len(head) < 10:
        return 0
    return 10 + sum((byte & 0x7F) << shift for byte, shift in zip(head[6:10], (21, 14, 7, 0), strict=True))


def frame_length(header: bytes) -> int:
    """Return the length in bytes of the frame with this four-byte header, 0 if it is not one."""
    if len(header) < 4 or header[0] != 0xFF or header[1] & 0xE0 != 0xE0:
        return 0
    version, layer = header[1] >> 3 & 3, 4 - (header[1] >> 1 & 3)
    bitrate, rate = header[2] >> 4, header[2] >> 2 & 3
    if version == 1 or layer == 4 or bitrate in (0, 15) or rate == 3:
        return 0
    bits = 1000 * (_KBPS_1 if version == 3 else _KBPS_2)[layer][bitrate - 1]
    hz, padding = _RATES[rate] // _RATE_DIVISOR[version], header[2] >> 1 & 1
    if layer == 1:
        return (12 * bits // hz + padding) * 4
    slots = 72 if layer == 3 and version != 3 else 144
    return slots * bits // hz + padding


def find_frame(data: bytes) -> int:
    """Return where the first frame begins that is followed by another one or by the end of ``data``, else -1."""
    at = data.find(0xFF)
    while at >= 0:
        length = frame_length(data[at : at + 4])
        following = data[at + length : at + length + 4]
        if length and (len(following) < 4 or frame_length(following)):
            return at
        at = data.find(0xFF, at + 1)
    return -1


def count_frames(data: bytes, at: int) -> int:
    """Count frames that follow each other without a gap, from the one that begins at ``at``."""
    count = 0
    while length := frame_length(data[at : at + 4]):
        count, at = count + 1, at + length
    return count


def xing_bytes(frame: bytes) -> int | None:
    """Return how many bytes of MPEG audio the Xing or Info header in the first frame promises, if it says so."""
    return _xing_field(frame, 2)


def xing_frames(frame: bytes) -> int | None:
    """Return how many MPEG frames the Xing or Info header in the first frame promises, if it says so."""
    return _xing_field(frame, 1)


def _xing_field(frame: bytes, flag: int) -> int | None:
    """Read the frame count (flag 1) or the byte count (flag 2), which follow the flags in this order."""
    tag = max(frame.find(b"Xing"), frame.find(b"Info"))
    if not 0 <= tag <= 64 or len(frame) < tag + 16:
        return None
    flags = struct.unpack_from(">I", frame, tag + 4)[0]
    if not flags & flag:
        return None
    value: int = struct.unpack_from(">I", frame, tag + (12 if flag == 2 and flags & 1 else 8))[0]
    return value
