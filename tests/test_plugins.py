"""Discovery: what is listed, in which state, and that nothing is imported or raised on the way."""

from __future__ import annotations

import importlib.util
import json
import site as site_module
import subprocess
import sys
from pathlib import Path

import pytest
from many_plugins import fill_site
from plugin_site import BASE, BOMB, code_plugin, distribution, listed, lora
from plugin_site import plugin_site as plugin_site

from stemprover.errors import PluginError, PluginNotFoundError
from stemprover.plugins import MISSING_BASE, base_identity, claims, disable, enable, find, installed
from stemprover.plugins.chosen import one_chosen, switch_off, switch_on


def test_wheel_install_is_listed_without_being_imported(site: Path) -> None:
    folder = lora(site, "wheel", code=BOMB)
    plugin = listed()["acme-wheel"]
    assert (plugin.status, plugin.reason, plugin.version, plugin.folder) == ("ok", "", "1.2", folder)
    assert plugin.weights_folder == folder / "adapter"
    assert plugin.to_dict() == {
        "name": "wheel",
        "kind": "lora",
        "version": "1.2",
        "status": "ok",
        "reason": "",
        "artifacts": ["bleed/drums"],
        "stems": ["vocals"],
        "distribution": "acme-wheel",
        "license": "MIT",
    }
    assert "acme_wheel" not in sys.modules


def test_editable_install_with_path_file(site: Path, tmp_path: Path) -> None:
    source = tmp_path / "checkout" / "src"
    folder = lora(site, "path", where=source, code=BOMB)
    (site / "__editable__.acme_path-1.2.pth").write_text(f"{source}\n")
    site_module.addsitedir(str(site))
    plugin = listed()["acme-path"]
    assert (plugin.status, plugin.folder) == ("ok", folder)
    assert "acme_path" not in sys.modules


def test_editable_install_with_finder(site: Path, tmp_path: Path) -> None:
    folder = lora(site, "finder", where=tmp_path / "checkout", code=BOMB)

    class Finder:  # as setuptools writes it for a project whose packages do not lie in one source folder
        @classmethod
        def find_spec(cls, name: str, path: object = None, target: object = None) -> object:
            if name != "acme_finder":
                return None
            places = [str(folder)]
            return importlib.util.spec_from_file_location(
                name, folder / "__init__.py", submodule_search_locations=places
            )

    sys.meta_path.append(Finder)  # type: ignore[arg-type]
    plugin = listed()["acme-finder"]
    assert (plugin.status, plugin.folder) == ("ok", folder)
    assert "acme_finder" not in sys.modules


def test_dotted_package_of_an_editable_install_does_not_import_its_parent(site: Path, tmp_path: Path) -> None:
    source = tmp_path / "checkout"
    inner = lora(source, "inner", where=source / "acme_parent")
    (source / "acme_parent" / "__init__.py").write_text(BOMB)
    distribution(site, "acme-dotted", "inner", f"acme_parent.{inner.name}")
    sys.path.append(str(source))
    assert listed()["acme-dotted"].folder == inner
    assert "acme_parent" not in sys.modules
    sys.path.remove(str(source))


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"api": 2}, "made for plugin API 2, this host has API 1; install a newer stemprover"),
        ({"api": 0}, "install a newer acme-other"),
        ({"host": ">=7"}, "made for stemprover >=7"),
        ({"base": {"id": "their-base", "sha256": "c" * 64}}, "trained for base their-base (cccccccccccc)"),
        ({"spectral_spec": "sha256:" + "0" * 64}, "trained for spectral spec sha256:000000000000"),
    ],
)
def test_plugin_for_another_host_is_incompatible(site: Path, changes: dict[str, object], reason: str) -> None:
    lora(site, "other", **changes)
    plugin = listed()["acme-other"]
    assert (plugin.name, plugin.status) == ("other", "incompatible")
    assert reason in plugin.reason


