"""Batches with a tiny base: quick enough to run many, real from file to file."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import soundfile
from tiny_base import FlagBand, tiny_enhancer

from stemprover.batch.engines import Engine, NoBars, run_all
from stemprover.batch.orders import Order
from stemprover.batch.outcomes import Outcome
from stemprover.batch.planning import Selection, plan_jobs
from stemprover.enhance import Enhancer
from stemprover.enhanced import Settings

__all__ = ["RATE", "TinyLoader", "batch", "digests", "sound", "start_batch", "takes"]

RATE = 44_100
SETTINGS = Settings(auto_detect=True, generic=True, quality="fast", vocoder="input-phase")


class TinyLoader:
    """Makes an enhancer with the tiny base."""

    def __init__(self, base: Path) -> None:
        self.base = base

    def __call__(self, device: str) -> Enhancer:
        return tiny_enhancer(self.base, FlagBand())


def sound(path: Path, samples: int = 4410) -> Path:
    """Silence in a file."""
    path.parent.mkdir(parents=True, exist_ok=True)
    soundfile.write(path, np.zeros((samples, 2)), 44_100)
    return path


def takes(folder: Path, count: int, seconds: float = 1.0) -> list[Path]:
    """Noise with a loud half that the detector flags, each file different."""
    folder.mkdir(parents=True, exist_ok=True)
    paths = []
    for number in range(count):
        audio = 0.02 * np.random.default_rng(number).standard_normal((round(seconds * RATE), 2))
        audio[: len(audio) // 2] *= 10
        paths.append(folder / f"take{number}.wav")
        soundfile.write(paths[-1], audio, RATE, "PCM_16")
    return paths


def batch(
    base: Path,
    inputs: Sequence[Path | str],
    output: Path | str,
    engine: Engine | None = None,
    settings: Settings = SETTINGS,
    **options: Any,
) -> list[Outcome]:
    """Run a recorded batch into a folder; returns the outcomes of inputs that could be planned.

    One thread unless told: other tests and other processes have other numbers, which changes last bits.
    """
    selection = Selection(output=f"{output}/{{stem}}.{{ext}}", report="json")
    order = Order(settings, TinyLoader(base), record=True, **options)
    plan = plan_jobs([str(place) for place in inputs], selection, order.overwrite, order.resume)
    return list(run_all(plan.jobs, order, engine or Engine(threads=1), NoBars()))


def digests(folder: Path) -> dict[str, bytes]:
    """Every file that can be seen, with its content; nothing hidden may be half-written."""
    assert not list(folder.rglob("*.part"))
    assert not list(folder.rglob("*.lock"))
    return {path.name: path.read_bytes() for path in folder.iterdir() if not path.name.startswith(".")}


def start_batch(
    base: Path,
    inputs: Sequence[Path | str],
    output: Path | str,
    resume: bool = False,
    engine: str = "local",
    **more: str,
) -> subprocess.Popen[str]:
    """Run the same in a process of its own, with more environment variables; it prints the outcomes."""
    program = (
        "import sys; from pathlib import Path; from batches import Engine, batch\n"
        "engine = Engine(sys.argv[4], threads=1)\n"
        "done = batch(Path(sys.argv[1]), sys.argv[5:], sys.argv[2], engine, resume=sys.argv[3] == 'True')\n"
        "print(*(f'{one.status} {one.error}' for one in done), sep='\\n')"
    )
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(Path(__file__).parent), *sys.path]), **more}
    command = [sys.executable, "-c", program, str(base), str(output), str(resume), engine, *map(str, inputs)]
    pipe = subprocess.PIPE
    return subprocess.Popen(
        command, stdout=pipe, stderr=pipe, text=True, env=environment, start_new_session=engine == "ray"
    )
