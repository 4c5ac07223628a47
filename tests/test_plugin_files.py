"""A plugin's files: verification, weights on the hub, and packing."""

from __future__ import annotations

import json
import shutil
import sys
from pathlib import Path

import pytest
from plugin_site import BASE, code_plugin, listed, lora
from plugin_site import plugin_site as plugin_site

from stemprover.errors import AdapterError, ManifestError, ModelError, PluginError
from stemprover.plugins import (
    MISSING_BASE,
    Manifest,
    adapter_folder,
    base_identity,
    file_sha256,
    folder_sha256,
    load,
    pack_adapter,
    read_manifest,
    verify_files,
    write_manifest,
)
from stemprover.plugins.base import BASE_FILE
from stemprover.plugins.health import examine, verify_base


def test_verify_names_the_file_and_both_hashes(site: Path) -> None:
    weights = lora(site, "signed") / "adapter" / "adapter_model.safetensors"
    plugin = listed()["acme-signed"]
    assert set(verify_files(plugin)) == {"adapter_config.json", "adapter_model.safetensors"}
    expected = file_sha256(weights)
    weights.write_bytes(b"tampered")
    with pytest.raises(AdapterError) as caught:
        verify_files(plugin)
    assert weights.name in caught.value.expected
    assert expected in caught.value.expected
    assert caught.value.got == file_sha256(weights)
    weights.unlink()
    with pytest.raises(AdapterError, match=r"adapter_model\.safetensors"):
        verify_files(plugin)


def test_adapter_folder_is_verified(site: Path) -> None:
    package = lora(site, "signed")
    assert adapter_folder(listed()["acme-signed"], BASE) == package / "adapter"
    (package / "adapter" / "adapter_config.json").write_text('{"lora_alpha": 999}')
    with pytest.raises(AdapterError, match=r"adapter_config\.json"):
        adapter_folder(listed()["acme-signed"], BASE)
    code_plugin(site, "code", "detector", "entry = 1")
    with pytest.raises(PluginError, match="kind lora"):
        adapter_folder(listed()["acme-code"], BASE)


def test_hub_weights_come_from_the_pinned_commit_and_are_verified(site: Path, tmp_path: Path) -> None:
    revision = "c0ffee" + "0" * 34
    package = lora(site, "remote", weights={"hub": "acme/weights", "revision": revision})
    snapshot = tmp_path / "cache" / "models--acme--weights" / "snapshots" / revision
    snapshot.parent.mkdir(parents=True)
    (package / "adapter").rename(snapshot)
    plugin = listed()["acme-remote"]
    assert (plugin.status, plugin.weights_folder, verify_files(plugin)) == ("ok", None, ())
    assert adapter_folder(plugin, BASE, cache_dir=tmp_path / "cache") == snapshot
    (snapshot / "adapter_model.safetensors").write_bytes(b"tampered")
    with pytest.raises(AdapterError, match=file_sha256(snapshot / "adapter_model.safetensors")):
        adapter_folder(plugin, BASE, cache_dir=tmp_path / "cache")


