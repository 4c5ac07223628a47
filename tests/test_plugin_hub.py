"""Adapters from the hub: one commit, every file compared, the old one stays until the new one is whole."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from hub_server import COMMIT, Hub
from hub_server import hub_server as hub_server
from plugin_site import code_plugin, lora
from plugin_site import plugin_site as plugin_site
from plugin_wheels import adapter_files, sha256

from stemprover.cli.main import cli
from stemprover.errors import AdapterError, PluginError
from stemprover.plugins import adapter_folder, find, installed, resolver
from stemprover.plugins.base import base_identity
from stemprover.plugins.hub import HubSource, install_adapter, parse_source
from stemprover.plugins.install import InstallPlan, plan, uninstall
from stemprover.plugins.lock import differences, write_lock

SOURCE = HubSource("acme/breath", COMMIT)


def publish(hub: Hub, data: bytes = b"weights", **changes: Any) -> str:
    """Put the adapter ``breath`` on the hub; returns its manifest's SHA-256."""
    files = adapter_files("breath", data, **changes)
    for path, content in files.items():
        raw = content.encode() if isinstance(content, str) else content
        hub.files["acme/breath/" + path.partition("/")[2]] = raw
    return sha256(hub.files["acme/breath/stemprover.json"])


@pytest.fixture(name="home")
def home_folder(site: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path / "hub"))
    return tmp_path / "home" / "plugins"


def test_an_adapter_is_installed_listed_used_and_removed(hub: Hub, home: Path, tmp_path: Path) -> None:
    digest = publish(hub)
    plugin = install_adapter(parse_source(f"hf:acme/breath@{COMMIT}#sha256={digest}"), tmp_path / "cache")
    assert (plugin.name, plugin.status, plugin.distribution, plugin.version) == (
        *("breath", "ok", "hf:acme/breath"),
        COMMIT[:12],
    )
    listed = find("breath")
    assert listed == plugin
    assert adapter_folder(listed) == home / "breath" / "adapter"
    (locked,) = [one for one in write_lock()[0] if one.name == "breath"]
    assert (locked.source, differences([locked])) == (f"hf:acme/breath@{COMMIT}", [])
    assert [plugin.name for plugin in uninstall(["breath"])] == ["breath"]
    assert differences([locked]) == [(locked, "missing")]
    assert list(home.iterdir()) == []


def test_what_was_fetched_once_needs_no_network(hub: Hub, home: Path, tmp_path: Path) -> None:
    publish(hub)
    install_adapter(SOURCE, tmp_path / "cache")
    asked = len(hub.asked)
    uninstall(["breath"])
    assert install_adapter(SOURCE, tmp_path / "cache").status == "ok"
    assert len(hub.asked) == asked


@pytest.mark.parametrize("damage", ["cut", "tampered", "gone", "manifest"])
def test_a_bad_download_leaves_the_old_one_in_place(hub: Hub, home: Path, tmp_path: Path, damage: str) -> None:
    publish(hub, b"old")
    install_adapter(SOURCE, tmp_path / "first")
    before = {path: path.read_bytes() for path in home.rglob("*") if path.is_file()}
    source = SOURCE
    if damage == "manifest":
        source = HubSource(SOURCE.repository, COMMIT, publish(hub, b"new"))
        publish(hub, b"newer")
    else:
        publish(hub, b"new weights")
    if damage == "cut":
        hub.cut = 20
    if damage == "tampered":
        hub.files["acme/breath/adapter/adapter_model.safetensors"] = b"other bytes"
    if damage == "gone":
        del hub.files["acme/breath/adapter/adapter_model.safetensors"]
    with pytest.raises(AdapterError, match="stemprover.json" if damage in ("cut", "manifest") else "adapter_model"):
        install_adapter(source, tmp_path / "second")
    assert {path: path.read_bytes() for path in home.rglob("*") if path.is_file()} == before
    assert find("breath").status == "ok"
    assert [path.name for path in home.iterdir()] == ["breath"]  # no draft is left


