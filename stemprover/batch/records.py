"""The states of one job's outputs while it is done."""

from __future__ import annotations

import contextlib
import dataclasses
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from stemprover.batch import places
from stemprover.batch.fingerprint import Contents, content_hashes, job_fingerprint
from stemprover.batch.jobs import Job
from stemprover.batch.staging import LocalFiles
from stemprover.batch.state import (
    State,
    clear_parts,
    is_done,
    may_replace,
    read_state,
    restore_states,
    write_states,
)
from stemprover.errors import OutputError

__all__ = ["Keeping", "Record"]

_ATTEMPTS = 3
"""A job that ended its worker so often is given up: it would end every other worker as well."""


@dataclasses.dataclass(frozen=True, slots=True)
class Keeping:
    """How a run treats what is there already.

    Attributes
    ----------
    run : str
        Its identity; all its workers share it.
    record : bool
        Keep a state for each output.
    resume : bool
        Leave out what is done, and replace what an earlier run left.
    overwrite : bool
        Replace whatever is there.
    """

    run: str
    record: bool
    resume: bool
    overwrite: bool


class Record:
    """The states of a job's outputs, if the run keeps any.

    Parameters
    ----------
    job : Job
        Its outputs are claimed.
    keeping : Keeping
    terms : Mapping
        What the results depend on besides the inputs; see :func:`~stemprover.batch.fingerprint.job_fingerprint`.
    local : LocalFiles
        Inputs are fetched through it when they must be hashed.
    """

    def __init__(self, job: Job, keeping: Keeping, terms: Mapping[str, Any], local: LocalFiles) -> None:
        self._job, self._keeping = job, keeping
        self._states = [read_state(target) for target in job.targets] if keeping.record else []
        self._contents: Contents = {}
        self._attempts = 0
        self._fingerprint = ""
        if keeping.record:
            known = self._states[0].contents if self._states[0] else {}
            self._contents = content_hashes(job.inputs, known, local.input)
            self._fingerprint = job_fingerprint(job, self._contents, terms)

    @property
    def is_repeated(self) -> bool:
        """Whether this run began with the job before, on a worker that was lost."""
        return bool(self._states) and self._states[0] is not None and self._states[0].run == self._keeping.run

    @property
    def is_done(self) -> bool:
        """Whether this run, or with ``resume`` an earlier one, has done the job."""
        known = bool(self._states) and (self._keeping.resume or self.is_repeated)
        return known and is_done(self._job, self._states, self._fingerprint)

    def begin(self) -> bool:
        """Note that work begins; returns whether existing outputs may be replaced."""
        keeping, job = self._keeping, self._job
        known = keeping.resume or self.is_repeated
        overwrite = keeping.overwrite or (known and may_replace(job, self._states))
        if not overwrite:
            for place in (place for target in job.targets for place in target.files if places.exists(place)):
                raise OutputError("a new file", f"'{place}', which exists", "use --overwrite, --resume or another name")
        clear_parts(job)
        if keeping.record:
            self._attempts = 1 + (self._states[0].attempts if self.is_repeated and self._states[0] else 0)
            if self._attempts > _ATTEMPTS:
                raise OutputError(
                    "a worker that survives", f"{_ATTEMPTS} that were lost with this input", "run it alone"
                )
            write_states(job, self._state())
        return overwrite

    @contextlib.contextmanager
    def kept_if_nothing_happens(self) -> Iterator[None]:
        """Put the states back as they were when an error or Ctrl-C comes before any output was replaced."""
        before = [_version(target.audio) for target in self._job.targets]
        try:
            yield
        except BaseException:
            if self._keeping.record and before == [_version(target.audio) for target in self._job.targets]:
                restore_states(self._job, self._states)
            raise

    def finish(self, local: Mapping[str, Path]) -> None:
        """Note that the job is done."""
        if self._keeping.record:
            write_states(self._job, self._state(), local)

    def _state(self) -> State:
        return State(self._fingerprint, self._keeping.run, self._attempts, self._contents, {})


def _version(place: str) -> str | None:
    return places.version(place) if places.exists(place) else None
