"""Claims in stores of objects, where there are no locks; the clock is a test's own."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from stemprover.batch import claims, places
from stemprover.batch.claims import LEASE_S, beside, claimed
from stemprover.batch.jobs import Job, Source, Target
from stemprover.batch.leftovers import cleared_up
from stemprover.errors import OutputError

NOW = 1_000_000.0


class Clock:
    """Time that passes only while somebody sleeps; ``during`` is what others do meanwhile."""

    def __init__(self) -> None:
        self.now, self.slept = NOW, 0.0
        self.during: Callable[[], None] = lambda: None

    def time(self) -> float:
        return self.now

    def sleep(self, seconds: float) -> None:
        self.now += seconds
        self.slept += seconds
        self.during()


class Renewal:
    """A thread that runs when a test says so."""

    target: Callable[[], None]

    def __init__(self, target: Callable[[], None], **_: object) -> None:
        Renewal.target = staticmethod(target)

    def start(self) -> None: ...

    def join(self) -> None: ...


class Once:
    """An event that lets a loop run once each time it is waited for."""

    def __init__(self) -> None:
        self.turn = True

    def wait(self, seconds: float) -> bool:
        assert seconds < LEASE_S / 2, "there must be time for more attempts"
        self.turn = not self.turn
        return self.turn

    def set(self) -> None: ...


@pytest.fixture(name="clock")
def own_clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr(claims, "time", clock)
    monkeypatch.setattr(claims, "threading", SimpleNamespace(Thread=Renewal, Event=Once))
    return clock


@pytest.fixture(name="place")
def output_elsewhere(tmp_path: Path) -> str:
    return f"memory://claims/{tmp_path.name}/a.wav"


def holder(place: str) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(places.read(beside(place, ".claim")) or b"{}")
    return found


def claim(place: str, run: str, token: str, until: float) -> None:
    who = {"process": 7, "host": "elsewhere", "run": run, "until": until, "token": token}
    places.write(beside(place, ".claim"), json.dumps(who).encode())


def test_a_claim_says_who_holds_it_and_goes_away(clock: Clock, place: str) -> None:
    with claimed([place], "one"):
        assert (holder(place)["run"], holder(place)["until"]) == ("one", NOW + LEASE_S)
    assert holder(place) == {}
    assert clock.slept == 0.0


def test_a_claim_that_is_renewed_cannot_be_taken(clock: Clock, place: str) -> None:
    with claimed([place], "one"):
        clock.now += LEASE_S - 1.0
        Renewal.target()
        assert holder(place)["until"] == clock.now + LEASE_S
        clock.now += LEASE_S - 1.0
        with pytest.raises(OutputError, match="for this run alone, got process"), claimed([place], "two"):
            pytest.fail("it is taken")
        assert holder(place)["run"] == "one"


def test_a_void_claim_is_taken_over_after_a_while_in_which_all_others_must_have_written(
    clock: Clock, place: str
) -> None:
    claim(place, "dead", "old", NOW - 1.0)
    with claimed([place], "two"):
        assert holder(place)["run"] == "two"
        assert clock.slept > 0.0
    assert holder(place) == {}


def test_of_two_that_take_over_a_claim_the_last_to_write_has_it(clock: Clock, place: str) -> None:
    claim(place, "dead", "old", NOW - 1.0)
    clock.during = lambda: claim(place, "three", "theirs", NOW + LEASE_S)
    with pytest.raises(OutputError, match="process 7 on elsewhere"), claimed([place], "two"):
        pytest.fail("the other was later")
    assert holder(place)["token"] == "theirs"


def test_a_worker_of_the_same_run_takes_over_at_once(clock: Clock, place: str) -> None:
    claim(place, "one", "lost", NOW + LEASE_S)
    with claimed([place], "one"):
        assert holder(place)["token"] != "lost"
    assert clock.slept == 0.0


def test_a_holder_that_overslept_leaves_the_new_claim_alone(clock: Clock, place: str) -> None:
    with claimed([place], "one"):
        clock.now += 2 * LEASE_S
        with claimed([place], "two"):
            taken = holder(place)
            Renewal.target()  # two's own
            assert holder(place)["token"] == taken["token"]
        claim(place, "three", "theirs", clock.now + LEASE_S)
    assert holder(place)["token"] == "theirs"


def test_a_holder_that_overslept_does_not_renew_the_claim_of_another(clock: Clock, place: str) -> None:
    with claimed([place], "one"):
        renew = Renewal.target
        claim(place, "two", "theirs", NOW + 5.0)
        renew()
        assert (holder(place)["token"], holder(place)["until"]) == ("theirs", NOW + 5.0)


def test_the_last_to_let_go_removes_the_folder_that_another_claim_made(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    clean, make = tmp_path / "clean", Path.mkdir

    def make_after_another(path: Path, *args: Any, **kwargs: Any) -> None:
        is_new = not path.exists()
        make(path, *args, **kwargs)
        if path.name == claims.HIDDEN and is_new:
            raise FileExistsError(path)

    monkeypatch.setattr(Path, "mkdir", make_after_another)
    with claimed([str(clean / "vocals.wav")], "one"):
        assert (clean / claims.HIDDEN).is_dir()
    assert not clean.exists()


def jobs_at(store: str, count: int) -> list[Job]:
    return [Job(Source(f"{n}.wav"), (f"{n}.wav",), (Target(f"{store}/{n}.wav", {}),)) for n in range(count)]


def test_claims_of_killed_workers_go_with_their_run_and_no_others(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    slept: list[float] = []
    monkeypatch.setattr("stemprover.batch.leftovers.time", SimpleNamespace(sleep=slept.append, monotonic=lambda: NOW))
    jobs = jobs_at(f"memory://{tmp_path.name}", 100)
    held = {3: "a", 4: "b", 60: "a", 99: "a"}
    for number, run in held.items():
        claim(jobs[number].targets[0].audio, run, "t", NOW + LEASE_S)
    ours, theirs, again, far = (beside(jobs[number].targets[0].audio, ".claim") for number in held)
    with cleared_up(jobs, (), "a"):
        pass
    assert all(map(places.exists, (ours, theirs, again, far))), "it went well"
    over = {job.source for job in jobs[70:]}
    with pytest.raises(KeyboardInterrupt), cleared_up(jobs, over, "a"):
        raise KeyboardInterrupt
    assert [places.exists(place) for place in (ours, theirs, again)] == [False, True, False]
    assert places.exists(far), "nobody asks for a job that is over"
    assert slept == [5.0], "once for all: until then workers may live"


def test_few_places_are_looked_at_among_many_that_nobody_has_claimed(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    asked: list[str] = []

    def holds(place: str, run: str) -> bool:
        asked.append(place)
        return len(asked) < 3

    monkeypatch.setattr("stemprover.batch.leftovers.holds", holds)
    monkeypatch.setattr("stemprover.batch.leftovers.time", SimpleNamespace(sleep=lambda _: None, monotonic=lambda: NOW))
    with pytest.raises(KeyboardInterrupt), cleared_up(jobs_at(f"memory://{tmp_path.name}", 10_000), (), "a"):
        raise KeyboardInterrupt
    assert 60 < len(asked) < 100
