"""Training in several processes: each draws other batches, and together they take the steps of one large batch."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
import torch

PROGRAM = Path(__file__).with_name("training_processes.py")


def run(out: Path, steps: int, together: int, processes: int = 1) -> dict[str, torch.Tensor]:
    launch = ["-m", "torch.distributed.run", "--standalone", "--nproc_per_node", str(processes)]
    command = [sys.executable, *(launch if processes > 1 else []), str(PROGRAM), str(out), str(steps), str(together)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 0, done.stderr[-2000:]
    weights: dict[str, torch.Tensor] = torch.load(out / "final" / "line.pt", weights_only=True)
    return weights


@pytest.fixture(scope="module")
def single(tmp_path_factory: pytest.TempPathFactory) -> dict[str, torch.Tensor]:
    return run(tmp_path_factory.mktemp("single"), 60, 2)


def test_two_processes_take_the_steps_of_twice_the_batch(single: dict[str, torch.Tensor], tmp_path: Path) -> None:
    shared = run(tmp_path, 60, 1, processes=2)
    for name, weight in single.items():
        torch.testing.assert_close(shared[name], weight, rtol=1e-5, atol=1e-6)
    assert abs(shared["weight"].item() - 3.0) < 0.5
    assert not list(tmp_path.glob("checkpoint.*"))


def test_one_process_writes_the_log(tmp_path: Path) -> None:
    run(tmp_path, 40, 1, processes=2)
    steps = [json.loads(line)["step"] for line in (tmp_path / "log.jsonl").read_text().splitlines()]
    assert steps == [0, 20, 20, 40]  # the second 20 and 40 are validations


def test_a_run_of_two_processes_goes_on_where_it_stopped(single: dict[str, torch.Tensor], tmp_path: Path) -> None:
    run(tmp_path, 60, 1, processes=2)
    state = json.loads((tmp_path / "checkpoint" / "step.json").read_text())
    assert state == {"step": 60}
    again = run(tmp_path, 60, 1, processes=2)  # nothing is left to do
    for name, weight in single.items():
        torch.testing.assert_close(again[name], weight, rtol=1e-5, atol=1e-6)
