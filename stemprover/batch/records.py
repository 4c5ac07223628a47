"""The states of one job's outputs while it is done."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping
from pathlib import Path

from stemprover.batch import places
from stemprover.batch.fingerprint import Contents, content_hashes, job_fingerprint, reference_versions
from stemprover.batch.jobs import Job
from stemprover.batch.orders import Order
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

__all__ = ["Record"]

_ATTEMPTS = 3
"""A job that ended its worker so often is given up: it would end every other worker as well."""


class Record:
    """The states of a job's outputs, if the run keeps any."""

    def __init__(self, job: Job, order: Order, local: LocalFiles) -> None:
        self._job, self._order = job, order
        self._states = [read_state(target) for target in job.targets] if order.record else []
        self._contents: Contents = {}
        self._attempts = 0
        self._fingerprint = ""
        if order.record:
            known = self._states[0].contents if self._states[0] else {}
            self._contents = content_hashes(job.inputs, known, local.input)
            others = {"reference": reference_versions(order.reference, job.stems), "align": order.align}
            self._fingerprint = job_fingerprint(job, self._contents, order.settings, order.weights, others)

    @property
    def is_repeated(self) -> bool:
        """Whether this run began with the job before, on a worker that was lost."""
        return bool(self._states) and self._states[0] is not None and self._states[0].run == self._order.run

    @property
    def is_done(self) -> bool:
        """Whether this run, or with ``resume`` an earlier one, has done the job."""
        known = bool(self._states) and (self._order.resume or self.is_repeated)
        return known and is_done(self._job, self._states, self._fingerprint)

    def begin(self) -> bool:
        """Note that work begins; returns whether existing outputs may be replaced."""
        order, job = self._order, self._job
        known = order.resume or self.is_repeated
        overwrite = order.overwrite or (known and may_replace(job, self._states))
        if not overwrite:
            for place in (place for target in job.targets for place in target.files if places.exists(place)):
                raise OutputError("a new file", f"'{place}', which exists", "use --overwrite, --resume or another name")
        clear_parts(job)
        if order.record:
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
            if self._order.record and before == [_version(target.audio) for target in self._job.targets]:
                restore_states(self._job, self._states)
            raise

    def finish(self, local: Mapping[str, Path]) -> None:
        """Note that the job is done."""
        if self._order.record:
            write_states(self._job, self._state(), local)

    def _state(self) -> State:
        return State(self._fingerprint, self._order.run, self._attempts, self._contents, {})


def _version(place: str) -> str | None:
    return places.version(place) if places.exists(place) else None
