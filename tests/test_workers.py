"""Work in parallel processes: everything is done once, whatever the number of processes and items at a time."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pytest

from stemprover.data.export import write_songs
from stemprover.data.workers import in_processes


def squares(numbers: Sequence[int]) -> list[tuple[int, int]]:
    return [(number, number * number) for number in numbers]


@pytest.mark.parametrize(("jobs", "at_once"), [(1, 20), (2, 1), (2, 2), (3, 20)])
def test_everything_is_done_once(jobs: int, at_once: int) -> None:
    done = list(in_processes(squares, range(7), jobs, at_once))
    assert sorted(done) == [(number, number * number) for number in range(7)]
    assert jobs > 1 or done == sorted(done)


def test_one_job_yields_each_item_as_it_is_done() -> None:
    seen: list[int] = []
    work = in_processes(lambda numbers: seen.extend(numbers) or list(numbers), range(3), 1)
    assert (next(work), seen) == (0, [0])


def test_songs_do_not_depend_on_the_number_of_processes(tmp_path: Path) -> None:
    for jobs in (1, 2):
        assert write_songs(tmp_path / str(jobs), 3, seconds=1.0, seed=7, jobs=jobs) == 3
    files = sorted(path.relative_to(tmp_path / "1") for path in (tmp_path / "1").rglob("*.flac"))
    assert len(files) == 3 * 5
    assert all((tmp_path / "1" / file).read_bytes() == (tmp_path / "2" / file).read_bytes() for file in files)