def test_a_damaged_cache_is_fetched_again(hub: Hub, home: Path, tmp_path: Path) -> None:
    publish(hub)
    install_adapter(SOURCE, tmp_path / "cache")
    (cached,) = (tmp_path / "cache").glob("models--*/snapshots/*/adapter/adapter_model.safetensors")
    cached.resolve().write_bytes(b"rotten")
    assert install_adapter(SOURCE, tmp_path / "cache").status == "ok"
    assert (home / "breath" / "adapter" / "adapter_model.safetensors").read_bytes() == b"weights"


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"base": {"id": "theirs", "sha256": "c" * 64}}, "trained for base theirs"),
        ({"host": ">=7"}, "made for stemprover >=7"),
        ({"api": 2}, "'api'"),
        ({"weights": {"hub": "acme/other", "revision": COMMIT}}, "names another place"),
        ({"files": {"../../evil.json": "0" * 64}}, "'files'"),
        ({"files": {"adapter_model.bin": "0" * 64}}, "pickled"),
        ({"weights": {"path": "../.."}}, "weights.path"),
    ],
)
def test_what_does_not_fit_is_not_installed(
    hub: Hub, home: Path, tmp_path: Path, changes: dict[str, Any], reason: str
) -> None:
    publish(hub, **changes)
    with pytest.raises(PluginError, match=reason):
        install_adapter(SOURCE, tmp_path / "cache")
    assert not home.exists() or list(home.iterdir()) == []


def test_code_does_not_come_from_the_hub(hub: Hub, home: Path, tmp_path: Path, site: Path) -> None:
    publish(hub)
    manifest = json.loads(hub.files["acme/breath/stemprover.json"])
    manifest = {**manifest, "kind": "detector", "entry": "os:system"}
    hub.files["acme/breath/stemprover.json"] = json.dumps(manifest).encode()
    with pytest.raises(PluginError, match="code comes as a package"):
        install_adapter(SOURCE, tmp_path / "cache")
    smuggled = home / "clicks"
    code_plugin(home, "clicks", "detector", "raise RuntimeError").rename(smuggled)
    assert (find("clicks").status, find("clicks").reason) == (
        "broken",
        "this folder is for adapters; install code with pip",
    )
    uninstall(["clicks"])
    assert not smuggled.exists()


def test_a_name_that_a_package_has_is_refused_before_anything_changes(hub: Hub, home: Path, site: Path) -> None:
    publish(hub)
    lora(site, "breath", base=base_identity()._asdict())
    with pytest.raises(PluginError, match="uninstall acme-breath"):
        plan((), [SOURCE])
    assert not home.exists()


def test_damaged_origin_or_manifest_can_still_be_removed(hub: Hub, home: Path, tmp_path: Path) -> None:
    publish(hub)
    install_adapter(SOURCE, tmp_path / "cache")
    (home / "breath" / "origin.json").write_text("[" * 10_000)
    (home / "breath" / "stemprover.json").write_bytes(b"\xff")
    (broken,) = [plugin for plugin in installed() if plugin.folder == home / "breath"]
    assert (broken.name, broken.status, broken.distribution) == ("breath", "broken", "folder breath")
    uninstall(["breath"])
    assert list(home.iterdir()) == []


def test_command_line_from_the_hub_and_from_its_cache(hub: Hub, home: Path, tmp_path: Path) -> None:
    publish(hub)

    def run(*arguments: str, **variables: str) -> subprocess.CompletedProcess[str]:
        program = "from stemprover.cli.main import main; main()"
        own = {"HF_ENDPOINT": hub.address, "HF_HOME": str(tmp_path / "hf"), "HF_HUB_DISABLE_PROGRESS_BARS": "1"}
        command = [sys.executable, "-c", program, "plugins", *arguments]
        return subprocess.run(
            command, env={**os.environ, **own, **variables}, capture_output=True, text=True, check=False
        )

    done = run("install", f"hf:acme/breath@{COMMIT}")
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout == f"hf:acme/breath {COMMIT[:12]}: new\nbreath: installed\n"
    assert run("uninstall", "breath").stdout == f"breath: removed (hf:acme/breath {COMMIT[:12]})\n"
    assert run("install", f"hf:acme/breath@{COMMIT}", HF_HUB_OFFLINE="1").returncode == 0
    nothing = run("install", f"hf:acme/other@{COMMIT}", HF_HUB_OFFLINE="1")
    assert (nothing.returncode, nothing.stderr.count("\n")) == (2, 1)
    assert "check the network" in nothing.stderr