def test_adapter_on_a_host_without_base(site: Path) -> None:
    lora(site, "orphan")
    plugin = find("orphan", installed(base=MISSING_BASE))
    assert (plugin.status, plugin.reason.split(";")[0]) == (
        "incompatible",
        "this host has no base weights to compare with",
    )


@pytest.mark.parametrize("damage", ["missing", "empty"])
def test_weights_that_are_not_there(site: Path, damage: str) -> None:
    weights = lora(site, "hollow") / "adapter" / "adapter_model.safetensors"
    weights.unlink()
    if damage == "empty":
        weights.touch()
    plugin = listed()["acme-hollow"]
    assert plugin.status == "broken"
    assert f"adapter_model.safetensors is {damage}" in plugin.reason


@pytest.mark.parametrize("value", ["no_such_package", "acme_x:attribute", "../evil", ""])
def test_entry_that_leads_nowhere(site: Path, value: str) -> None:
    distribution(site, "acme-nowhere", "nowhere", value)
    plugin = listed()["acme-nowhere"]
    assert (plugin.name, plugin.status, plugin.folder) == ("nowhere", "broken", None)


@pytest.mark.parametrize("text", [b"[stemprover.plugins]\nno equals sign", b"[stemprover.plugins]\nx = \xff"])
def test_malformed_metadata_of_one_does_not_hide_another(site: Path, text: bytes) -> None:
    lora(site, "good")
    distribution(site, "acme-noise", "x", "y")
    (site / "acme_noise-1.2.dist-info" / "entry_points.txt").write_bytes(text)
    plugins = listed()
    assert plugins["acme-good"].status == "ok"
    assert plugins["acme-noise"].status == "broken" if b"sign" in text else "acme-noise" not in plugins


def test_second_plugin_of_a_name_is_broken_and_both_are_listed(site: Path) -> None:
    lora(site, "twin")
    lora(site, "zwin", name="twin")
    plugins = listed()
    assert plugins["acme-twin"].status == "ok"
    assert (plugins["acme-zwin"].name, plugins["acme-zwin"].status) == ("twin", "broken")
    assert "acme-twin has a plugin of this name" in plugins["acme-zwin"].reason
    assert find("twin", plugins.values()).distribution == "acme-twin"


def test_plugin_cannot_take_the_name_of_an_embedded_vocoder(site: Path) -> None:
    code_plugin(site, "embedded", "vocoder", BOMB)
    assert listed()["acme-embedded"].status == "broken"
    assert find("embedded").distribution == "stemprover"


def test_disable_and_enable_survive_a_restart_and_import_nothing(site: Path, tmp_path: Path) -> None:
    lora(site, "switch", code=BOMB)
    disable("switch")
    assert json.loads((tmp_path / "home" / "plugins.json").read_text()) == {"disabled": ["switch"]}
    plugin = listed()["acme-switch"]
    assert (plugin.status, "plugins enable switch" in plugin.reason) == ("disabled", True)
    enable("switch")
    assert listed()["acme-switch"].status == "ok"


def test_damaged_state_keeps_everything_off_and_says_so(site: Path, tmp_path: Path) -> None:
    lora(site, "switch")
    disable("switch")
    (tmp_path / "home" / "plugins.json").write_text("{")
    plugin = listed()["acme-switch"]
    assert (plugin.status, "cannot be read" in plugin.reason) == ("disabled", True)
    with pytest.raises(PluginError, match="cannot be read"):
        enable("switch")


def test_configuration_folder(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.delenv("STEMPROVER_HOME", raising=False)
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path))
    disable("any")
    assert (tmp_path / "stemprover" / "plugins.json").is_file()


