"""``plugins install`` and its kin, with a real pip or uv in a real environment and a folder as package index."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
from plugin_wheels import Environment, adapter_files, project, wheel

from stemprover.errors import PluginError, PluginNotFoundError
from stemprover.plugins.index import registry
from stemprover.plugins.requests import read_request

ENTRY = {
    "kind": "lora",
    "summary": "An adapter",
    "license": "MIT",
    "host": ">=0.1,<1",
    "artifacts": ["bleed/drums"],
    "base": "stemprover-base-v1",
}


def company(folder: Path, *names: str) -> Path:
    """A registry of its own with these adapters."""
    path = folder / "company.yaml"
    entries = [{**ENTRY, "name": name, "distribution": f"acme-{name}"} for name in names]
    path.write_text(json.dumps({"version": 1, "plugins": entries}), encoding="utf-8")
    return path


@pytest.fixture(scope="module", name="environment")
def shared_environment(tmp_path_factory: pytest.TempPathFactory) -> Environment:
    return Environment(tmp_path_factory.mktemp("environment"))


def test_from_a_registry_by_name_then_removed(environment: Environment, tmp_path: Path) -> None:
    wheel(environment.index, "acme-hiss", adapter_files("hiss"), requires=["acme-helper"])
    wheel(environment.index, "acme-helper", {"acme_helper/__init__.py": ""}, version="0.3")
    named = ("hiss", "--registry", company(tmp_path, "hiss", "drumbleed"))
    found = environment.run("plugins", "search", "hiss", *named[1:], "--json")
    assert json.loads(found.stdout)[0]["install"] == f"stemprover plugins install hiss --registry {named[2]}"
    shown = environment.run("plugins", "install", *named, "--dry-run")
    assert (shown.returncode, environment.listed()) == (0, {})
    assert sorted(shown.stdout.splitlines()) == ["acme-helper 0.3: new", "acme-hiss 1.2: new"]
    assert "drumbleed (acme-drumbleed) is left out" in shown.stderr  # a later registry hides nothing
    done = environment.run("plugins", "install", *named)
    assert (done.returncode, done.stdout.splitlines()[-1]) == (0, "hiss: installed")
    assert environment.listed()["acme-hiss"]["status"] == "ok"
    gone = environment.run("plugins", "uninstall", "hiss")
    assert (gone.returncode, gone.stdout) == (0, "hiss: removed (acme-hiss 1.2)\n")
    assert environment.listed() == {}


def test_a_plan_that_moves_torch_is_shown_and_refused(environment: Environment, tmp_path: Path) -> None:
    greedy = wheel(tmp_path, "acme-greedy", adapter_files("greedy"), requires=["torch>=99"])
    wheel(environment.index, "torch", {"torch/__init__.py": ""}, version="99.0")
    refused = environment.run("plugins", "install", greedy)
    assert refused.returncode == 2
    assert "-> 99.0" in refused.stdout
    assert "expected stemprover and torch to stay as they are, got torch " in refused.stderr
    assert "--allow-host-changes" in refused.stderr
    assert environment.listed() == {}
    allowed = environment.run("plugins", "install", greedy, "--allow-host-changes", "--dry-run")
    assert allowed.returncode == 0
    (environment.index / "torch-99.0-py3-none-any.whl").unlink()


def test_what_the_installer_cannot_solve_is_one_line(environment: Environment, tmp_path: Path) -> None:
    needy = wheel(tmp_path, "acme-needy", adapter_files("needy"), requires=["nobody-has-this"])
    failed = environment.run("plugins", "install", needy)
    assert (failed.returncode, failed.stdout, failed.stderr.count("\n")) == (2, "", 1)
    assert "nobody-has-this" in failed.stderr
    assert "nothing was changed; no package index that was asked has it" in failed.stderr


def test_folder_lock_loss_and_sync_into_another_environment(environment: Environment, tmp_path: Path) -> None:
    source = project(tmp_path / "project", "tape")
    packed = wheel(tmp_path / "wheels", "acme-vinyl", adapter_files("vinyl"))
    done = environment.run("plugins", "install", source, packed)
    assert (done.returncode, done.stderr) == (0, "")
    assert {name: one["version"] for name, one in environment.listed().items()} == {
        "acme-tape": "3.0",
        "acme-vinyl": "1.2",
    }
    assert environment.run("plugins", "lock").returncode == 0

    upgraded = Environment(tmp_path / "upgraded")  # as after `uv tool upgrade` or a new virtual environment
    upgraded.variables["STEMPROVER_HOME"] = environment.variables["STEMPROVER_HOME"]
    (source / "acme_tape" / "adapter" / "adapter_config.json").write_text('{"changed": "since"}')
    synced = upgraded.run("plugins", "sync")
    plugins = upgraded.listed()
    assert plugins["acme-vinyl"]["status"] == "ok"
    assert plugins["acme-tape"]["status"] == "disabled"  # it came with other files than were locked
    assert synced.returncode == 2
    assert "tape with other files" in synced.stderr

    damaged = environment.site / "acme_vinyl" / "adapter" / "adapter_model.safetensors"
    damaged.write_bytes(b"weighty")
    shown = environment.run("plugins", "verify")
    assert shown.returncode == 2
    assert "vinyl" in shown.stderr
    assert re.search(r"tape: \d+ files as released", shown.stdout)  # goes on after the first that fails
    assert environment.run("plugins", "sync", "--dry-run").stdout.splitlines() == ["acme-vinyl 1.2 -> 1.2"]
    assert environment.run("plugins", "install", "--reinstall", "vinyl").returncode == 0
    assert damaged.read_bytes() == b"weights"


def test_verify_finds_what_no_manifest_lists_and_knows_plugins_by_their_distribution(
    environment: Environment, tmp_path: Path
) -> None:
    packed = wheel(tmp_path / "wheels", "acme-shellac", adapter_files("shellac"))
    assert environment.run("plugins", "install", packed).returncode == 0
    assert environment.run("plugins", "verify", "acme-shellac").returncode == 0
    manifest = environment.site / "acme_shellac" / "stemprover.json"
    manifest.write_text(manifest.read_text() + "\n")
    shown = environment.run("plugins", "verify", "shellac")
    assert (shown.returncode, "stemprover.json" in shown.stderr) == (2, True)
    assert "install --reinstall acme-shellac" in shown.stderr
    manifest.unlink()
    assert "stemprover.json" in environment.run("plugins", "verify", "acme-shellac").stderr
    assert environment.run("plugins", "install", "--reinstall", "acme-shellac").returncode == 0
    assert environment.run("plugins", "disable", "acme_shellac").stdout == "shellac is switched off\n"
    assert environment.listed()["acme-shellac"]["status"] == "disabled"
    assert environment.run("plugins", "enable", "Acme.Shellac").stdout == "shellac is switched on\n"
    assert environment.listed()["acme-shellac"]["status"] == "ok"


def test_uv_does_the_same_where_there_is_no_pip(tmp_path: Path) -> None:
    environment = Environment(tmp_path / "uv", pip=False)
    packed = wheel(tmp_path / "wheels", "acme-vinyl", adapter_files("vinyl"))
    shown = environment.run("plugins", "install", packed, "--dry-run")
    assert (shown.returncode, shown.stdout, environment.listed()) == (0, "acme-vinyl 1.2: new\n", {})
    assert environment.run("plugins", "install", packed).returncode == 0
    assert environment.listed()["acme-vinyl"]["status"] == "ok"
    assert environment.run("plugins", "uninstall", "vinyl").returncode == 0
    assert environment.listed() == {}
    nowhere = environment.run("plugins", "install", "drumbleed")
    assert "nothing was changed; no package index that was asked has it" in nowhere.stderr
    alone = environment.run("plugins", "install", packed, PATH="")
    assert "got neither in this environment" in alone.stderr


@pytest.mark.parametrize(
    ("text", "requirement"),
    [
        ("drumbleed", "stemprover-lora-drumbleed"),
        ("bs_roformer", "stemprover-separator-audio-separator"),
        ("hdemucs_high_musdb", "stemprover-separator-torchaudio"),
        ("Stemprover_LoRA.drumbleed==0.1", "stemprover-lora-drumbleed==0.1"),
        ("https://example.org/acme/tool.git", "git+https://example.org/acme/tool.git"),
        ("git+ssh://git@example.org/acme/tool@v1", "git+ssh://git@example.org/acme/tool@v1"),
        ("https://example.org/a-1-py3-none-any.whl", "https://example.org/a-1-py3-none-any.whl"),
    ],
)
def test_what_is_asked_for(text: str, requirement: str) -> None:
    assert read_request(text, registry()).requirement == requirement


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("drumbleet", "did you mean 'drumbleed'"),
        ("requests", "a plugin of a registry"),
        ("--index-url=https://evil", "name a wheel|use https"),
        ("drumbleed --pre", "a plugin of a registry"),
        ("./nowhere.whl", "nothing at"),
        ("file:///etc/passwd", "use https"),
        ("https://evil/ --pre", "use https"),
        ("hf:acme/adapter", "40 hex digits"),
        ("hf:acme/adapter@main", "branches and tags change"),
    ],
)
def test_what_is_not_understood_is_one_clear_error(text: str, reason: str) -> None:
    with pytest.raises((PluginNotFoundError, PluginError), match=reason) as caught:
        read_request(text, registry())
    assert str(caught.value).isprintable()


def test_folder_without_a_project(tmp_path: Path) -> None:
    with pytest.raises(PluginError, match=r"pyproject\.toml.*plugins pack"):
        read_request(str(tmp_path), registry())


def test_upgrade_takes_the_newest_of_what_came_from_the_index(tmp_path: Path) -> None:
    environment = Environment(tmp_path / "environment")
    wheel(environment.index, "acme-hiss", adapter_files("hiss"))
    assert environment.run("plugins", "install", "hiss", "--registry", company(tmp_path, "hiss")).returncode == 0
    wheel(environment.index, "acme-hiss", adapter_files("hiss"), version="1.3")
    again = environment.run("plugins", "install", "hiss")
    assert again.stdout == "nothing to change: it is all installed\n"
    newest = environment.run("plugins", "install", "--upgrade", "hiss")  # no registry here knows it
    assert (newest.returncode, newest.stdout.splitlines()[0]) == (0, "acme-hiss 1.2 -> 1.3")


def test_upgrade_of_what_came_from_elsewhere_never_asks_the_index(environment: Environment, tmp_path: Path) -> None:
    theirs = {"base": {"id": "theirs", "sha256": "c" * 64}}
    packed = wheel(tmp_path, "acme-crackle", adapter_files("crackle", **theirs))
    environment.pip("install", "--no-deps", packed)
    wheel(environment.index, "acme-crackle", adapter_files("crackle"), version="9.0")  # a stranger's, of this name
    for text in ("crackle", "acme-crackle>=2"):
        refused = environment.run("plugins", "install", "--upgrade", text)
        assert (refused.returncode, refused.stderr.count("\n")) == (2, 1)
        assert "came from acme-crackle @ file://" in refused.stderr
    beside = environment.run("plugins", "install", "--upgrade", packed)
    assert "leave --upgrade out" in beside.stderr
    doctor = environment.run("plugins", "doctor")
    assert "  mend:  stemprover plugins uninstall 'acme-crackle'" in doctor.stdout
    assert environment.run("plugins", "uninstall", "crackle").returncode == 0
