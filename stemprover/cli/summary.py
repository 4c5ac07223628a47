"""The last lines of a run over many inputs."""

from __future__ import annotations

import sys

from rich.console import Console
from rich.table import Table

from stemprover.batch.outcomes import Outcome

__all__ = ["Tally"]


class Tally:
    """Counts what became of the inputs.

    Attributes
    ----------
    failed : list of Outcome
        Those that failed.
    """

    def __init__(self) -> None:
        self.failed: list[Outcome] = []
        self._done = self._resumed = self._stems = 0
        self._audio_s = self._repaired_s = 0.0

    def add(self, outcome: Outcome) -> None:
        """Count one input."""
        if outcome.status == "failed":
            self.failed.append(outcome)
            return
        self._done += outcome.status == "done"
        self._resumed += outcome.status == "resumed"
        self._stems += len(outcome.results)
        self._audio_s += sum(result.summary["duration_s"] for result in outcome.results)
        self._repaired_s += sum(result.summary["repaired_s"] for result in outcome.results)

    def print(self, seconds: float) -> None:
        """Print the table."""
        table = Table()
        figures = {
            "done": f"{self._done}",
            "done before": f"{self._resumed}",
            "failed": f"{len(self.failed)}",
            "stems": f"{self._stems}",
            "audio": _clock(self._audio_s),
            "repaired": _clock(self._repaired_s),
            "took": _clock(seconds),
            "inputs per hour": f"{3600 * self._done / seconds:.0f}" if self._done and seconds > 0 else "-",
        }
        for name in figures:
            table.add_column(name, justify="right", no_wrap=True)
        table.add_row(*figures.values())
        Console(highlight=False, width=None if sys.stdout.isatty() else 160).print(table)


def _clock(seconds: float) -> str:
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02d}:{rest:02d}"
