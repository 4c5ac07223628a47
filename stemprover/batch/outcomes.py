"""What became of each job: light enough to keep thousands of them, and to send them from one machine to another."""

from __future__ import annotations

import csv
import dataclasses
import io
import json
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal, Self

from stemprover.batch import places
from stemprover.batch.jobs import Failure, Source, Target

__all__ = ["Metrics", "Outcome", "StemResult", "write_failures"]

Metrics = Mapping[str, Mapping[str, Any]]
_COLUMNS = ("input", "output", "mixture", "stem", "title", "error")


@dataclasses.dataclass(frozen=True, slots=True)
class StemResult:
    """One repaired stem.

    Attributes
    ----------
    summary : Mapping
        The JSON object of ``enhance --json``.
    plan : sequence of Mapping
        Every item of the plan with all its fields.
    target : Target
        Its files.
    metrics : Mapping
        Against the true stem, if there is one.
    """

    summary: Mapping[str, Any]
    plan: Sequence[Mapping[str, Any]]
    target: Target
    metrics: Metrics


@dataclasses.dataclass(frozen=True, slots=True)
class Outcome:
    """One job.

    Attributes
    ----------
    source : Source
    status : str
        ``done``, ``resumed`` (an earlier run had done it) or ``failed``.
    results : tuple of StemResult
        Empty unless done.
    error : str
        What went wrong, in one line.
    seconds : float
        Time from beginning to end.
    """

    source: Source
    status: Literal["done", "resumed", "failed"]
    results: tuple[StemResult, ...] = ()
    error: str = ""
    seconds: float = 0.0

    @classmethod
    def of_failure(cls, failure: Failure) -> Self:
        """Return the outcome of an input that could not even become a job."""
        return cls(failure.source, "failed", error=str(failure.error))

    @classmethod
    def of_error(cls, source: Source, error: Exception, seconds: float = 0.0) -> Self:
        """Return the outcome of an input that failed at work; an error that nobody foresaw is named as such."""
        text = str(error)
        if not hasattr(error, "fix"):
            text = f"expected no fault in the program, got {type(error).__name__}: {text}; run this input alone"
        return cls(source, "failed", error=" ".join(text.split()), seconds=seconds)

    def to_json(self) -> str:
        """Return the outcome as a line of text."""
        return json.dumps(dataclasses.asdict(self), allow_nan=False)

    @classmethod
    def from_json(cls, text: str) -> Self:
        """Read what :meth:`to_json` wrote."""
        fields: dict[str, Any] = json.loads(text)
        results = tuple(StemResult(**{**one, "target": Target(**one["target"])}) for one in fields.pop("results"))
        return cls(Source(**fields.pop("source")), results=results, **fields)


def write_failures(place: str, failed: Iterable[Outcome]) -> bool:
    """Write the inputs that failed, and why, as a manifest that repeats them; returns whether there are any.

    Without failures nothing is written, and a list that an earlier run left there goes away.
    """
    text = io.StringIO()
    table = csv.writer(text, lineterminator="\n")
    table.writerow(_COLUMNS)
    rows = 0
    for outcome in failed:
        source = outcome.source
        where = (_absolute(source.place), _absolute(source.output), _absolute(source.mixture))
        table.writerow((*where, source.stem or "", source.title, outcome.error))
        rows += 1
    if rows:
        places.write(place, text.getvalue().encode())
    elif (places.read(place) or b"").startswith(",".join(_COLUMNS).encode()):
        places.remove(place)
    return rows > 0


def _absolute(place: str | None) -> str:
    """A place that means the same wherever the list is read."""
    if not place or places.is_remote(place) or place.startswith("{"):
        return place or ""
    return str(Path(place).absolute()) + ("/" if place.endswith("/") else "")
