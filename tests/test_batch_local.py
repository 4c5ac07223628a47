"""Workers, their failures and their bars."""

from __future__ import annotations

import io
import threading
import time

import pytest
from rich.console import Console

from stemprover.batch.local import PerThread, run_jobs
from stemprover.cli.progress import ProgressDisplay
from stemprover.errors import AudioError, OptionError


@pytest.mark.parametrize("workers", [1, 3])
def test_results_come_in_the_order_of_the_jobs(workers: int) -> None:
    def slow_first(number: int) -> int:
        time.sleep(0.05 if number == 0 else 0.0)
        return number * number

    found = list(run_jobs(range(6), slow_first, workers, threading.Event()))
    assert found == [(number, number * number) for number in range(6)]


@pytest.mark.parametrize("workers", [1, 3])
def test_a_bad_input_is_a_result_and_the_rest_goes_on(workers: int) -> None:
    def work(number: int) -> int:
        if number == 1:
            raise AudioError("audio", "noise", "try again")
        return number

    found = [result for _, result in run_jobs(range(4), work, workers, threading.Event())]
    assert isinstance(found.pop(1), AudioError)
    assert found == [0, 2, 3]


@pytest.mark.parametrize("workers", [1, 3])
@pytest.mark.parametrize("error", [OptionError("a", "b", "c"), KeyboardInterrupt()])
def test_other_errors_end_the_run_and_stop_the_workers(workers: int, error: BaseException) -> None:
    cancelled = threading.Event()

    def work(number: int) -> int:
        if number == 0:
            raise error
        assert cancelled.wait(timeout=30), "this worker was never told to stop"
        return number

    with pytest.raises(type(error)):
        list(run_jobs(range(3), work, workers, cancelled))


def test_every_thread_makes_its_own_models_once() -> None:
    made: list[int] = []
    models = PerThread(lambda: made.append(threading.get_ident()) or object())
    barrier = threading.Barrier(2)

    def work(number: int) -> int:
        if number < 2:
            barrier.wait(timeout=30)
        return id(models.get()) - id(models.get())

    assert [result for _, result in run_jobs(range(8), work, 2, threading.Event())] == [0] * 8
    assert len(made) == len(set(made)) == 2


def test_bars_show_file_and_stage_and_disappear() -> None:
    screen = io.StringIO()
    display = ProgressDisplay(True, 2, Console(file=screen, force_terminal=True, width=100))
    with display:
        progress = display.file("vocals.wav")
        progress.start("detect", 10.0)
        progress.advance("detect", 5.0)
        display._bars.refresh()
        shown = screen.getvalue()
        assert "vocals.wav" in shown
        assert "detect" in shown
        assert "50%" in shown
        progress.finish("detect")
        display.file_done(progress)
        assert [task.description for task in display._bars.tasks] == ["files"]
        assert display._bars.tasks[0].completed == 1


def test_invisible_bars_write_nothing() -> None:
    screen = io.StringIO()
    with ProgressDisplay(False, 2, Console(file=screen, force_terminal=True)) as display:
        progress = display.file("vocals.wav")
        progress.start("detect", 1.0)
        progress.finish("detect")
        display.file_done(progress)
    assert screen.getvalue() == ""


@pytest.mark.parametrize("call", [lambda p: p.start("a", 1), lambda p: p.advance("a", 1), lambda p: p.finish("a")])
def test_a_cancelled_run_interrupts_whoever_reports_progress(call: object) -> None:
    with ProgressDisplay(False, 1) as display:
        progress = display.file("vocals.wav")
        display.cancelled.set()
        with pytest.raises(KeyboardInterrupt):
            call(progress)  # type: ignore[operator]