def test_an_adapter_of_another_repository_does_not_replace_one_of_the_same_name(
    hub: Hub, home: Path, tmp_path: Path
) -> None:
    publish(hub)
    install_adapter(SOURCE, tmp_path / "cache")
    theirs = {path.replace("acme/breath/", "evil/breath/"): raw for path, raw in hub.files.items()}
    hub.files.update(theirs)
    other = HubSource("evil/breath", COMMIT)
    for attempt in (lambda: install_adapter(other, tmp_path / "cache"), lambda: plan((), [other])):
        with pytest.raises(PluginError, match=r"breath, which hf:acme/breath has; run .*uninstall breath"):
            attempt()
    assert find("breath").distribution == "hf:acme/breath"
    assert install_adapter(SOURCE, tmp_path / "cache").status == "ok", "its own repository may replace it"
    uninstall(["breath"])
    with pytest.raises(PluginError, match="one adapter of the name breath"):
        plan((), [SOURCE, other])
    assert len(plan((), [SOURCE, SOURCE]).adapters) == 1


def test_a_name_of_the_hosts_own_cannot_be_taken(hub: Hub, home: Path, tmp_path: Path) -> None:
    publish(hub)
    manifest = json.loads(hub.files["acme/breath/stemprover.json"])
    hub.files["acme/breath/stemprover.json"] = json.dumps({**manifest, "name": "embedded"}).encode()
    with pytest.raises(PluginError, match="embedded, which is a part of stemprover; ask its author"):
        install_adapter(SOURCE, tmp_path / "cache")


def test_what_does_not_fit_is_refused_when_it_is_planned(hub: Hub, home: Path) -> None:
    publish(hub, base={"id": "theirs", "sha256": "c" * 64})
    with pytest.raises(PluginError, match=r"trained for base theirs.*name another commit"):
        plan((), [SOURCE])


def test_files_are_fetched_before_the_installer_changes_anything(
    hub: Hub, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    publish(hub)
    del hub.files["acme/breath/adapter/adapter_model.safetensors"]
    monkeypatch.setattr(resolver, "apply", lambda *arguments, **options: pytest.fail("pip was run"))
    change = resolver.Change("acme-hiss", "", "1.2")
    with pytest.raises(AdapterError, match="adapter_model"):
        InstallPlan(("acme-hiss",), (SOURCE,), (change,)).apply()


def test_the_installer_hears_of_packages_only(hub: Hub, home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    publish(hub)
    asked: list[object] = []
    monkeypatch.setattr(resolver, "apply", lambda *arguments, **options: asked.extend(arguments))
    changes = (resolver.Change("acme-hiss", "", "1.2"), *plan((), [SOURCE]).changes)
    assert [plugin.name for plugin in InstallPlan(("acme-hiss",), (SOURCE,), changes).apply()] == ["breath"]
    assert asked[2] == [changes[0]], "an adapter's commit is no version of a package"


def test_when_the_installer_refuses_nothing_is_removed(
    hub: Hub, home: Path, site: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    publish(hub)
    install_adapter(SOURCE, tmp_path / "cache")
    lora(site, "hiss", base=base_identity()._asdict())

    def refuse(names: object) -> None:
        raise PluginError("pip to find a way", "none", "try again")

    monkeypatch.setattr(resolver, "uninstall", refuse)
    with pytest.raises(PluginError, match="pip to find a way"):
        uninstall(["breath", "hiss"])
    assert find("breath").status == "ok"


def test_sync_checks_all_plans_before_it_carries_out_the_first(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    harmless = InstallPlan(("acme-hiss",), (), (resolver.Change("acme-hiss", "", "1.2"),))
    greedy = InstallPlan(("acme-greedy",), (), (resolver.Change("torch", "2.9", "99.0"),))
    monkeypatch.setattr(resolver, "apply", lambda *arguments, **options: pytest.fail("pip was run"))
    monkeypatch.setattr("stemprover.plugins.lock.read_lock", lambda path: ())
    monkeypatch.setattr("stemprover.plugins.lock.plan_sync", lambda locked: [harmless, greedy])
    with pytest.raises(PluginError, match=r"torch 2\.9 -> 99\.0"):
        cli.main(["plugins", "sync"], standalone_mode=False)
    assert capsys.readouterr().out == "acme-hiss 1.2: new\ntorch 2.9 -> 99.0\n"
