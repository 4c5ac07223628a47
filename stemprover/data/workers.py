"""Work on many items in parallel processes of one thread each."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from multiprocessing import get_context
from typing import TypeVar

import torch

__all__ = ["in_processes"]

_AT_ONCE = 20
_Item = TypeVar("_Item")
_Made = TypeVar("_Made")


def in_processes(
    work: Callable[[Sequence[_Item]], list[_Made]], items: Sequence[_Item], jobs: int, at_once: int = _AT_ONCE
) -> Iterator[_Made]:
    """Yield what ``work`` makes of the items, in the order in which it is done.

    Parameters
    ----------
    work : callable
        A function of a module, or a partial of one: it is handed to other processes.
    items : sequence
        What to work on.
    jobs : int
        Number of processes; with one, this process works by itself, on one item after the other.
    at_once : int
        How many items a process is given at a time; it yields none of them before all are done.
    """
    if jobs <= 1:
        for item in items:
            yield from work([item])
        return
    chunks = [items[first : first + at_once] for first in range(0, len(items), at_once)]
    with ProcessPoolExecutor(jobs, mp_context=get_context("spawn"), initializer=_one_thread) as pool:
        for done in as_completed([pool.submit(work, chunk) for chunk in chunks]):
            yield from done.result()


def _one_thread() -> None:
    torch.set_num_threads(1)
