"""Keep what plugins print off standard output, where ``--json`` is read by programs.

``contextlib.redirect_stdout`` swaps ``sys.stdout`` for all threads and puts back what it found: with several threads,
or one that is given up, the last one to leave decides for everybody. Here standard output is asked per thread.
"""

from __future__ import annotations

import contextlib
import sys
import threading
from collections.abc import Iterator
from typing import Any, TextIO

__all__ = ["printing_to_stderr"]

_thread = threading.local()
_lock = threading.Lock()
_inside = 0


class _PerThread:
    """Standard output, or standard error for threads in which a plugin works."""

    def __init__(self, own: TextIO) -> None:
        self.own = own

    def __getattr__(self, name: str) -> Any:
        return getattr(sys.stderr if getattr(_thread, "depth", 0) else self.own, name)


@contextlib.contextmanager
def printing_to_stderr() -> Iterator[None]:
    """Within, this thread's prints go to standard error; those of other threads go where they went."""
    global _inside
    with _lock:
        _inside += 1
        if not isinstance(sys.stdout, _PerThread):
            sys.stdout = _PerThread(sys.stdout)  # type: ignore[assignment]
    _thread.depth = getattr(_thread, "depth", 0) + 1
    try:
        yield
    finally:
        _thread.depth -= 1
        with _lock:
            _inside -= 1
            if not _inside and isinstance(sys.stdout, _PerThread):
                sys.stdout = sys.stdout.own
