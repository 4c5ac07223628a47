"""Plugins as a stranger, a bad day or an attacker would make them; each a real wheel."""

from __future__ import annotations

import dataclasses
import json
import pickle
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from plugin_wheels import adapter_files, sha256
from safetensors.torch import load_file, save

from stemprover.plugins.base import base_identity

__all__ = ["IMPORTED", "MARKER", "Hostile", "good_plugins", "hostile_plugins"]

MARKER = "STEMPROVER_TEST_MARKER"
"""Environment variable with the path that a pickle creates should anything ever unpickle it."""
IMPORTED = "STEMPROVER_TEST_IMPORTED"
"""Environment variable with the file to which every one of these packages adds its name when it is imported."""

Files = Mapping[str, bytes | str]
_FILES = ("adapter_config.json", "adapter_model.safetensors")
_CLAIM = {"artifacts": ["bleed/drums"], "stems": None, "metrics": {"si_sdr_gain_db": 99.0}}
"""More specific and better, so it says, than the adapter that works: it is chosen first."""

_FINDER = """
import numpy as np
from stemprover.detection import CellScores, block_levels

class entry:
    artifacts = ("bleed/drums",)

    def score(self, block):
        shape = block_levels(block).shape
        return {"bleed/drums": CellScores(np.full(shape, 0.95, np.float32), np.full(shape, 0.9, np.float32))}
"""
_SCORE = "class entry:\n    artifacts = ('bleed/bass',)\n\n    def score(self, block):\n        {}\n"
_SEPARATOR = """
class entry:
    name, stems, sample_rate = "{name}", ("drums", "other"), 44100

    def separate(self, audio):
        {does}
        return {{"drums": audio, "other": audio}}
"""
_METRIC = """
from stemprover.evaluation import Metric

def score(reference, estimate, sample_rate):
    {does}
    return 1.0

def entry():
    return Metric("it", "It", "", True, 1.0, score)
"""
_WAYS = {
    "raises": "raise ValueError('no idea')",
    "exits": "raise SystemExit(1)",
    "prints": "print('noise')",
    "hangs": "import threading; threading.Event().wait()",
}
_NOTE = "import os, pathlib\npathlib.Path(os.environ[{variable!r}]).open('a').write({name!r} + '\\n')\n"
_HOOK = "from stemprover.plugins import hookimpl\n\n@hookimpl\ndef after_segment(event):\n    {}\n"


@dataclasses.dataclass(frozen=True)
class Hostile:
    """One case: what it is in words, its distribution, and the files of its wheel."""

    title: str
    distribution: str
    files: Files

    @property
    def name(self) -> str:
        """The plugin's name, unless it took another's."""
        return self.distribution.removeprefix("acme-")


def code(name: str, kind: str, text: str, **changes: Any) -> dict[str, bytes | str]:
    """The files of a code plugin."""
    package = f"acme_{name.replace('-', '_')}"
    manifest = {
        "api": 1,
        "host": ">=0.1,<1",
        "name": name,
        "kind": kind,
        "summary": "A plugin",
        "license": "MIT",
        "artifacts": ["bleed/bass"],
        "entry": package if kind == "hooks" else f"{package}:entry",
        **changes,
    }
    return {f"{package}/__init__.py": _noting(name) + text, f"{package}/stemprover.json": json.dumps(manifest)}


def _noting(name: str) -> str:
    """Code that tells :data:`IMPORTED` that a package is imported."""
    return _NOTE.format(variable=IMPORTED, name=name)


def adapter(name: str, config: bytes, data: bytes, **changes: Any) -> dict[str, bytes | str]:
    """The files of an adapter with these contents; its hashes are right unless ``files`` is among the changes."""
    package = f"acme_{name.replace('-', '_')}"
    hashes = {"adapter_config.json": sha256(config), "adapter_model.safetensors": sha256(data)}
    files = adapter_files(name, **{"files": hashes, **_CLAIM, **changes})
    return {
        **files,
        f"{package}/__init__.py": _noting(name),
        f"{package}/adapter/adapter_config.json": config,
        f"{package}/adapter/adapter_model.safetensors": data,
    }


def good_plugins(trained: Path) -> dict[str, Files]:
    """A detector and an adapter that work, by distribution; they must not suffer from the others."""
    config, weights = ((trained / f"adapter_{part}").read_bytes() for part in ("config.json", "model.safetensors"))
    finder = code("finder", "detector", _FINDER, artifacts=["bleed/drums"])
    repairer = adapter("repairer", config, weights, artifacts=["bleed"], metrics={"si_sdr_gain_db": 0.1})
    return {"acme-finder": finder, "acme-repairer": repairer}


class _Payload:
    """Leaves a mark when it is unpickled."""

    def __reduce__(self) -> tuple[Any, ...]:
        return exec, (f"import os, pathlib; pathlib.Path(os.environ[{MARKER!r}]).touch()",)


def _with_nan(trained: Path) -> bytes:
    tensors = load_file(trained / "adapter_model.safetensors")
    first = sorted(tensors)[0]
    tensors[first] = torch.full_like(tensors[first], float("nan"))
    return save(tensors, metadata={"base_sha256": base_identity().sha256})


