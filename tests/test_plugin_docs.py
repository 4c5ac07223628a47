"""Every command of the pages for plugin authors is run, in the order of the page, with smaller numbers."""

from __future__ import annotations

import json
import re
import shlex
from collections.abc import Iterator
from pathlib import Path

import pytest
import soundfile
from clean_env import ROOT, CleanEnv
from clean_env import clean_env as clean_env
from clean_env import host_wheel as host_wheel
from safetensors.torch import load_file, save_file

from stemprover.plugins import read_manifest

PAGES = ROOT / "docs" / "plugins"
PROGRAMS = ("stemprover", "pip", "python", "pytest", "git", "cd")
SMALLER = {
    "first-adapter.md": {
        "--count 40 --seconds 30": "--count 1 --seconds 4",
        "--steps 600": "--steps 2 --batch-size 1",
        "git@github.com:you/stemprover-lora-metallic.git": "REMOTE",
    },
    "code.md": {},
    "manifest.md": {},
}
OFFLINE = {"pip install": "pip install --no-build-isolation", "pip wheel": "pip wheel --no-build-isolation"}


def code_lines(page: str) -> Iterator[str]:
    """Yield the lines of indented code blocks; fenced ones hold Python or TOML."""
    fenced = False
    for line in (PAGES / page).read_text(encoding="utf-8").splitlines():
        fenced ^= line.startswith("```")
        if not fenced and line.startswith("    ") and line.strip():
            yield line.strip()


def commands(page: str) -> list[list[str]]:
    lines = list(code_lines(page))
    for old, new in (SMALLER[page] | OFFLINE).items():
        assert old in OFFLINE or any(old in line for line in lines), f"{page} says {old!r} no longer"
        lines = [line.replace(old, new) for line in lines]
    return [shlex.split(line) for line in lines]


def follow(env: CleanEnv, page: str, start: Path, remote: Path | None = None) -> Path:
    """Run a page's commands one after the other; returns the folder that they end in."""
    where = start
    for command in commands(page):
        command = [str(remote) if word == "REMOTE" else word for word in command]
        if command[0] == "cd":
            where = where / command[1]
            continue
        for word in command:
            if word in PROPS:
                PROPS[word](where)
        env.run(*command, where=where)
    return where


def another_trainers_file(project: Path) -> None:
    """Write the project's adapter as kohya's trainer does."""
    weights = load_file(project / "stemprover_lora_metallic" / "adapter" / "adapter_model.safetensors")
    flat = {}
    for key, value in weights.items():
        module, _, side = key.removeprefix("base_model.model.").removesuffix(".weight").rpartition(".")
        flat[f"lora_{module.replace('.', '_')}.lora_{'down' if side == 'lora_A' else 'up'}.weight"] = value
    save_file(flat, project / "lora.safetensors", {"ss_network_alpha": "8"})


def real_stem(folder: Path) -> None:
    """Write two seconds of the bundled kit."""
    audio, rate = soundfile.read(ROOT / "examples" / "east-bay" / "snare.flac", always_2d=True)
    soundfile.write(folder / "song-vocals.wav", audio[: 2 * rate], rate)


PROPS = {"lora.safetensors": another_trainers_file, "song-vocals.wav": real_stem}
"""Files that a reader would have, and what makes them here."""


@pytest.mark.parametrize("page", sorted(SMALLER))
def test_every_code_line_is_a_command_that_is_run(page: str) -> None:
    assert {words[0] for words in commands(page)} <= set(PROGRAMS)


def test_no_other_page_holds_commands() -> None:
    """Those of the users' page, ``README.md``, are run in ``test_plugin_user_page.py``."""
    others = {page.name for page in PAGES.glob("*.md")} - {*SMALLER, "README.md"}
    assert [line for page in sorted(others) for line in code_lines(page)] == []


def test_links_between_the_pages_lead_somewhere() -> None:
    for page in PAGES.glob("*.md"):
        for target in re.findall(r"\]\(([^)#]+)(?:#[^)]*)?\)", page.read_text(encoding="utf-8")):
            assert target.startswith("https://") or (PAGES / target).exists(), f"{page.name}: {target}"


def test_from_nothing_to_a_published_adapter(clean_env: CleanEnv, tmp_path: Path) -> None:
    remote = tmp_path / "remote.git"
    clean_env.run("git", "init", "--bare", "--quiet", remote)
    project = follow(clean_env, "first-adapter.md", tmp_path, remote)
    manifest = read_manifest(project / "stemprover_lora_metallic")
    assert manifest.artifacts == ("metallic",)
    assert isinstance(manifest.metrics["si_sdr_gain_db"], float), "the kit measured the gain on the pairs"
    trained = load_file(project / "stemprover_lora_metallic" / "adapter" / "adapter_model.safetensors")
    assert any(value.any() for key, value in trained.items() if ".lora_B." in key), "it is not the untrained one"
    assert (project / "vocals.repaired.flac").is_file()
    assert "v0.1.0" in clean_env.run("git", "tag", where=remote)
    tracked = clean_env.run("git", "ls-files", where=project).split()
    assert not any(name.startswith(("pairs/", "songs/", "recordings/", "run/")) for name in tracked)
    borrowed = read_manifest(tmp_path / "stemprover-lora-borrowed" / "stemprover_lora_borrowed")
    config = tmp_path / "stemprover-lora-borrowed" / "stemprover_lora_borrowed" / "adapter" / "adapter_config.json"
    assert (borrowed.name, json.loads(config.read_text())["lora_alpha"]) == ("borrowed", 8.0)
    follow(clean_env, "manifest.md", project)


def test_plugins_with_code(clean_env: CleanEnv, tmp_path: Path) -> None:
    project = follow(clean_env, "code.md", tmp_path)
    assert project == tmp_path / "stemprover-detector-clicks"
    for name in ("vocoder-borrowed-phase", "separator-middle"):
        assert (tmp_path / f"stemprover-{name}" / "pyproject.toml").is_file()
