"""Real wheels of small plugins, and a real virtual environment to install them into with a real installer."""

from __future__ import annotations

import base64
import hashlib
import json
import os
import subprocess
import sys
import zipfile
from collections.abc import Mapping, Sequence
from importlib import metadata
from pathlib import Path
from typing import Any

from plugin_site import lora_manifest

from stemprover.plugins import base_identity

__all__ = ["Environment", "adapter_files", "project", "sha256", "wheel"]

ROOT = Path(__file__).parent.parent
PROGRAM = "from stemprover.cli.main import main; main()"


def sha256(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def wheel(
    folder: Path, name: str, files: Mapping[str, bytes | str], version: str = "1.2", requires: Sequence[str] = ()
) -> Path:
    """Build a wheel as a build backend would; its package is the first part of the files' paths."""
    stem = f"{name.replace('-', '_')}-{version}"
    package = next(iter(files)).partition("/")[0]
    needs = "".join(f"Requires-Dist: {one}\n" for one in requires)
    info = {
        "METADATA": f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n{needs}",
        "WHEEL": "Wheel-Version: 1.0\nGenerator: test\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
        "entry_points.txt": f"[stemprover.plugins]\n{name.removeprefix('acme-')} = {package}\n",
    }
    content = dict(files) | {f"{stem}.dist-info/{key}": text for key, text in info.items()}
    if not any(path.endswith("stemprover.json") for path in files):  # not a plugin
        del content[f"{stem}.dist-info/entry_points.txt"]
    record = f"{stem}.dist-info/RECORD"
    lines = []
    path = folder / f"{stem}-py3-none-any.whl"
    folder.mkdir(parents=True, exist_ok=True)
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for inner, data in content.items():
            raw = data.encode() if isinstance(data, str) else data
            archive.writestr(inner, raw)
            digest = base64.urlsafe_b64encode(hashlib.sha256(raw).digest()).rstrip(b"=").decode()
            lines.append(f"{inner},sha256={digest},{len(raw)}\n")
        archive.writestr(record, "".join(lines) + f"{record},,\n")
    return path


def adapter_files(plugin: str, data: bytes = b"weights", **changes: Any) -> dict[str, bytes | str]:
    """The files of an adapter's package ``acme_<name>`` that says to be made for the embedded base."""
    package = f"acme_{plugin.replace('-', '_')}"
    changes = {"base": base_identity()._asdict(), **changes}
    changes.setdefault("files", {"adapter_config.json": sha256(b"{}"), "adapter_model.safetensors": sha256(data)})
    return {
        f"{package}/__init__.py": "",
        f"{package}/stemprover.json": json.dumps(lora_manifest(plugin, **changes)),
        f"{package}/adapter/adapter_config.json": b"{}",
        f"{package}/adapter/adapter_model.safetensors": data,
    }


def project(folder: Path, plugin: str, files: Mapping[str, bytes | str] | None = None) -> Path:
    """A source folder as an author has it, with these files in place of a small adapter's."""
    for path, content in (files or adapter_files(plugin)).items():
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        (folder / path).write_bytes(content.encode() if isinstance(content, str) else content)
    package = f"acme_{plugin}"
    (folder / "pyproject.toml").write_text(
        '[build-system]\nrequires = ["setuptools"]\nbuild-backend = "setuptools.build_meta"\n'
        f'[project]\nname = "acme-{plugin}"\nversion = "3.0"\n'
        f'[project.entry-points."stemprover.plugins"]\n{plugin} = "{package}"\n'
        f'[tool.setuptools]\npackages = ["{package}"]\n'
        f'[tool.setuptools.package-data]\n{package} = ["*.json", "adapter/*"]\n'
    )
    return folder


class Environment:
    """A virtual environment with the host in it, which borrows all other packages from the one that runs the tests.

    Parameters
    ----------
    folder : Path
        Where to make it; ``folder / "index"`` stands for the package index.
    pip : bool
        Whether pip can be imported in it; uv is found on the path. uv does not see what is borrowed, so the host says
        to need nothing then.
    detectors : bool
        Whether the detectors of this repository are in it.
    """

    def __init__(self, folder: Path, pip: bool = True, detectors: bool = False) -> None:
        self.folder, self.index = folder, folder / "index"
        self.index.mkdir(parents=True)
        subprocess.run([sys.executable, "-m", "venv", "--without-pip", folder / "venv"], check=True)
        self.python = folder / "venv" / "bin" / "python"
        (self.site,) = (folder / "venv").glob("lib/python*/site-packages")
        lines = [str(ROOT), *([str(ROOT / "detectors")] if detectors else [])]
        lines.append(f"import site; site.addsitedir({str(self._borrowed())!r})")
        self._add_distribution("stemprover", metadata.requires("stemprover") or [] if pip else [])
        if detectors:
            self._add_distribution("stemprover-detectors", [])
        if not pip:
            lines.append("import sys; sys.modules['pip'] = None")
        (self.site / "shared.pth").write_text("\n".join(lines) + "\n")
        self.variables = {
            "STEMPROVER_HOME": str(folder / "home"),
            "PIP_CONFIG_FILE": os.devnull,  # what a machine caps or adds is not tested
            "PIP_NO_INDEX": "1",
            "PIP_FIND_LINKS": str(self.index),
            "PIP_NO_BUILD_ISOLATION": "0",  # means that there is none
            "PIP_NO_CACHE_DIR": "1",
            "UV_OFFLINE": "1",
            "UV_NO_INDEX": "1",
            "UV_FIND_LINKS": str(self.index),
            "UV_NO_CACHE": "1",
            "HF_HOME": str(folder / "hub"),
            "HF_HUB_DISABLE_PROGRESS_BARS": "1",
            "OMP_NUM_THREADS": "1",
        }

    def _borrowed(self) -> Path:
        """A folder with everything that is installed here, but for this repository's own distributions."""
        folder = self.folder / "borrowed"
        folder.mkdir()
        for site in (Path(path) for path in sys.path if path.endswith("site-packages")):
            for path in site.iterdir():
                if "stemprover" not in path.name and not (folder / path.name).exists():
                    (folder / path.name).symlink_to(path)
        return folder

    def _add_distribution(self, name: str, requires: Sequence[str]) -> None:
        """Say that one of this repository's distributions is installed."""
        version = metadata.version(name)
        info = self.site / f"{name.replace('-', '_')}-{version}.dist-info"
        info.mkdir()
        needs = "".join(f"Requires-Dist: {one}\n" for one in requires)
        (info / "METADATA").write_text(
            f"Metadata-Version: 2.1\nName: {name}\nVersion: {metadata.version(name)}\n{needs}"
        )
        (info / "RECORD").write_text("")
        (info / "INSTALLER").write_text("pip\n")
        text = metadata.distribution(name).read_text("entry_points.txt")
        (info / "entry_points.txt").write_text(text or "")

    def run(
        self, *arguments: str | Path, cwd: Path | None = None, **variables: str
    ) -> subprocess.CompletedProcess[str]:
        """Run ``stemprover`` in it."""
        return self._run(["-c", PROGRAM, *map(str, arguments)], variables, cwd)

    def pip(self, *arguments: str | Path) -> None:
        """Run pip in it, past the host."""
        done = self._run(["-m", "pip", *map(str, arguments)], {}, None)
        assert done.returncode == 0, done.stderr

    def _run(
        self, arguments: Sequence[str], variables: Mapping[str, str], cwd: Path | None
    ) -> subprocess.CompletedProcess[str]:
        path = os.pathsep.join([str(Path(sys.executable).parent), os.environ.get("PATH", "")])
        kept = {key: value for key, value in os.environ.items() if not key.startswith(("PIP_", "UV_", "STEMPROVER_"))}
        environment = {**kept, "PATH": path, **self.variables, **variables}
        command = [str(self.python), *arguments]
        return subprocess.run(command, capture_output=True, text=True, env=environment, cwd=cwd, check=False)

    def listed(self) -> dict[str, dict[str, Any]]:
        """What ``plugins list`` says, by distribution, without what the shared environment has."""
        done = self.run("plugins", "list", "--json")
        assert done.returncode == 0, done.stderr
        found = {plugin["distribution"]: plugin for plugin in json.loads(done.stdout)}
        return {name: plugin for name, plugin in found.items() if not name.startswith("stemprover")}
