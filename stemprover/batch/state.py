"""What became of every output, in a small file beside it: begun or done, from which inputs and settings.

``begun`` is written before anything else, so that what a killed run left behind can be told from a file that somebody
else put there: the first is done again, the second is never touched. ``done`` comes last.
"""

from __future__ import annotations

import dataclasses
import glob
import json
from collections.abc import Mapping, Sequence
from pathlib import Path

from stemprover.batch import places
from stemprover.batch.claims import beside
from stemprover.batch.fingerprint import Contents
from stemprover.batch.jobs import Job, Target
from stemprover.errors import OutputError
from stemprover.plugins import file_sha256
from stemprover.stems.writer import part_prefix

__all__ = ["State", "clear_parts", "is_done", "may_replace", "read_state", "restore_states", "write_states"]

_FORMAT = 1


@dataclasses.dataclass(frozen=True, slots=True)
class State:
    """One output.

    Attributes
    ----------
    fingerprint : str
        See :func:`~stemprover.batch.fingerprint.job_fingerprint`.
    run : str
        Who worked on it last.
    attempts : int
        How often that run began with it.
    contents : Contents
        Versions and hashes of the inputs.
    files : Mapping[str, tuple of int and str]
        Size and SHA-256 of what was written, by name; empty until it is done.
    """

    fingerprint: str
    run: str
    attempts: int
    contents: Contents
    files: Mapping[str, tuple[int, str]]


def read_state(target: Target) -> State | None:
    """Return what is known about an output; None if nothing is, or if it cannot be understood."""
    content = places.read(_place(target))
    try:
        data = json.loads(content) if content else {}
        if data.pop("format", None) != _FORMAT:
            return None
        data["contents"] = {place: (version, digest) for place, (version, digest) in data["contents"].items()}
        data["files"] = {name: (int(size), str(digest)) for name, (size, digest) in data["files"].items()}
        return State(**data)
    except (ValueError, TypeError, KeyError, AttributeError):
        return None


def write_states(job: Job, state: State, local: Mapping[str, Path] | None = None) -> None:
    """Write the state of all outputs of a job.

    Parameters
    ----------
    job : Job
    state : State
        Its ``files`` are filled in here.
    local : Mapping[str, Path], optional
        Where the finished outputs can be read, by place; without, nothing is done yet.
    """
    for target in job.targets:
        files = {} if local is None else {place: _content(local[place]) for place in target.files}
        named = {places.name_of(place): content for place, content in files.items()}
        _write(target, dataclasses.replace(state, files=named))


def restore_states(job: Job, states: Sequence[State | None]) -> None:
    """Write states that were read before, and remove those that were not there."""
    for target, state in zip(job.targets, states, strict=True):
        if state is None:
            places.remove(_place(target))
        else:
            _write(target, state)


def is_done(job: Job, states: Sequence[State | None], fingerprint: str) -> bool:
    """Whether every file of a job is there as this run would write it."""
    for target, state in zip(job.targets, states, strict=True):
        if state is None or state.fingerprint != fingerprint:
            return False
        for place in target.files:
            known = state.files.get(places.name_of(place))
            if known is None or places.size(place) != known[0]:
                return False
    return True


def may_replace(job: Job, states: Sequence[State | None]) -> bool:
    """Whether outputs are there; all of them must come from an earlier run, and nobody may have changed them since.

    Raises
    ------
    OutputError
        Names the first file for which that is not so.
    """
    there = False
    for target, state in zip(job.targets, states, strict=True):
        for place in filter(places.exists, target.files):
            there = True
            if state is None or (state.files and not _is_as_written(place, state)):
                got = "another file there" if state is None else "a file that was changed since"
                raise OutputError(f"at '{place}' what an earlier run wrote", got, "use --overwrite or another name")
    return there


def clear_parts(job: Job) -> None:
    """Remove what a killed process left half-written; call it while the outputs are claimed."""
    for place in (place for target in job.targets for place in target.files if not places.is_remote(place)):
        path = Path(place)
        for beginning in (part_prefix(path.name), f".{path.name}."):
            for part in path.parent.glob(f"{glob.escape(beginning)}*.part"):
                part.unlink(missing_ok=True)


def _write(target: Target, state: State) -> None:
    places.write(_place(target), json.dumps({"format": _FORMAT, **dataclasses.asdict(state)}).encode())


def _place(target: Target) -> str:
    return beside(target.audio, ".json")


def _content(path: Path) -> tuple[int, str]:
    return path.stat().st_size, file_sha256(path)


def _is_as_written(place: str, state: State) -> bool:
    known = state.files.get(places.name_of(place))
    if places.is_remote(place):  # its content is not worth fetching
        return known is not None and places.size(place) == known[0]
    return known == _content(Path(place))
