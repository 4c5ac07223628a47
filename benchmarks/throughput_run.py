"""One measured batch in a process of its own: ``python benchmarks/throughput_run.py JSON`` prints JSON."""

from __future__ import annotations

import dataclasses
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import soundfile

__all__ = ["Batch", "after_first_wave", "measure"]

_HERE = Path(__file__).resolve().parent
_SET = ("kick", "snare", "toms", "hihat", "cymbals")


@dataclasses.dataclass(frozen=True)
class Batch:
    """What to run.

    Attributes
    ----------
    files : int
        Number of files, or of stem sets.
    seconds : float
        Length of each, stereo at 44.1 kHz.
    workers, threads : int
        Jobs at a time, and CPU threads of each.
    engine : str
        ``local``, ``ray`` or ``one by one`` (a process for every file, as a shell loop would).
    repair : bool
        Whether every segment is repaired, or nothing is found.
    quality : str
        ``fast``, ``balanced`` or ``best``.
    again : bool
        Run a second time with ``--resume`` and measure that.
    stems : int
        1 for lone stems; more for folders of so many stems and their mixture, which are repaired jointly.
    """

    files: int
    seconds: float
    workers: int = 1
    threads: int = 1
    engine: str = "local"
    repair: bool = True
    quality: str = "balanced"
    again: bool = False
    stems: int = 1


@dataclasses.dataclass(frozen=True)
class BenchLoader:
    """Makes the enhancer of the speed benchmark, on any worker."""

    repair: bool

    def __call__(self, device: str) -> Any:
        """Make one; the device is the CPU."""
        from timing import new_enhancer

        del device
        return new_enhancer(self.repair)


def measure(batch: Batch) -> dict[str, Any]:
    """Run in a fresh process; returns seconds, CPU seconds and memory, see :func:`_run`."""
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(_HERE), os.environ.get("PYTHONPATH", "")])}
    command = [sys.executable, str(_HERE / "throughput_run.py"), json.dumps(dataclasses.asdict(batch))]
    done = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True, env=environment)
    result: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return dataclasses.asdict(batch) | result


def _files(folder: Path, batch: Batch) -> list[str]:
    """Excerpts of the bundled stem, each from another place; or folders of excerpts of several, and of the mixture."""
    folder.mkdir()
    paths = []
    for number in range(batch.files):
        if batch.stems == 1:
            path = folder / f"{number:05d}-hihat.wav"
            _write(path, "hihat", number, batch.seconds)
        else:
            path = folder / f"{number:05d}"
            path.mkdir()
            for name in (*_SET[: batch.stems], "mix"):
                _write(path / f"{name}.wav", name, number, batch.seconds)
        paths.append(str(path))
    return paths


def _write(path: Path, name: str, number: int, seconds: float) -> None:
    from looped import EXAMPLE

    audio, rate = soundfile.read(EXAMPLE / f"{name}.flac", dtype="int16", always_2d=True)
    with soundfile.SoundFile(path, "w", rate, audio.shape[1], "PCM_16") as file:
        for block in _cut(audio, number * rate // 3, round(seconds * rate)):
            file.write(block)


def _cut(audio: Any, start: int, length: int) -> Iterator[Any]:
    start %= len(audio)
    while length > 0:
        block = audio[start : start + length]
        yield block
        length -= len(block)
        start = 0


def _run(batch: Batch, folder: Path) -> dict[str, Any]:
    """Return ``first_s`` (start-up and first file), see :func:`after_first_wave`, memory after each file, its peak."""
    from stemprover.cli.process import prepare_process

    prepare_process()  # before torch asks the system for memory, as the commands do

    from memory import own_peak_mb

    from stemprover.batch.engines import Engine, NoBars, run_all
    from stemprover.batch.orders import Order
    from stemprover.batch.planning import Selection, plan_jobs
    from stemprover.enhanced import Settings

    inputs = _files(folder / "in", batch)
    settings = Settings(auto_detect=True, generic=batch.repair, quality=batch.quality)
    engine = Engine("ray" if batch.engine == "ray" else "local", batch.workers, batch.threads)
    selection = Selection(output=f"{folder}/out/{{folder}}/{{stem}}.wav")

    def outcomes(resume: bool) -> Iterator[Any]:
        order = Order(settings, BenchLoader(batch.repair), resume=resume, record=True)
        yield from run_all(plan_jobs(inputs, selection, False, resume).jobs, order, engine, NoBars())

    if batch.again:
        list(outcomes(resume=False))
    begin, times, cpu, memory = time.perf_counter(), [], [], []
    for outcome in outcomes(batch.again):
        assert not outcome.error, outcome.error
        times.append(time.perf_counter() - begin)
        cpu.append(time.process_time())
        memory.append(_resident_mb())
    # One machine opens a file more than it has workers: any may be done first, and outcomes come in order of files.
    first_wave = batch.workers + (batch.engine == "local" and not batch.again)
    return {
        "first_s": times[0],
        "first_wave": first_wave,
        "rest_s": after_first_wave(times, first_wave),
        "cpu_s": after_first_wave(cpu, first_wave),
        "memory_mb": memory,
        "peak_mb": own_peak_mb(),
    }


def after_first_wave(times: Sequence[float], first_wave: int) -> float:
    """How long all files took but those of the first wave.

    The first wave pays for imports and weights. Its files end at about the same time, so that the clock starts when the
    last of them is done: from the first on it would count their work as done in no time.
    """
    return times[-1] - times[min(first_wave, len(times)) - 1]


def _one_by_one(batch: Batch, folder: Path) -> dict[str, Any]:
    """Start a process for each file."""
    del folder
    begin = time.perf_counter()
    for _ in range(batch.files):
        measure(dataclasses.replace(batch, files=1, engine="local"))
    share = (time.perf_counter() - begin) / batch.files
    return {"first_s": share, "rest_s": share * (batch.files - 1), "cpu_s": None, "memory_mb": []}


def _resident_mb() -> float:
    """Resident memory of this process now."""
    pages = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") / 1e6


if __name__ == "__main__":
    wanted = Batch(**json.loads(sys.argv[1]))
    with tempfile.TemporaryDirectory() as name:
        run = _one_by_one if wanted.engine == "one by one" else _run
        print(json.dumps(run(wanted, Path(name))))
