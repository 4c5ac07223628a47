"""Training in several processes: each draws other batches, and together they take the steps of one large batch."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

PROGRAM = Path(__file__).with_name("training_processes.py")
LAUNCH = ("-m", "torch.distributed.run", "--standalone", "--nproc_per_node", "2")
ENVIRONMENT = os.environ | {"ACCELERATE_USE_CPU": "true", "OMP_NUM_THREADS": "1"}


def run(out: Path, *arguments: int, processes: int = 2) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, *(LAUNCH if processes > 1 else ()), str(PROGRAM), str(out), *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, timeout=300, check=False, env=ENVIRONMENT)


def weights(out: Path) -> dict[str, torch.Tensor]:
    found: dict[str, torch.Tensor] = torch.load(out / "final" / "line.pt", weights_only=True)
    return found


def log(out: Path) -> list[int]:
    return [json.loads(line)["step"] for line in (out / "log.jsonl").read_text().splitlines()]


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("shared")
    done = run(out, 60, 1)
    assert done.returncode == 0, done.stderr[-2000:]
    return out


def test_two_processes_take_the_steps_of_twice_the_batch(shared: Path, tmp_path: Path) -> None:
    assert run(tmp_path, 60, 2, processes=1).returncode == 0
    for name, weight in weights(tmp_path).items():
        torch.testing.assert_close(weights(shared)[name], weight, rtol=1e-5, atol=1e-6)
    assert abs(weights(shared)["weight"].item() - 3.0) < 0.5
    assert (shared / "early" / "line.pt").is_file()
    assert not list(shared.glob("checkpoint.*"))


def test_one_process_writes_the_log_and_both_validate(shared: Path) -> None:
    assert log(shared) == [0, 20, 20, 40, 40, 60]  # the first of two is a validation
    lines = [json.loads(line) for line in (shared / "log.jsonl").read_text().splitlines()]
    assert lines[-1]["val/error"] < lines[1]["val/error"]


def test_a_run_that_was_stopped_goes_on_to_the_same_weights(shared: Path, tmp_path: Path) -> None:
    assert run(tmp_path, 60, 1, 60).returncode != 0  # 60 batches are 30 steps of two processes
    assert json.loads((tmp_path / "checkpoint" / "step.json").read_text()) == {"step": 30}
    done = run(tmp_path, 60, 1)
    assert done.returncode == 0, done.stderr[-2000:]
    assert log(tmp_path) == log(shared)
    for name, weight in weights(shared).items():
        assert torch.equal(weights(tmp_path)[name], weight)


def test_a_kill_between_the_renames_of_a_checkpoint_costs_nothing(shared: Path, tmp_path: Path) -> None:
    assert run(tmp_path, 60, 1, 40, processes=1).returncode != 0
    (tmp_path / "checkpoint").rename(tmp_path / "checkpoint.old")
    assert run(tmp_path, 60, 1, processes=1).returncode == 0
    assert log(tmp_path) == log(shared)


def test_a_checkpoint_of_something_else_is_refused(tmp_path: Path) -> None:
    assert run(tmp_path, 20, 1, processes=1).returncode == 0
    (tmp_path / "checkpoint" / "model.safetensors").write_bytes(b"no weights")
    done = run(tmp_path, 40, 1, processes=1)
    assert "TrainingError: expected a checkpoint of this training" in done.stderr