def test_hub_that_cannot_be_reached_is_one_clear_error(
    site: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    lora(site, "remote", weights={"hub": "acme/weights", "revision": "a" * 40})
    with pytest.raises(AdapterError, match=r"hub repository acme/weights at aaaaaaaaaaaa.*check the network"):
        adapter_folder(listed()["acme-remote"], BASE, cache_dir=tmp_path / "cache")


def test_verify_does_not_pass_what_it_cannot_check(site: Path) -> None:
    folder = lora(site, "torn")
    (folder / "stemprover.json").write_text("{")
    plugins = listed()
    with pytest.raises(PluginError, match=r"torn: a manifest with SHA-256 sums.*uninstall acme-torn"):
        verify_files(plugins["acme-torn"])
    assert verify_files(plugins["stemprover"]) == ()


def test_changed_file_of_a_code_plugin_stops_its_import(site: Path) -> None:
    folder = code_plugin(site, "scored", "detector", "entry = 1\n")
    data = json.loads((folder / "stemprover.json").read_text())
    (folder / "model.onnx").write_bytes(b"one")
    data["files"] = {"model.onnx": file_sha256(folder / "model.onnx")}
    (folder / "stemprover.json").write_text(json.dumps(data))
    (folder / "model.onnx").write_bytes(b"two")
    with pytest.raises(AdapterError, match="scored"):
        load(listed()["acme-scored"])
    assert "acme_scored" not in sys.modules


def test_the_hosts_own_base_is_compared_with_its_hash(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert verify_base() == base_identity().id
    base = tmp_path / "base"
    shutil.copytree(BASE_FILE.parent, base)
    monkeypatch.setattr("stemprover.plugins.health.BASE_FILE", base / "base.json")
    assert verify_base() == base_identity().id
    weights = base / "unet" / "diffusion_pytorch_model.safetensors"
    data = weights.read_bytes()
    weights.write_bytes(data[:-1] + bytes([data[-1] ^ 1]))
    with pytest.raises(ModelError, match=f"{base_identity().sha256}, got [0-9a-f]{{64}}; run .* stemprover"):
        verify_base()
    assert [problem.mend.split()[-1] for problem in examine([])] == ["stemprover"]
    (base / "base.json").unlink()
    with pytest.raises(ModelError, match=r"no readable base\.json"):
        verify_base()


def test_folder_hash_covers_names_and_contents_but_not_base_json(tmp_path: Path) -> None:
    (tmp_path / "unet").mkdir()
    weights = tmp_path / "unet" / "model.safetensors"
    weights.write_bytes(b"w")
    first = folder_sha256(tmp_path)
    (tmp_path / "base.json").write_text("{}")
    (tmp_path / "notes.txt").write_text("ignored")
    assert folder_sha256(tmp_path) == first
    weights.rename(tmp_path / "model.safetensors")
    assert folder_sha256(tmp_path) != first
    (tmp_path / "model.safetensors").rename(weights)
    weights.write_bytes(b"v")
    assert folder_sha256(tmp_path) != first


@pytest.fixture
def adapter(tmp_path: Path) -> Path:
    folder = tmp_path / "trained"
    folder.mkdir()
    (folder / "adapter_config.json").write_text('{"r": 8}')
    (folder / "adapter_model.safetensors").write_bytes(b"new weights")
    return folder


def test_packing_refreshes_manifest_weights_and_card(site: Path, adapter: Path) -> None:
    package = lora(site, "packed", base={"id": "old", "sha256": "0" * 64})
    card = site / "README.md"
    card.write_text("# Card\n<!-- metrics -->\nNot measured yet.\n<!-- /metrics -->\nEnd\n")
    metrics = {"benchmark": "v1", "si_sdr_gain_db": 1.234}
    manifest = pack_adapter(adapter, package, metrics=metrics, base=BASE)
    assert read_manifest(package) == manifest
    plugin = listed()["acme-packed"]
    assert (plugin.status, len(verify_files(plugin))) == ("ok", 2)
    assert (package / "adapter" / "adapter_model.safetensors").read_bytes() == b"new weights"
    assert "| `si_sdr_gain_db` | +1.23 |" in card.read_text()
    assert card.read_text().endswith("<!-- /metrics -->\nEnd\n")
    assert pack_adapter(package / "adapter", package, metrics=metrics, base=BASE) == manifest


def test_packing_a_new_package(tmp_path: Path, adapter: Path) -> None:
    described = Manifest("fresh", "lora", "A new one", "MIT", ">=0.1,<1", artifacts=("clicks",))
    package = tmp_path / "acme_fresh"
    packed = pack_adapter(adapter, package, metrics={}, manifest=described, base=BASE)
    assert read_manifest(package) == packed
    assert packed.files["adapter_model.safetensors"] == file_sha256(adapter / "adapter_model.safetensors")


def test_packing_says_what_is_missing(site: Path, adapter: Path) -> None:
    package = lora(site, "packed")
    with pytest.raises(PluginError, match="a base to bind"):
        pack_adapter(adapter, package, metrics={}, base=MISSING_BASE)
    (adapter / "adapter_config.json").unlink()
    with pytest.raises(PluginError, match=r"adapter_config\.json"):
        pack_adapter(adapter, package, metrics={}, base=BASE)


def test_an_invalid_manifest_is_not_written(tmp_path: Path) -> None:
    with pytest.raises(ManifestError, match="'base'"):
        write_manifest(tmp_path, Manifest("x", "lora", "Text", "MIT", ">=0.1", artifacts=("clicks",)))
    assert list(tmp_path.iterdir()) == []
