"""Where and with which weights a benchmark ran."""

from __future__ import annotations

import datetime
import hashlib
import os
import platform
from collections.abc import Mapping
from pathlib import Path

import torch

import stemprover
from stemprover.models import EMBEDDED_GATE, EMBEDDED_JUDGES, EMBEDDED_VOCODER
from stemprover.plugins import base_identity, folder_sha256, installed
from stemprover.restoration.weights import EMBEDDED_BASE
from stemprover.separation.embedded import EMBEDDED_SEPARATOR

__all__ = ["ROOT", "describe", "environment", "today", "weights_of"]

ROOT = Path(__file__).resolve().parent.parent


def environment() -> dict[str, str]:
    """Return what the speed depends on, by readable name."""
    return {
        "StemProver": stemprover.__version__,
        "CPU": f"{_cpu_model()}, {os.cpu_count()} logical cores, {_memory_gb():.0f} GB memory",
        "System": f"{platform.system()} {platform.machine()}, Python {platform.python_version()}",
        "torch": f"{torch.__version__}, {torch.get_num_threads()} threads",
        "Load at the start": f"{os.getloadavg()[0]:.1f} (other programs running beside it slow the figures down)",
    }


def weights_of(base: str | None = None) -> dict[str, str]:
    """Return SHA-256 (first 16 digits) of the embedded weights, and of every usable adapter and detector's files."""
    folder = Path(base) if base else EMBEDDED_BASE
    found = {"base": folder_sha256(folder) if folder.is_dir() else base_identity().sha256}
    embedded = {"vocoder": EMBEDDED_VOCODER, "gate": EMBEDDED_GATE, "light": EMBEDDED_SEPARATOR}
    embedded |= {folder.name.replace("_", " "): folder for judge in EMBEDDED_JUDGES.values() for folder in judge.there}
    for name, folder in embedded.items():
        found[name] = folder_sha256(folder) if folder.is_dir() else ""
    for plugin in installed():
        if plugin.status == "ok" and plugin.kind in ("lora", "detector") and plugin.manifest is not None:
            found[f"{plugin.name} {plugin.version}"] = _digest(plugin.manifest.files)
    return {name: digest[:16] or "none" for name, digest in found.items()}


def _digest(files: Mapping[str, str]) -> str:
    """One hash over all of a plugin's files."""
    return hashlib.sha256("".join(f"{name} {files[name]}\n" for name in sorted(files)).encode()).hexdigest()


def describe(where: Mapping[str, str], weights: Mapping[str, str], date: str) -> str:
    """Return the Markdown list that opens a generated page."""
    lines = [f"* Date: {date}", *(f"* {name}: {value}" for name, value in where.items())]
    hashes = ", ".join(f"{name} `{digest}`" for name, digest in weights.items())
    return "\n".join([*lines, f"* Weights (SHA-256, first digits): {hashes}"]) + "\n"


def today() -> str:
    """Return the date in UTC, ISO 8601."""
    return datetime.datetime.now(datetime.UTC).date().isoformat()


def _cpu_model() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        return platform.processor() or "unknown"
    return next((line.partition(":")[2].strip() for line in lines if line.startswith("model name")), "unknown")


def _memory_gb() -> float:
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 1e9
