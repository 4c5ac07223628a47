"""How long ``stemprover plugins list`` takes with many plugins, in a folder on the path as pip leaves them."""

from __future__ import annotations

import json
import os
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from stemprover.plugins.base import base_identity, host_spectral_spec

__all__ = ["fill_site", "list_ms"]


def fill_site(site: Path, count: int) -> None:
    """Write ``count`` adapters for the embedded base, each in a distribution of its own."""
    for number in range(count):
        name = f"many{number:03}"
        package = site / f"acme_{name}"
        adapter = package / "adapter"
        adapter.mkdir(parents=True)
        files = ("adapter_config.json", "adapter_model.safetensors")
        for file in files:
            (adapter / file).write_bytes(b"{}")
        (package / "__init__.py").write_text("raise RuntimeError('imported')\n", encoding="utf-8")
        manifest = {
            "api": 1,
            "host": ">=0.1,<1",
            "name": name,
            "kind": "lora",
            "summary": "One of many",
            "license": "Apache-2.0",
            "artifacts": ["bleed/drums"],
            "stems": ["vocals"],
            "sample_rate": 44100,
            "base": base_identity()._asdict(),
            "spectral_spec": host_spectral_spec(),
            "weights": {"path": "adapter"},
            "files": dict.fromkeys(files, "0" * 64),
        }
        (package / "stemprover.json").write_text(json.dumps(manifest), encoding="utf-8")
        info = site / f"acme_{name}-1.0.dist-info"
        info.mkdir()
        metadata = f"Metadata-Version: 2.1\nName: acme-{name}\nVersion: 1.0\n"
        (info / "METADATA").write_text(metadata, encoding="utf-8")
        (info / "entry_points.txt").write_text(f"[stemprover.plugins]\n{name} = acme_{name}\n", encoding="utf-8")


def list_ms(count: int, runs: int = 10) -> dict[str, float]:
    """Return medians of wall and CPU time of the whole process in milliseconds, after one run to warm up."""
    wall, cpu = [], []
    with tempfile.TemporaryDirectory() as folder:
        fill_site(Path(folder), count)
        command = [str(Path(sys.executable).with_name("stemprover")), "plugins", "list"]
        environment = {**os.environ, "PYTHONPATH": folder}
        for _ in range(runs + 1):
            begin, before = time.perf_counter(), _cpu_s()
            done = subprocess.run(command, check=True, capture_output=True, text=True, env=environment)
            wall.append(1000 * (time.perf_counter() - begin))
            cpu.append(1000 * (_cpu_s() - before))
            assert done.stdout.count("acme-many") == count
    return {"median_ms": statistics.median(wall[1:]), "cpu_ms": statistics.median(cpu[1:])}


def _cpu_s() -> float:
    spent = resource.getrusage(resource.RUSAGE_CHILDREN)
    return spent.ru_utime + spent.ru_stime
