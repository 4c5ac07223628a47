"""Start-up times of whole processes."""

from __future__ import annotations

import statistics
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path

__all__ = ["COMMANDS", "median_ms"]

COMMANDS = (("--help",), ("plugins", "list"), ("--version",), ("enhance", "--help"))
"""What is measured; the first two have a target."""


def median_ms(arguments: Sequence[str], runs: int = 10) -> float:
    """Return the median wall time of ``stemprover`` with these arguments, in milliseconds, after one run to warm up."""
    command = [str(Path(sys.executable).with_name("stemprover")), *arguments]
    spent = []
    for _ in range(runs + 1):
        begin = time.perf_counter()
        subprocess.run(command, check=True, capture_output=True)
        spent.append(1000 * (time.perf_counter() - begin))
    return statistics.median(spent[1:])