def test_unwritable_state_is_one_clear_error(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    monkeypatch.setenv("STEMPROVER_HOME", str(tmp_path / "file"))
    with pytest.raises(PluginError, match="STEMPROVER_HOME"):
        disable("any")


def test_safe_mode_disables_all_but_the_hosts_own(site: Path) -> None:
    lora(site, "extra")
    plugins = listed(safe_mode=True)
    assert (plugins["acme-extra"].status, plugins["acme-extra"].reason) == ("disabled", "safe mode runs no plugins")
    assert find("embedded", installed(safe_mode=True)).status == "ok"


def test_unknown_name_lists_what_is_there_and_the_nearest(site: Path) -> None:
    lora(site, "sibilance")
    with pytest.raises(PluginNotFoundError, match=r"griffin-lim.*sibilance.*did you mean 'sibilance'"):
        find("sibilanse")


def test_claims_follow_the_artifact_tree(site: Path) -> None:
    lora(site, "narrow")
    lora(site, "wide", artifacts=["bleed", "phasiness"], stems=None)
    narrow, wide = listed()["acme-narrow"], listed()["acme-wide"]
    assert [claims(narrow, artifact, "vocals") for artifact in ("bleed/drums", "bleed", "bleed/drumsticks")] == [
        2,
        0,
        0,
    ]
    assert [claims(wide, artifact, "toms") for artifact in ("bleed/drums", "bleed", "bleeding")] == [1, 1, 0]
    assert [claims(narrow, "bleed/drums", stem) for stem in ("drums", "generic")] == [0, 2]


def test_base_identity_reads_the_file_or_says_missing(tmp_path: Path) -> None:
    path = tmp_path / "base.json"
    assert base_identity(path) == MISSING_BASE
    for bad in ("", "{}", '{"id": 3, "sha256": "x"}', '["id"]'):
        path.write_text(bad)
        assert base_identity(path) == MISSING_BASE
    path.write_text(json.dumps({"id": BASE.id, "sha256": BASE.sha256, "spectral_spec": "sha256:0"}))
    assert base_identity(path) == (BASE.id, BASE.sha256)


def test_listing_imports_nothing_heavy(site: Path) -> None:
    lora(site, "light", code=BOMB)
    heavy = "torch numpy yaml pluggy packaging pkg_resources jsonschema diffusers"
    code = (
        f"import sys; sys.path.insert(0, {str(site)!r}); from stemprover.plugins import installed; installed();"
        f"print([name for name in {heavy.split()} if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_listing_a_hundred_plugins_imports_none_and_reads_little(site: Path) -> None:
    fill_site(site, 100)
    code = (
        f"import sys; sys.path.insert(0, {str(site)!r}); opened = []\n"
        "sys.addaudithook(lambda event, given: opened.append(str(given[0])) if event == 'open' else None)\n"
        "from stemprover.plugins import installed; found = [p for p in installed() if p.name.startswith('many')]\n"
        f"mine = [path for path in opened if path.startswith({str(site)!r})]\n"
        "print(len(found), {p.status for p in found}, len(mine) <= 3 * len(found))\n"
        "print([name for name in sys.modules if name.startswith(('acme_', 'torch', 'numpy', 'yaml', 'pluggy'))])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines() == ["100 {'ok'} True", "[]"]


def test_one_plugin_is_meant_by_its_name_or_its_distribution(site: Path) -> None:
    lora(site, "switch")
    with pytest.raises(PluginNotFoundError, match="did you mean 'acme-switch'"):
        one_chosen("acme-swich")
    assert one_chosen("Acme_Switch").name == one_chosen("switch").name == "switch"
    with pytest.raises(PluginError, match="a part of stemprover"):
        switch_off("embedded")
    assert switch_off("acme-switch") == ("switch",)
    assert switch_on("switch") == ("switch",)
    with pytest.raises(PluginNotFoundError, match="nothing-of-this-name"):
        switch_on("nothing-of-this-name")


def test_what_was_uninstalled_while_switched_off_can_be_switched_on(site: Path) -> None:
    disable("gone")
    assert switch_on("gone") == ("gone",)
