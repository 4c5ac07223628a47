"""Build a wheel with the environment's own tools."""

from __future__ import annotations

import importlib.metadata
import importlib.util
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

from stemprover.errors import PluginError
from stemprover.plugins.versions import version_in_range

__all__ = ["build_wheel"]

_SETUPTOOLS = ">=77"
_LEFT_OUT = ("build", "dist", "*.egg-info", ".*", "__pycache__", "venv", "songs", "recordings", "pairs", "run", "runs")
"""What no wheel is made of: left-overs, environments, and the folders of audio of a project from the templates."""


def build_wheel(project: Path, out: Path) -> Path:
    """Build the wheel of a project folder into ``out`` and return its path.

    ``pip`` builds it, or ``uv`` where the environment has no pip. If setuptools is installed here, nothing is
    downloaded.

    Raises
    ------
    PluginError
        The build failed, or there is neither pip nor uv.
    """
    with tempfile.TemporaryDirectory() as scratch:
        # Built from a copy: setuptools leaves its own folders behind.
        source = Path(scratch) / project.name
        shutil.copytree(project, source, ignore=shutil.ignore_patterns(*_LEFT_OUT))
        made = Path(scratch) / "wheel"
        command = _command(source, made)
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        wheels = sorted(made.glob("*.whl"))
        if done.returncode or len(wheels) != 1:
            lines = (done.stderr or done.stdout).strip().splitlines()
            reason = lines[-1] if lines else f"exit code {done.returncode}"
            fix = f"mend the project; 'stemprover plugins validate {project}' says what else is wrong"
            raise PluginError(f"{' '.join(command[:4])} to build a wheel of {project}", reason, fix)
        out.mkdir(parents=True, exist_ok=True)
        return Path(shutil.copy2(wheels[0], out))


def _command(source: Path, out: Path) -> list[str]:
    isolated = not _has_setuptools()
    if importlib.util.find_spec("pip") is not None:
        command = [sys.executable, "-m", "pip", "wheel", "--no-deps", "--wheel-dir", str(out), str(source)]
        return command if isolated else [*command, "--no-build-isolation"]
    uv = shutil.which("uv")
    if uv is None:
        raise PluginError("pip or uv, which build wheels", "neither", "install pip into this environment")
    command = [uv, "build", "--wheel", "--out-dir", str(out), str(source)]
    return command if isolated else [*command, "--no-build-isolation", "--python", sys.executable]


def _has_setuptools() -> bool:
    try:
        return version_in_range(importlib.metadata.version("setuptools"), _SETUPTOOLS)
    except importlib.metadata.PackageNotFoundError:
        return False
