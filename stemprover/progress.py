"""Progress of a run, as the library reports it; the command line draws bars from it."""

from __future__ import annotations

from typing import Protocol

__all__ = ["Progress", "Silent"]


class Progress(Protocol):
    """Receives the progress of the stages ``detect``, ``restore`` and ``write`` in samples or segments."""

    def start(self, stage: str, total: float) -> None:
        """A stage begins."""

    def advance(self, stage: str, amount: float) -> None:
        """``amount`` more units are done."""

    def finish(self, stage: str) -> None:
        """A stage is over."""


class Silent:
    """Ignores progress."""

    def start(self, stage: str, total: float) -> None:
        """Do nothing."""

    def advance(self, stage: str, amount: float) -> None:
        """Do nothing."""

    def finish(self, stage: str) -> None:
        """Do nothing."""
