"""Two runs on one output: the first to claim it wins, the second is told so before it computes anything.

On local and shared disks a claim is a lock, which the system gives back when its holder dies. Stores of objects have no
locks: there a claim is an object that is made only if there is none, renewed while its holder works, and void when it
was not renewed for a quarter of an hour. A worker that repeats the work of a lost one has the same run and takes over
its claim at once. Of several that take over a void claim the last to write it has it: each waits until all must have
written, and looks whose token is there. A holder whose claim was taken over in its sleep leaves the new one alone.
"""

from __future__ import annotations

import contextlib
import json
import os
import platform
import random
import secrets
import threading
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from stemprover.batch import places
from stemprover.batch.transfer import create
from stemprover.errors import OutputError

if TYPE_CHECKING:
    from filelock import BaseFileLock

__all__ = ["HIDDEN", "beside", "claimed", "holds", "release"]

HIDDEN = ".stemprover"
"""Folder beside the outputs that holds claims and states."""

LEASE_S = 900.0
_RENEW_S = 60.0
_SETTLE_S = 2.0
_TRIES, _PAUSE_S = 200, 0.005
_LONGEST = 200  # bytes of a name that are kept when the suffix would make it too long


def beside(place: str, suffix: str) -> str:
    """Return where the claim or state of an output is, by suffix."""
    import hashlib

    name = places.name_of(place)
    encoded = name.encode()
    if len(encoded) > _LONGEST:
        name = encoded[:_LONGEST].decode(errors="ignore") + hashlib.sha256(encoded).hexdigest()[:16]
    return places.join(places.parent_of(place), HIDDEN, name + suffix)


@contextlib.contextmanager
def claimed(outputs: Sequence[str], run: str) -> Iterator[None]:
    """Hold outputs against other processes.

    Folders that were made for a claim and stayed empty go away with it.

    Parameters
    ----------
    outputs : sequence of str
        Files that will be written.
    run : str
        Identity of the run; all its workers share it.

    Raises
    ------
    OutputError
        If another process has claimed one of them, or its folder cannot be written.
    """
    with contextlib.ExitStack() as stack:
        for place in sorted(outputs):
            stack.enter_context(_leased(place, run) if places.is_remote(place) else _locked(place))
        yield


@contextlib.contextmanager
def _locked(place: str) -> Iterator[None]:
    from filelock import FileLock, Timeout

    path = Path(beside(place, ".lock"))
    made: list[Path] = []
    lock = FileLock(path, blocking=False, thread_local=False)
    try:
        try:
            _acquire(lock, path, made)
        except Timeout:
            raise _taken(place, places.read(str(path))) from None
        except OSError as error:
            what = f"an error ({error.strerror or error})"
            fix = "check free space and permissions; nothing was written"
            raise OutputError(f"to write '{place}'", what, fix) from error
        try:
            with contextlib.suppress(OSError):  # on a full disk the lock holds as well, only its holder has no name
                path.write_bytes(_holder("", ""))
            yield
        finally:
            path.unlink(missing_ok=True)  # while it is held: whoever waits for this file sees that it is gone
            lock.release()
    finally:
        for folder in dict.fromkeys((path.parent, *reversed(made))):  # the first may be another claim's work
            with contextlib.suppress(OSError):  # not empty
                folder.rmdir()


def _acquire(lock: BaseFileLock, path: Path, made: list[Path]) -> None:
    for attempt in range(_TRIES):
        try:
            _make_folders(path.parent, made)
            lock.acquire()
            return
        except (FileNotFoundError, FileExistsError):  # somebody who was done removed the folder just now
            if attempt == _TRIES - 1:
                raise
            time.sleep(_PAUSE_S * random.random())  # not in step with the others that try


def _make_folders(folder: Path, made: list[Path]) -> None:
    for missing in reversed([path for path in (folder, *folder.parents) if not path.exists()]):
        with contextlib.suppress(FileExistsError):
            missing.mkdir()
            made.append(missing)


@contextlib.contextmanager
def _leased(place: str, run: str) -> Iterator[None]:
    path, token = beside(place, ".claim"), secrets.token_hex(8)
    if not create(path, _holder(run, token)):
        _take_over(place, path, run, token)
    over = threading.Event()

    def renew() -> None:
        while not over.wait(_RENEW_S):
            with contextlib.suppress(OutputError):  # there is time for more attempts
                if _read(path).get("token") == token:
                    places.write(path, _holder(run, token))

    thread = threading.Thread(target=renew, name="stemprover-claim", daemon=True)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()
        with contextlib.suppress(OutputError):  # a claim that stays is void before long
            if _read(path).get("token") == token:
                places.remove(path)


def holds(place: str, run: str) -> bool:
    """Whether a worker of a run has claimed an output in a store of objects; False if the store does not answer."""
    with contextlib.suppress(OutputError):
        return bool(_read(beside(place, ".claim")).get("run") == run)
    return False


def release(place: str, run: str) -> None:
    """Give back what a worker of a run has claimed in a store of objects and cannot give back itself."""
    if holds(place, run):
        places.remove(beside(place, ".claim"))


def _take_over(place: str, path: str, run: str, token: str) -> None:
    """Write a claim over a void one, or one of the same run; raises if somebody else holds it, then or afterwards."""
    found = _read(path)
    is_ours = found.get("run") == run
    if not is_ours and time.time() < float(found.get("until", 0.0)):
        raise _taken(place, json.dumps(found).encode())
    places.write(path, _holder(run, token))
    if not is_ours:
        time.sleep(_SETTLE_S)
        found = _read(path)
        if found.get("token") != token:
            raise _taken(place, json.dumps(found).encode())


def _holder(run: str, token: str) -> bytes:
    who = {"process": os.getpid(), "host": platform.node(), "run": run, "until": time.time() + LEASE_S, "token": token}
    return json.dumps(who).encode()


def _read(path: str) -> dict[str, Any]:
    try:
        found = json.loads(places.read(path) or b"{}")
    except ValueError:
        return {}
    return found if isinstance(found, dict) else {}


def _taken(place: str, holder: bytes | None) -> OutputError:
    try:
        found = json.loads(holder or b"{}")
        who = f"process {found['process']} on {found['host']}"
    except (ValueError, KeyError, TypeError):
        who = "another process"
    fix = "let it finish, or choose another -o"
    return OutputError(f"'{place}' for this run alone", f"{who}, which is writing it", fix)
