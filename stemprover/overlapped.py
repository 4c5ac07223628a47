"""Decoding and encoding beside the computation: both release Python's lock, so that a thread each costs nothing."""

from __future__ import annotations

import collections
import contextlib
from collections.abc import Callable, Generator, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any, TypeVar

__all__ = ["ahead", "behind"]

ItemT = TypeVar("ItemT")


def ahead(items: Iterator[ItemT], depth: int = 1) -> Generator[ItemT]:
    """Yield what another iterator yields, which works in a thread of its own and is at most ``depth`` items ahead.

    What it raises is raised here, in its turn.
    """
    end: Any = object()
    with ThreadPoolExecutor(1, thread_name_prefix="stemprover-read") as pool:
        waiting = collections.deque(pool.submit(next, items, end) for _ in range(depth))
        while (item := waiting.popleft().result()) is not end:
            waiting.append(pool.submit(next, items, end))
            yield item


@contextlib.contextmanager
def behind(write: Callable[[ItemT], None], depth: int = 2) -> Iterator[Callable[[ItemT], None]]:
    """Yield a function that has ``write`` called in a thread of its own, in order; at most ``depth`` calls wait.

    What it raises is raised by a later call, or at the end.
    """
    with ThreadPoolExecutor(1, thread_name_prefix="stemprover-write") as pool:
        waiting: collections.deque[Future[None]] = collections.deque()

        def put(item: ItemT) -> None:
            while len(waiting) >= depth:
                waiting.popleft().result()
            waiting.append(pool.submit(write, item))

        yield put
        for written in waiting:
            written.result()
