"""Runs that start a Ray cluster for themselves, from outside: what they print, and that nothing stays behind."""

from __future__ import annotations

import os
import secrets
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from batches import digests, start_batch, takes
from test_cli_batch import counts
from tiny_base import tiny_base as tiny_base

from stemprover.stems.writer import part_prefix

pytest.importorskip("ray", reason="needs Ray: make test-ray")
pytestmark = pytest.mark.skipif(not Path("/proc/self/environ").exists(), reason="needs Linux to find processes")

MARK = "STEMPROVER_TEST_MARK"
OPTIONS = ("--auto-detect", "--generic", "--quality", "fast", "--device", "cpu", "--report", "none")


@pytest.fixture(name="mark")
def mark_that_processes_inherit() -> str:
    return secrets.token_hex(16)


def heirs(mark: str) -> dict[int, str]:
    """Process ids and command lines of all processes that inherited a mark."""
    found = {}
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            if f"{MARK}={mark}".encode() in (folder / "environ").read_bytes():
                found[int(folder.name)] = (folder / "cmdline").read_text().replace("\0", " ")
        except OSError:  # it has just ended
            continue
    return found


def marked(mark: str) -> list[str]:
    """Command lines of all processes that inherited a mark, once they had time to end."""
    for _ in range(100):
        found = heirs(mark)
        if not found:
            break
        time.sleep(0.1)
    return list(found.values())


def enhance(mark: str, *arguments: str | Path) -> tuple[int, str, str]:
    """Run the command; returns its exit code and what it printed, less what Ray's core always says."""
    program = "from stemprover.cli.main import main; main()"
    command = [sys.executable, "-c", program, "enhance", *OPTIONS, *map(str, arguments)]
    environment = {**os.environ, MARK: mark, "PYTHONPATH": os.pathsep.join(sys.path)}
    done = subprocess.run(command, capture_output=True, text=True, env=environment, timeout=240)
    lines = [line for line in done.stderr.splitlines() if "core_worker.cc" not in line]
    return done.returncode, done.stdout, "\n".join(lines)


def test_the_command_line_on_ray_prints_and_writes_what_it_does_here(tmp_path: Path, mark: str) -> None:
    inputs = [*takes(tmp_path / "in", 3), tmp_path / "in" / "none.wav"]
    here, there = tmp_path / "here", tmp_path / "there"
    code, out, _ = enhance(mark, *inputs, "-o", f"{here}/", "--threads", "1")
    assert (code, counts(out)) == (1, {"done": 3, "done before": 0, "failed": 1, "stems": 3})
    on_ray = ("-o", f"{there}/", "--engine", "ray", "--jobs", "2", "--resume")
    code, again, err = enhance(mark, *inputs, *on_ray)
    assert marked(mark) == []
    assert (code, counts(again)) == (1, counts(out))
    bad, listed = err.splitlines()
    assert bad.startswith("stemprover: error: ")
    assert "none.wav" in bad
    assert listed == f"stemprover: 1 failed, listed in {there / 'failures.csv'}; --manifest reads it"
    results, same = digests(there), digests(here)
    assert {name: same[name] for name in same if name.endswith(".wav")} == {
        name: results[name] for name in results if name.endswith(".wav")
    }
    code, out, err = enhance(mark, *inputs[:3], *on_ray)
    assert (code, err) == (0, "")
    assert counts(out) == {"done": 0, "done before": 3, "failed": 0, "stems": 0}
    assert not (there / "failures.csv").exists(), "nothing failed this time"


def test_an_interruption_ends_workers_and_leaves_nothing_half_written(base: Path, tmp_path: Path, mark: str) -> None:
    clean = tmp_path / "clean"
    (long,) = takes(tmp_path / "in", 1, seconds=180.0)
    half_written = f"{part_prefix('take0.wav')}*.part"
    running = start_batch(base, [long], clean, engine="ray", **{MARK: mark})
    while running.poll() is None and not list(clean.glob(half_written)):
        time.sleep(0.01)
    os.killpg(running.pid, signal.SIGINT)  # as a terminal does
    _, err = running.communicate(timeout=120)
    assert "KeyboardInterrupt" in err
    assert marked(mark) == []
    assert digests(clean) == {}
    second = start_batch(base, [long], clean, resume=True, engine="ray", **{MARK: mark})
    assert second.communicate(timeout=240)[0].split() == ["done"]
    assert "take0.wav" in digests(clean)
    assert marked(mark) == []
