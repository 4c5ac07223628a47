"""What failed: a line each on stderr, and a list beside the results."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import click

from stemprover.batch import places
from stemprover.batch.jobs import Failure, Source
from stemprover.batch.outcomes import Outcome, write_failures
from stemprover.cli.exits import exit_code, print_error
from stemprover.errors import OutputError

__all__ = ["SongFailures", "list_failures"]


def list_failures(place: str, failed: Sequence[Outcome], hint: str = "") -> None:
    """Write the list of what failed; where that is impossible say so, since the run itself is done.

    Without failures nothing is written, and a list that an earlier run left there goes away.
    """
    try:
        listed = write_failures(place, failed)
    except OutputError as error:
        print_error(error)
        return
    if listed:
        click.echo(f"stemprover: {len(failed)} failed, listed in {place}{hint}", err=True)


class SongFailures:
    """Songs that failed in a run of ``separate`` or ``clean``; a context manager that lists them in the end.

    Parameters
    ----------
    folder : Path
        Where the results go; of several songs those that failed are listed there, in ``failures.csv``.
    songs : int
        How many there are.
    """

    def __init__(self, folder: Path, songs: int) -> None:
        self._place, self._several = places.join(str(folder), "failures.csv"), songs > 1
        self._failed: list[Outcome] = []
        self._repeated: Counter[str] = Counter()

    def planned(self, failures: Sequence[Failure]) -> None:
        """Count songs that could not even be begun."""
        for failure in failures:
            self.add(failure.source.place, failure.error)

    def add(self, song: Path | str, error: Exception) -> None:
        """Count one, and print what is new: a separator that fails for good does so at each of a thousand songs."""
        self._failed.append(Outcome.of_error(Source(str(song)), error))
        reason = self._failed[-1].error
        if reason not in self._repeated:
            print_error(reason)
        self._repeated[reason] += 1

    @property
    def exit_code(self) -> int:
        """See :func:`~stemprover.cli.exits.exit_code`."""
        return exit_code(len(self._failed), self._several)

    def __enter__(self) -> SongFailures:
        return self

    def __exit__(self, kind: type[BaseException] | None, *rest: object) -> None:
        for reason, count in self._repeated.items():
            if count > 1:
                print_error(f"{count - 1} more failed with: {reason}")
        interrupted = kind is not None and (not self._failed or places.exists(self._place))
        if self._several and not interrupted:  # lists of earlier runs are still needed then
            list_failures(self._place, self._failed)
