"""Writing several files that belong together."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence

from stemprover.stems.writer import Writer

__all__ = ["written_together"]


@contextlib.contextmanager
def written_together(writers: Sequence[Writer]) -> Iterator[None]:
    """Write several files of which either all appear or none.

    Every file is whole and on disk before the first gets its name. Should giving names fail half-way, those files that
    were not there before are removed; one that had replaced another (``overwrite``) stays.

    Raises
    ------
    OutputError
        As :class:`Writer`.
    """
    with contextlib.ExitStack() as opened:
        for writer in writers:
            opened.enter_context(writer)
        yield
        for writer in writers:
            writer.finish()
        for writer in writers:
            writer.publish()
