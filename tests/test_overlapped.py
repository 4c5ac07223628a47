"""Reading ahead and writing behind."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Iterator

import pytest

from stemprover.overlapped import ahead, behind


def test_items_come_in_order_from_another_thread_and_only_a_little_early() -> None:
    made: list[int] = []
    threads: set[int] = set()

    def items() -> Iterator[int]:
        for number in range(20):
            made.append(number)
            threads.add(threading.get_ident())
            yield number

    seen = []
    with contextlib.closing(ahead(items(), depth=2)) as numbers:
        for number in numbers:
            seen.append(number)
            assert len(made) <= number + 4
    assert seen == list(range(20))
    assert threads
    assert threading.get_ident() not in threads


def test_an_error_of_the_reader_comes_in_its_turn() -> None:
    def items() -> Iterator[int]:
        yield 1
        raise ValueError("damaged")

    seen = []
    with pytest.raises(ValueError, match="damaged"):
        seen.extend(ahead(items()))
    numbers = ahead(items())
    assert next(numbers) == 1
    numbers.close()  # whoever stops in between is told nothing


def test_writes_happen_in_order_and_are_done_at_the_end() -> None:
    written: list[int] = []
    waiting = threading.Semaphore(0)

    def write(number: int) -> None:
        waiting.acquire()
        written.append(number)

    with behind(write, depth=2) as put:
        put(0)
        put(1)  # does not wait for the first
        assert written == []
        waiting.release(5)
        for number in (2, 3, 4):
            put(number)
    assert written == [0, 1, 2, 3, 4]


@pytest.mark.parametrize("count", [1, 10])
def test_an_error_of_the_writer_is_raised_at_the_latest_in_the_end(count: int) -> None:
    def write(number: int) -> None:
        raise OSError("full")

    def run() -> None:
        with behind(write) as put:
            for number in range(count):
                put(number)

    with pytest.raises(OSError, match="full"):
        run()


def test_an_interruption_waits_for_what_is_being_written_and_goes_on() -> None:
    written: list[int] = []

    def run() -> None:
        with behind(written.append) as put:
            put(1)
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run()
    assert written == [1]
