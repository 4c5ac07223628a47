"""Every command of the users' page is run, in the order of the page, with a real installer and no network."""

from __future__ import annotations

import json
import shlex
import shutil
import subprocess
from pathlib import Path

import pytest
import soundfile
from hub_server import COMMIT, Hub
from hub_server import hub_server as hub_server
from plugin_wheels import Environment, adapter_files, project, sha256, wheel

from stemprover.authoring import build_wheel

ROOT = Path(__file__).parent.parent
PAGE = ROOT / "docs" / "plugins" / "README.md"
GIT, REGISTRY = "https://host/acme/my-plugin.git", "https://intranet.example.com/plugins.yaml"
ADAPTER = ROOT / "plugins" / "stemprover-lora-drumbleed" / "stemprover_lora_drumbleed" / "adapter"
PLUGINS = {"breath", "tape", "vinyl", "hiss"}
"""From a wheel, a folder, a git address and the hub; ``drumbleed`` goes in the course of the page."""


def commands() -> list[list[str]]:
    lines = [line for line in PAGE.read_text(encoding="utf-8").splitlines() if line.startswith("    ")]
    return [words for words in (shlex.split(line, comments=True) for line in lines) if words]


def git(*words: str | Path, where: Path) -> str:
    author = ("-c", "user.name=Author", "-c", "user.email=author@example.org")
    return subprocess.run(["git", *author, *words], cwd=where, check=True, capture_output=True, text=True).stdout


@pytest.fixture(scope="module", name="drumbleed")
def drumbleed_wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build_wheel(ROOT / "plugins" / "stemprover-lora-drumbleed", tmp_path_factory.mktemp("wheels"))


def adapter(name: str) -> dict[str, bytes | str]:
    """The files of an adapter of this name with real weights, which the doctor looks into."""
    config, weights = ((ADAPTER / f"adapter_{part}").read_bytes() for part in ("config.json", "model.safetensors"))
    hashes = {"adapter_config.json": sha256(config), "adapter_model.safetensors": sha256(weights)}
    files = adapter_files(name, weights, files=hashes)
    return {**files, f"acme_{name}/adapter/adapter_config.json": config}


@pytest.fixture(name="places")
def what_a_reader_has(hub: Hub, drumbleed: Path, tmp_path: Path) -> dict[str, str]:
    """Make what the page takes for granted; returns what stands for its addresses."""
    shutil.copy(drumbleed, tmp_path)
    wheel(tmp_path, "acme-breath", adapter("breath"), version="1.0")
    project(tmp_path / "my-plugin", "tape", adapter("tape"))
    repository = project(tmp_path / "repository", "vinyl", adapter("vinyl"))
    git("init", "--quiet", where=repository)
    git("add", ".", where=repository)
    git("commit", "--quiet", "--message", "An adapter", where=repository)
    for path, content in adapter("hiss").items():
        raw = content.encode() if isinstance(content, str) else content
        hub.files["acme/hiss/" + path.partition("/")[2]] = raw
    audio, rate = soundfile.read(ROOT / "examples" / "east-bay" / "snare.flac", frames=44_100)
    for name in ("vocals.wav", "true.wav"):
        soundfile.write(tmp_path / name, audio, rate)
    entry = {"name": "choir", "kind": "lora", "distribution": "acme-choir", "summary": "A choir", "license": "MIT"}
    entry |= {"host": ">=0.1,<1", "artifacts": ["bleed/choir"], "base": "stemprover-base-v1"}
    (tmp_path / "company.yaml").write_text(json.dumps({"version": 1, "plugins": [entry]}))
    return {
        GIT: f"git+{repository.as_uri()}",
        "hf:OWNER/REPOSITORY@COMMIT": f"hf:acme/hiss@{COMMIT}",
        f"STEMPROVER_REGISTRY={REGISTRY}": f"STEMPROVER_REGISTRY={tmp_path / 'company.yaml'}",
    }


@pytest.mark.timeout(900)
def test_the_users_page_from_start_to_end(hub: Hub, places: dict[str, str], tmp_path: Path) -> None:
    env = Environment(tmp_path / "environment")
    env.variables |= {"PIP_FIND_LINKS": str(tmp_path), "HF_ENDPOINT": hub.address}
    lines, said = commands(), {}
    assert set(places) <= {word for words in lines for word in words}
    for words in lines:
        program, *arguments = (places.get(word, word) for word in words)
        if program == "export":
            env.variables.update(argument.split("=", 1) for argument in arguments)
            continue
        assert program == "stemprover", words
        done = env.run(*arguments, cwd=tmp_path)
        assert done.returncode == 0, f"{words}\n{done.stdout}\n{done.stderr}"
        said[" ".join(words[1:])] = done.stdout
    assert len(said) == len(lines) - 1 >= 19, "all but the variable"
    assert "si_sdr_gain_db" in said["plugins info drumbleed"]
    assert "choir" in said["plugins search --registry company.yaml"]
    assert "choir" in env.run("plugins", "search").stdout, "the variable is read"
    assert said["plugins doctor"] == "nothing is broken\n"
    assert said["plugins sync"] == "all 4 plugins are as locked\n"

    listed = env.run("plugins", "list", "--json")
    assert {one["name"] for one in json.loads(listed.stdout) if one["distribution"] != "stemprover"} == PLUGINS
    assert env.run("plugins", "uninstall", *PLUGINS).returncode == 0
    back = env.run("plugins", "sync", HF_HUB_OFFLINE="1")
    assert back.returncode == 0, back.stderr
    assert set(env.listed()) == {"acme-breath", "acme-tape", "acme-vinyl", "hf:acme/hiss"}
    assert env.run("plugins", "verify").returncode == 0


@pytest.mark.timeout(900)
def test_a_commit_is_locked_and_not_what_the_branch_became(places: dict[str, str], tmp_path: Path) -> None:
    env = Environment(tmp_path / "environment")
    assert env.run("plugins", "install", places[GIT]).returncode == 0
    assert env.run("plugins", "lock").returncode == 0
    repository = tmp_path / "repository"
    (repository / "acme_vinyl" / "adapter" / "adapter_config.json").write_text('{"changed": "since"}')
    git("commit", "--quiet", "--all", "--message", "Another", where=repository)
    assert env.run("plugins", "uninstall", "vinyl").returncode == 0
    assert env.run("plugins", "sync").returncode == 0
    assert (env.site / "acme_vinyl" / "adapter" / "adapter_config.json").read_bytes() == (
        ADAPTER / "adapter_config.json"
    ).read_bytes()
