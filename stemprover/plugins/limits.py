"""Run code of plugins in a thread of its own, with a time limit after which it is given up.

Python cannot end a thread. One that is given up gets an exception thrown into it, which ends loops and waits in short
turns written in Python; a call that is stuck outside the interpreter stays behind, idle or not, until the process
ends. It is a daemon, so the process does end. What never lets go of the interpreter (a C function that holds its lock)
stops everything, this module included; only a process of its own could help there, and audio would have to be copied
into it and torch be imported once more.
"""

from __future__ import annotations

import atexit
import ctypes
import math
import os
import queue
import threading
import time
import weakref
from collections.abc import Callable
from typing import Any, Generic, TypeAlias, TypeVar, cast

from stemprover.errors import OptionError

__all__ = ["TIME_LIMIT_S", "TIME_LIMIT_VARIABLE", "LimitedThread", "time_limit"]

TIME_LIMIT_S = 300.0
"""How long one call may take. It is about 20 s of audio at most; separators get more audio, and more time."""
TIME_LIMIT_VARIABLE = "STEMPROVER_PLUGIN_TIMEOUT"
_FAREWELL_S = 10.0
_given_up: list[threading.Thread] = []

ResultT = TypeVar("ResultT")


class _GivenUpError(BaseException):
    """Thrown into a thread that is given up; plugins that catch ``Exception`` do not catch it."""


def time_limit() -> float:
    """Return the limit per call in seconds: that of the environment, 0 for none, else :data:`TIME_LIMIT_S`.

    Raises
    ------
    OptionError
        The variable holds no such number.
    """
    text = os.environ.get(TIME_LIMIT_VARIABLE, "")
    try:
        limit = float(text) if text else TIME_LIMIT_S
    except ValueError:
        limit = -1.0
    if not (math.isfinite(limit) and limit >= 0):
        what = f"{TIME_LIMIT_VARIABLE} in seconds, or 0 for no limit"
        raise OptionError(what, repr(text), "set it to for example 60")
    return limit


class LimitedThread:
    """A thread that runs one call at a time and is replaced by a new one when a call takes too long.

    One thread serves many calls, because libraries keep a pool of threads for each that calls them.

    Parameters
    ----------
    limit_s : float
        Seconds per call; 0 runs calls in the caller's own thread, without limit.
    """

    def __init__(self, limit_s: float) -> None:
        self.limit_s = limit_s
        self._thread: threading.Thread | None = None
        self._jobs: _Jobs = queue.SimpleQueue()

    def call(self, function: Callable[[], ResultT], times: float = 1.0) -> ResultT:
        """Return what the function returns, or raise what it raises.

        Parameters
        ----------
        function : callable
            Called without arguments.
        times : float
            How many times the limit this call may take, 1 or more.

        Raises
        ------
        TimeoutError
            It was not done in time and has been given up.
        """
        if self.limit_s == 0 or threading.current_thread() is self._thread:
            return function()
        if self._thread is None:
            self._start()
        job = _Job(function)
        self._jobs.put(job)
        try:
            done = job.done.wait(self.limit_s * times)
        except BaseException:  # Ctrl-C while a plugin works
            self._give_up()
            raise
        if not done:
            self._give_up()
            raise TimeoutError(f"no answer within {self.limit_s * times:g} s")
        return job.outcome()

    def _start(self) -> None:
        self._jobs = queue.SimpleQueue()
        self._thread = threading.Thread(target=_work, args=(self._jobs,), name="stemprover-plugin", daemon=True)
        self._thread.start()
        weakref.finalize(self, self._jobs.put, None)  # the thread ends with its owner

    def _give_up(self) -> None:
        thread, self._thread = self._thread, None
        self._jobs.put(None)
        if thread is not None and thread.ident is not None:
            raise_in = ctypes.pythonapi.PyThreadState_SetAsyncExc
            raise_in(ctypes.c_ulong(thread.ident), ctypes.py_object(_GivenUpError))
            _given_up.append(thread)


class _Job(Generic[ResultT]):
    """One call and what became of it."""

    def __init__(self, function: Callable[[], ResultT]) -> None:
        self.done = threading.Event()
        self._function = function
        self._result: ResultT | None = None
        self._error: BaseException | None = None

    def run(self) -> None:
        try:
            self._result = self._function()
        except BaseException as error:  # handed to the caller, whatever it is
            self._error = error
        self.done.set()

    def outcome(self) -> ResultT:
        error, self._error = self._error, None
        if error is not None:
            try:
                raise error
            finally:
                del error  # else error and frames hold each other, and with them the owner of the thread
        return cast(ResultT, self._result)


_Jobs: TypeAlias = "queue.SimpleQueue[_Job[Any] | None]"


@atexit.register
def _wait_for_given_up() -> None:
    """Let given-up threads end before the interpreter does: one that comes back from C++ later aborts the process."""
    until = time.monotonic() + _FAREWELL_S
    for thread in _given_up:
        thread.join(max(0.0, until - time.monotonic()))


def _work(jobs: _Jobs) -> None:
    try:
        while (job := jobs.get()) is not None:
            job.run()
            del job  # it may hold the caller's frames, and they the owner of this thread
    except _GivenUpError:  # thrown a moment after the call was done
        return
