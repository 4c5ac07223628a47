"""Peak memory of one run in a process of its own: ``python benchmarks/memory.py MINUTES QUALITY [BASE [VOCODER]]``."""

from __future__ import annotations

import json
import resource
import subprocess
import sys
import tempfile
from pathlib import Path

__all__ = ["own_peak_mb", "peak_megabytes"]


def peak_megabytes(minutes: float, quality: str, base: str | None, vocoder: str) -> dict[str, float]:
    """Repair every segment of a looped file in a fresh process.

    Returns ``peak_mb``, ``total_s`` and ``repaired_s``: what was planned, for what the gate leaves out is computed too.
    """
    arguments = [str(minutes), quality, base or "", vocoder]
    done = subprocess.run([sys.executable, __file__, *arguments], check=True, capture_output=True, text=True)
    result: dict[str, float] = json.loads(done.stdout.splitlines()[-1])
    return result


def own_peak_mb() -> float:
    """Highest resident memory of this process.

    ``getrusage`` alone would start at the parent's memory: Linux carries its figure over when a process is replaced.
    """
    status = Path("/proc/self/status")
    if status.is_file():
        line = next(text for text in status.read_text(encoding="utf-8").splitlines() if text.startswith("VmHWM"))
        return int(line.split()[1]) * 1024 / 1e6
    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit / 1e6


def _run(minutes: float, quality: str, base: str, vocoder: str) -> dict[str, float]:
    from stemprover.cli.process import prepare_process

    prepare_process()  # before torch asks the system for memory, as the commands do

    from looped import looped_files
    from timing import Case, new_enhancer

    from stemprover.stems import StemSet

    case = Case(quality, repair=True, vocoder=vocoder)
    with tempfile.TemporaryDirectory() as name:
        stem, mixture = looped_files(Path(name), minutes * 60)
        with StemSet.open(stem, mixture=mixture) as stems:
            enhancer = new_enhancer(repair=True, base=base or None)
            done = enhancer.enhance(stems, case.settings, output=Path(name) / "out.wav")
            return {
                "peak_mb": own_peak_mb(),
                "total_s": done.timings_s["total"],
                "repaired_s": done.planned_s,
            }


if __name__ == "__main__":
    print(json.dumps(_run(float(sys.argv[1]), *sys.argv[2:5])))
