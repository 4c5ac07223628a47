"""Progress bars per file and stage, with the time left; and the way in which Ctrl-C reaches worker threads."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Iterator
from types import TracebackType

from rich.console import Console
from rich.progress import BarColumn, Progress, TaskID, TextColumn, TimeElapsedColumn, TimeRemainingColumn

__all__ = ["FileProgress", "ProgressDisplay"]


class ProgressDisplay:
    """All bars of one run, drawn on stderr.

    Parameters
    ----------
    visible : bool
        False draws nothing; cancelling works all the same.
    files : int
        Number of input files or folders; more than one gets a bar over all of them.
    console : Console or None
        Where to draw, stderr by default.
    """

    def __init__(self, visible: bool, files: int, console: Console | None = None) -> None:
        self.cancelled = threading.Event()
        self._bars = Progress(
            TextColumn("{task.fields[file]}", style="bold"),
            TextColumn("{task.description}"),
            BarColumn(),
            TextColumn("{task.percentage:>3.0f}%"),
            TimeElapsedColumn(),
            TimeRemainingColumn(),
            console=console or Console(stderr=True),
            disable=not visible,
            transient=True,
        )
        self._overall = self._bars.add_task("files", total=files, file="") if files > 1 else None

    def __enter__(self) -> ProgressDisplay:
        self._bars.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._bars.stop()

    @contextlib.contextmanager
    def job(self, name: str) -> Iterator[FileProgress]:
        """Show the progress of one file or folder; in the end its bars go away and it counts as done."""
        progress = self.file(name)
        try:
            yield progress
        finally:
            self.file_done(progress)

    def file(self, name: str) -> FileProgress:
        """Return the progress of one file."""
        return FileProgress(self._bars, name, self.cancelled)

    def file_done(self, progress: FileProgress) -> None:
        """Remove a file's bars and count it."""
        progress.clear()
        if self._overall is not None:
            self._bars.advance(self._overall)


class FileProgress:
    """The library's ``Progress`` protocol on rich bars: one bar per stage.

    Every call looks whether the run was cancelled and raises ``KeyboardInterrupt`` in the thread that called: workers
    unwind as if Ctrl-C had reached them, and writers remove their temporary files.
    """

    def __init__(self, bars: Progress, name: str, cancelled: threading.Event) -> None:
        self._bars = bars
        self._name = name
        self._cancelled = cancelled
        self._tasks: dict[str, TaskID] = {}

    def start(self, stage: str, total: float) -> None:
        """Begin a stage of ``total`` units (seconds of audio); an unfinished stage of that name starts over."""
        self._check()
        if stage in self._tasks:
            self._bars.reset(self._tasks[stage], total=total)
        else:
            self._tasks[stage] = self._bars.add_task(stage, total=total, file=self._name)

    def advance(self, stage: str, amount: float) -> None:
        """Count ``amount`` more units as done."""
        self._check()
        if stage in self._tasks:
            self._bars.advance(self._tasks[stage], amount)

    def finish(self, stage: str) -> None:
        """Fill the stage's bar."""
        self._check()
        task = self._tasks.get(stage)
        if task is not None:
            self._bars.update(task, completed=self._total(task))

    def clear(self) -> None:
        """Remove the bars of all stages."""
        for task in self._tasks.values():
            self._bars.remove_task(task)
        self._tasks.clear()

    def _total(self, task: TaskID) -> float:
        return next((float(known.total or 0.0) for known in self._bars.tasks if known.id == task), 0.0)

    def _check(self) -> None:
        if self._cancelled.is_set():
            raise KeyboardInterrupt
