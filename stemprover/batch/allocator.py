"""Keep the memory of a process flat over hours.

The C library of most Linux systems gives threads arenas of their own and never hands back what lies below something
that is still in use. Blocks of a few megabytes, of which every repair needs many, then leave holes: without any leak,
what is resident creeps up with the length of a file and with the number of files.
"""

from __future__ import annotations

import ctypes
import os
import sys

__all__ = ["settle_allocator", "settled_environment"]

# As in glibc's malloc.h. Lower thresholds keep less memory, but asking the system for blocks again and again makes
# repairs slower: benchmarks/speed.py measures both, with other values where the environment sets them.
_VARIABLES = {
    "MALLOC_ARENA_MAX": (-8, 1),
    "MALLOC_MMAP_THRESHOLD_": (-3, 32 << 20),
    "MALLOC_TRIM_THRESHOLD_": (-1, 512 << 20),
}
# A training step asks for the same gigabytes as the one before it: nothing is handed back in between. Asked for anew,
# each page is filled with zeros by the system first, which takes a good part of a step's time.
_KEEP_ALL = {
    "MALLOC_ARENA_MAX": (-8, 1),
    "MALLOC_MMAP_MAX_": (-4, 0),
    "MALLOC_TRIM_THRESHOLD_": (-1, -1),
}


def settle_allocator(keep_all: bool = False) -> None:
    """Let this process use one arena, and fixed thresholds instead of growing ones (mallopt(3)).

    Belongs to whoever owns the process, before it starts threads: commands call it, the library does not. Nothing
    happens with other C libraries, or where the environment sets these options itself.

    Parameters
    ----------
    keep_all : bool
        Hand nothing back to the system: for training, whose steps all need the same memory.
    """
    options = _KEEP_ALL if keep_all else _VARIABLES
    chosen = options.keys() & os.environ.keys() or "malloc" in os.environ.get("GLIBC_TUNABLES", "")
    if sys.platform != "linux" or chosen:
        return
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)  # musl has none
    if mallopt is not None:
        for option, value in options.values():
            mallopt(option, value)


def settled_environment() -> dict[str, str]:
    """Return variables that do the same to processes yet to be started, those aside that this one has already.

    Ray's workers have dozens of threads, each with an arena, before any code of ours runs in them.
    """
    if "malloc" in os.environ.get("GLIBC_TUNABLES", ""):
        return {}
    return {name: str(value) for name, (_, value) in _VARIABLES.items() if name not in os.environ}
