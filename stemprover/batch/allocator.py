"""Keep the memory of a process flat over hours.

The C library of most Linux systems gives threads arenas of their own and never hands back what lies below something
that is still in use. Blocks of a few megabytes, of which every repair needs many, then leave holes: without any leak,
what is resident creeps up with the length of a file and with the number of files.
"""

from __future__ import annotations

import ctypes
import os
import sys

__all__ = ["settle_allocator"]

# As in glibc's malloc.h. Blocks from 8 MiB on go back to the system when they are freed; lower thresholds kept less
# memory, but asking the system for every block made repairs slower.
_OPTIONS = {"M_ARENA_MAX": (-8, 1), "M_MMAP_THRESHOLD": (-3, 8 << 20), "M_TRIM_THRESHOLD": (-1, 128 << 20)}


def settle_allocator() -> None:
    """Let this process use one arena, and fixed thresholds instead of growing ones (mallopt(3)).

    Belongs to whoever owns the process: commands and workers call it, the library does not. Nothing happens with other
    C libraries, or where the environment sets the allocator's options itself.
    """
    chosen = any(name.startswith("MALLOC_") for name in os.environ) or "malloc" in os.environ.get("GLIBC_TUNABLES", "")
    if sys.platform != "linux" or chosen:
        return
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)  # musl has none
    if mallopt is not None:
        for option, value in _OPTIONS.values():
            mallopt(option, value)
