"""Workers, their failures and their bars."""

from __future__ import annotations

import collections
import contextlib
import io
import threading
import time

import pytest
import torch
from rich.console import Console

from stemprover.batch.local import Lent, run_in_order, run_jobs, shared_cores
from stemprover.cli.progress import ProgressDisplay
from stemprover.errors import AudioError, OptionError


@pytest.mark.parametrize("threads", [1, 3])
def test_results_come_in_the_order_of_the_jobs(threads: int) -> None:
    later = threading.Event()

    def slow_first(number: int) -> int:
        if number == 2:
            later.set()
        assert number > 0 or threads == 1 or later.wait(timeout=30)
        return number * number

    assert list(run_in_order(range(6), slow_first, threads, threading.Event())) == [0, 1, 4, 9, 16, 25]


@pytest.mark.parametrize("error", [None, KeyboardInterrupt()])
def test_the_process_keeps_its_thread_count(error: BaseException | None) -> None:
    before = torch.get_num_threads()
    with contextlib.suppress(KeyboardInterrupt), shared_cores(2, before + 3):
        assert torch.get_num_threads() == before + 3
        if error is not None:
            raise error
    assert torch.get_num_threads() == before


def test_jobs_are_begun_only_a_little_ahead_of_what_was_taken() -> None:
    begun: list[int] = []
    results = run_in_order(range(1000), begun.append, 2, threading.Event())
    next(results)
    assert len(begun) < 100
    assert len(list(results)) == 999
    assert begun == sorted(begun) or len(set(begun)) == 1000


@pytest.mark.parametrize("threads", [1, 3])
def test_a_bad_input_is_a_result_and_the_rest_goes_on(threads: int) -> None:
    def work(number: int) -> int:
        if number == 1:
            raise AudioError("audio", "noise", "try again")
        return 6 // (number - 2)  # nobody foresaw the third

    found = [result for _, result in run_jobs(range(4), work, threads, threading.Event())]
    assert [type(result) for result in found] == [int, AudioError, ZeroDivisionError, int]


@pytest.mark.parametrize("threads", [1, 3])
@pytest.mark.parametrize("error", [OptionError("a", "b", "c"), KeyboardInterrupt()])
def test_an_error_ends_the_run_and_stops_the_threads(threads: int, error: BaseException) -> None:
    cancelled = threading.Event()

    def work(number: int) -> None:
        if number == 0:
            raise error
        assert cancelled.wait(timeout=30), "this thread was never told to stop"

    with pytest.raises(type(error)):
        list(run_in_order(range(3), work, threads, cancelled))


def test_as_many_objects_are_made_as_are_needed_at_a_time() -> None:
    made: list[object] = []
    lent = Lent(lambda: made.append(object()) or made[-1], 2)
    for _ in range(3):
        with lent.borrow() as first:
            assert first is made[0]
    with lent.borrow() as first, lent.borrow() as second:
        assert first is not second
    assert len(made) == 2


def test_whoever_borrows_has_it_alone() -> None:
    lent = Lent(list, 2)
    inside: collections.Counter[int] = collections.Counter()

    def work(number: int) -> None:
        with lent.borrow() as held:
            inside[id(held)] += 1
            assert inside[id(held)] == 1
            time.sleep(0.001)
            inside[id(held)] -= 1

    assert len(list(run_in_order(range(30), work, 5, threading.Event()))) == 30


def test_an_object_that_cannot_be_made_is_tried_again() -> None:
    attempts: list[int] = []

    def make() -> int:
        attempts.append(1)
        if len(attempts) == 1:
            raise OptionError("a", "b", "c")
        return 7

    lent = Lent(make, 1)
    with pytest.raises(OptionError), lent.borrow():
        pytest.fail("there is nothing to borrow")
    with lent.borrow() as held:
        assert held == 7


def test_bars_show_file_and_stage_and_disappear() -> None:
    screen = io.StringIO()
    display = ProgressDisplay(True, 2, Console(file=screen, force_terminal=True, width=100))
    with display:
        with display.job("vocals.wav") as progress:
            progress.start("detect", 10.0)
            progress.advance("detect", 5.0)
            display._bars.refresh()
            shown = screen.getvalue()
            assert "vocals.wav" in shown
            assert "detect" in shown
            assert "50%" in shown
            progress.finish("detect")
        assert [task.description for task in display._bars.tasks] == ["files"]
        assert display._bars.tasks[0].completed == 1


def test_invisible_bars_write_nothing() -> None:
    screen = io.StringIO()
    display = ProgressDisplay(False, 2, Console(file=screen, force_terminal=True))
    with display, display.job("vocals.wav") as progress:
        progress.start("detect", 1.0)
        progress.finish("detect")
    assert screen.getvalue() == ""


@pytest.mark.parametrize("call", [lambda p: p.start("a", 1), lambda p: p.advance("a", 1), lambda p: p.finish("a")])
def test_a_cancelled_run_interrupts_whoever_reports_progress(call: object) -> None:
    with ProgressDisplay(False, 1) as display, display.job("vocals.wav") as progress:
        display.cancelled.set()
        with pytest.raises(KeyboardInterrupt):
            call(progress)  # type: ignore[operator]
