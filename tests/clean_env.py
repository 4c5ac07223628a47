"""A clean virtual environment: torch and the other libraries of this one, but neither the host nor any plugin."""

from __future__ import annotations

import dataclasses
import os
import shutil
import stat
import subprocess
import sys
import sysconfig
import venv
from pathlib import Path

import pytest

from stemprover.authoring import build_wheel

ROOT = Path(__file__).parent.parent


@dataclasses.dataclass(frozen=True)
class CleanEnv:
    """An environment in ``folder``; ``work`` is an empty folder to run in."""

    folder: Path
    work: Path

    @property
    def bin(self) -> Path:
        return self.folder / ("Scripts" if os.name == "nt" else "bin")

    def variables(self) -> dict[str, str]:
        """What commands see: this environment first, no network, a configuration folder of their own."""
        kept = {
            key: value for key, value in os.environ.items() if not key.startswith(("STEMPROVER_", "PYTEST_", "PIP_"))
        }
        return kept | {
            "PATH": os.pathsep.join([str(self.bin), os.environ["PATH"]]),
            "VIRTUAL_ENV": str(self.folder),
            "STEMPROVER_HOME": str(self.folder / "home"),
            "PIP_CONFIG_FILE": os.devnull,  # what a machine caps or adds is not tested
            "PIP_NO_INDEX": "1",
            "PIP_DISABLE_PIP_VERSION_CHECK": "1",
            "HF_HUB_OFFLINE": "1",
            **{f"GIT_{role}_{part}": "Author" for role in ("AUTHOR", "COMMITTER") for part in ("NAME", "EMAIL")},
            "OMP_NUM_THREADS": os.environ.get("OMP_NUM_THREADS", "2"),
        }

    def run(self, *command: object, where: Path | None = None, code: int = 0) -> str:
        """Run a command in the environment and return what it printed."""
        done = subprocess.run(
            [str(part) for part in command],
            cwd=where or self.work,
            env=self.variables(),
            capture_output=True,
            text=True,
            timeout=900,
            check=False,
        )
        shown = f"{' '.join(map(str, command))}\n{done.stdout[-4000:]}\n{done.stderr[-4000:]}"
        assert done.returncode == code, shown
        return done.stdout


def make(folder: Path) -> CleanEnv:
    """Make an environment without host and plugins, in about a second."""
    libraries = folder / "libraries"
    libraries.mkdir(parents=True)
    for path in Path(sysconfig.get_path("purelib")).iterdir():
        # Distributions of this repository are installed here in editable mode; a .pth file would bring them back.
        if not path.name.startswith(("stemprover", "__editable__")) and path.suffix != ".pth":
            (libraries / path.name).symlink_to(path)
    made = folder / "env"
    venv.create(made, with_pip=False, symlinks=os.name != "nt")
    (folder / "work").mkdir()
    env = CleanEnv(made, folder / "work")
    python = env.bin / "python"
    site = env.run(python, "-c", "import sysconfig; print(sysconfig.get_path('purelib'))").strip()
    (Path(site) / "libraries.pth").write_text(f"{libraries}\n")
    for name, call in (("pip", "pip._internal.cli.main import main"), ("pytest", "pytest import main")):
        script = env.bin / name
        script.write_text(f"#!{python}\nimport sys\nfrom {call}\nsys.exit(main())\n")
        script.chmod(script.stat().st_mode | stat.S_IEXEC)
    return env


@pytest.fixture(scope="session")
def host_wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The host's wheel, built from a copy of what goes into it."""
    folder = tmp_path_factory.mktemp("host")
    source = folder / "stemprover-source"
    shutil.copytree(ROOT / "stemprover", source / "stemprover", ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copy2(ROOT / name, source)
    return build_wheel(source, folder)


@pytest.fixture(scope="module")
def clean_env(tmp_path_factory: pytest.TempPathFactory, host_wheel: Path) -> CleanEnv:
    """A clean environment with the host's wheel installed."""
    env = make(tmp_path_factory.mktemp("clean"))
    env.run(env.bin / "python", "-m", "pip", "install", "--quiet", "--no-deps", host_wheel)
    return env


if sys.platform == "win32":
    pytest.skip("needs symbolic links", allow_module_level=True)