def _huge_shape() -> bytes:
    shape = {"dtype": "F32", "shape": [1 << 20, 1 << 20], "data_offsets": [0, 1 << 42]}
    header = json.dumps({"base_model.model.unet.conv_in.lora_A.weight": shape}).encode()
    return len(header).to_bytes(8, "little") + header


def hostile_plugins(trained: Path) -> tuple[Hostile, ...]:
    """All cases, in the order of the table in the docs."""
    config, weights = ((trained / f"adapter_{part}").read_bytes() for part in ("config.json", "model.safetensors"))
    cases = {
        **_code_cases(),
        **_working_cases(),
        **_manifest_cases(config, weights),
        **_weight_cases(trained, config, weights),
    }
    return tuple(Hostile(title, f"acme-{name}", files) for name, (title, files) in cases.items())


def _code_cases() -> dict[str, tuple[str, Files]]:
    waits = "import threading\n" + _SCORE.format("threading.Event().wait()")
    nonsense = _FINDER.replace("0.95", "np.nan").replace("bleed/drums", "bleed/bass")
    prints = "print('noise')\n" + _HOOK.format("print('noise')")
    return {
        "raises": ("raises when it is imported", code("raises", "detector", "raise RuntimeError('boom')\n")),
        "exits": ("exits when it is imported", code("exits", "detector", "import sys\nsys.exit(3)\n")),
        "loops": ("never ends its import", code("loops", "detector", "while True:\n    pass\n")),
        "prints": ("prints, at import and in a hook", code("prints", "hooks", prints)),
        "score-raises": (
            "detector raises",
            code("score-raises", "detector", _SCORE.format("raise ValueError('no idea')")),
        ),
        "score-hangs": ("detector never answers", code("score-hangs", "detector", waits)),
        "score-nan": ("detector answers nonsense", code("score-nan", "detector", nonsense)),
        "hook-exits": ("exits in a hook", code("hook-exits", "hooks", _HOOK.format("raise SystemExit(1)"))),
    }


def _working_cases() -> dict[str, tuple[str, Files]]:
    """Separators and metrics that start well and fail at their work."""
    cases: dict[str, tuple[str, Files]] = {}
    says = {"raises": "raises", "exits": "exits", "prints": "prints", "hangs": "never answers"}
    for way, does in _WAYS.items():
        name = f"separator-{way}"
        text, form = _SEPARATOR.format(name=name, does=does), {"stems": ["drums", "other"], "sample_rate": 44100}
        cases[name] = (f"separator {says[way]}", code(name, "separator", text, artifacts=[], **form))
    for way, does in _WAYS.items():
        name = f"metric-{way}"
        cases[name] = (f"metric {says[way]}", code(name, "metric", _METRIC.format(does=does), artifacts=[]))
    return cases


def _manifest_cases(config: bytes, weights: bytes) -> dict[str, tuple[str, Files]]:
    huge = json.dumps({"api": 1, "summary": "x" * 2_000_000})
    second = code("twin", "hooks", "raise RuntimeError\n")
    slip = {"../../../../etc/passwd.json": "0" * 64}
    outside = {"path": "../../../.."}
    theirs = {"id": "their-base", "sha256": "c" * 64}
    return {
        "corrupt": (
            "corrupt manifest",
            {"acme_corrupt/__init__.py": _noting("corrupt"), "acme_corrupt/stemprover.json": b"\xff\xfe{"},
        ),
        "huge": ("huge manifest", {"acme_huge/__init__.py": _noting("huge"), "acme_huge/stemprover.json": huge}),
        "api": ("made for another API", code("api", "detector", "raise RuntimeError\n", api=99)),
        "twin": ("first of two with one name", code("twin", "hooks", _HOOK.format("pass"))),
        "twin-copy": (
            "second of two with one name",
            {path.replace("acme_twin", "acme_twin_copy"): text for path, text in second.items()},
        ),
        "base": ("weights for another base", adapter("base", config, weights, base=theirs)),
        "slip": ("files outside the package", adapter("slip", config, weights, files=slip)),
        "slip-weights": ("weights outside the package", adapter("slip-weights", config, weights, weights=outside)),
    }


def _weight_cases(trained: Path, config: bytes, weights: bytes) -> dict[str, tuple[str, Files]]:
    pickled = pickle.dumps(_Payload())
    missing = adapter("missing", config, weights)
    del missing["acme_missing/adapter/adapter_model.safetensors"]
    listed = {"adapter_config.json": sha256(config), "adapter_model.bin": sha256(pickled)}
    absurd_rank = json.dumps({**json.loads(config), "r": 1 << 40}).encode()
    changed = adapter("changed", config, weights, files=dict.fromkeys(_FILES, "0" * 64))
    return {
        "missing": ("weights are missing", missing),
        "bin": ("pickled weights", adapter("bin", config, weights, files=listed)),
        "pickle": ("a pickle named .safetensors", adapter("pickle", config, pickled)),
        "changed": ("files changed after the release", changed),
        "nan": ("NaN among the weights", adapter("nan", config, _with_nan(trained))),
        "shape": ("weights that claim 4 TB", adapter("shape", config, _huge_shape())),
        "rank": ("rank of a million million", adapter("rank", absurd_rank, weights)),
    }
