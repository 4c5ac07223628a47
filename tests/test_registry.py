"""The community index: schema, search, and registries of others."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import yaml

from stemprover.errors import PluginError
from stemprover.plugins import install_command, parse_manifest, registry
from stemprover.plugins.index import REGISTRY_FILE

SCHEMA = json.loads(REGISTRY_FILE.with_name("registry.schema.json").read_text(encoding="utf-8"))
ROOT = Path(__file__).parent.parent
ENTRY = {
    "name": "sibilance",
    "kind": "lora",
    "distribution": "acme-sibilance",
    "summary": "Softens sibilance",
    "license": "MIT",
    "host": ">=0.1,<1",
    "artifacts": ["sibilance"],
    "base": "stemprover-base-v1",
}


@pytest.fixture(autouse=True)
def _no_other_registries(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("STEMPROVER_REGISTRY", raising=False)


def write(path: Path, *entries: dict[str, Any]) -> Path:
    path.write_text(json.dumps({"version": 1, "plugins": list(entries)}), encoding="utf-8")
    return path


def test_own_registry_follows_the_schema_and_has_no_conflict() -> None:
    jsonschema.Draft202012Validator.check_schema(SCHEMA)
    jsonschema.validate(yaml.safe_load(REGISTRY_FILE.read_text(encoding="utf-8")), SCHEMA)
    assert registry().conflicts == ()


def test_entries_agree_with_the_manifests_in_this_repository() -> None:
    entries = {entry.name: entry for entry in registry().entries}
    paths = [*ROOT.glob("plugins/*/*/stemprover.json"), *ROOT.glob("detectors/*/stemprover.json")]
    assert len(paths) >= 5
    for path in paths:
        manifest = parse_manifest(json.loads(path.read_text(encoding="utf-8")))
        entry = entries[manifest.name]
        assert entry.distribution.replace("-", "_") == path.parent.name
        for key in ("name", "kind", "summary", "license", "host", "artifacts", "stems"):
            assert getattr(entry, key) == getattr(manifest, key), key
        assert entry.base == (manifest.base.id if manifest.base else "")


def test_search_by_word_artifact_and_stem() -> None:
    index = registry()

    def names(**wanted: str) -> list[str]:
        return [entry.name for entry in index.search(**wanted)]

    assert names(word="HIFI") == ["hifigan"]
    assert names(artifact="bleed") == ["drumbleed", "vocalbleed", "bleed", "detectors"]
    assert names(artifact="bleed/drums", stem="bass") == ["drumbleed", "bleed", "detectors"]
    assert names(artifact="bleed/drums", stem="drums") == ["bleed", "detectors"]
    assert names(word="nothing like this") == []


def test_install_command_names_the_adapter_or_nothing() -> None:
    assert install_command("bleed/drums") == "pip install stemprover-lora-drumbleed"
    assert install_command("hf-distortion", "vocals") == "pip install stemprover-lora-hfdistortion"
    assert install_command("bleed/drums", "drums") == "pip install stemprover-lora-bleed"  # drumbleed is not for drums
    assert install_command("crackle") is None


def test_most_specific_adapter_wins(tmp_path: Path) -> None:
    broad = {**ENTRY, "name": "allhiss", "distribution": "acme-allhiss", "artifacts": ["hiss"]}
    fine = {**ENTRY, "name": "tapehiss", "distribution": "acme-tapehiss", "artifacts": ["hiss/tape"]}
    index = registry([write(tmp_path / "r.yaml", broad, fine)])
    found = [index.adapter_for(artifact) for artifact in ("bleed/drums", "bleed/bass", "hiss/tape", "hiss/vinyl")]
    assert [entry.name for entry in found if entry] == ["drumbleed", "bleed", "tapehiss", "allhiss"]


def test_environment_and_argument_add_registries_in_order(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    one = write(tmp_path / "one.yaml", ENTRY)
    two = write(tmp_path / "two.yaml", {**ENTRY, "name": "breath", "distribution": "acme-breath"})
    three = write(tmp_path / "three.yaml", {**ENTRY, "name": "clicks", "distribution": "acme-clicks"})
    monkeypatch.setenv("STEMPROVER_REGISTRY", os.pathsep.join([str(one), str(two)]))
    index = registry([three])
    assert [entry.name for entry in index.entries[-3:]] == ["sibilance", "breath", "clicks"]
    assert [entry.source for entry in index.entries[-3:]] == [str(one), str(two), str(three)]


@pytest.mark.parametrize(
    "changes", [{"name": "drumbleed"}, {"distribution": "Stemprover_LoRA.drumbleed"}], ids=["name", "distribution"]
)
def test_later_entry_never_shadows_an_earlier_one_and_is_reported(tmp_path: Path, changes: dict[str, str]) -> None:
    path = write(tmp_path / "r.yaml", {**ENTRY, **changes})
    index = registry([path])
    assert len(index.entries) == len(registry().entries)
    assert len(index.conflicts) == 1
    assert str(path) in index.conflicts[0]
    assert str(REGISTRY_FILE) in index.conflicts[0]


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("name", "Bad Name"),
        ("kind", "virus"),
        ("distribution", "x --index-url http://evil"),
        ("distribution", "acme; rm -rf"),
        ("summary", "bell \x07"),
        ("license", ""),
        ("host", "newest"),
        ("artifacts", ["Bleed"]),
        ("stems", "vocals"),
        ("homepage", "javascript:alert(1)"),
    ],
)
def test_bad_entries_are_refused_by_reader_and_schema(tmp_path: Path, key: str, value: object) -> None:
    path = write(tmp_path / "r.yaml", ENTRY, {**ENTRY, "name": "b", "distribution": "b", key: value})
    with pytest.raises(PluginError, match=f"entry 2 of .*{key}"):
        registry([path])
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate({"version": 1, "plugins": [{**ENTRY, key: value}]}, SCHEMA)


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("version: 2\nplugins: []", "version: 1"),
        ("[]", "version: 1"),
        ("{", "mend the YAML"),
        ("version: 1\nplugins: !!python/object/apply:os.getcwd []", "mend the YAML"),
        ("version: 1\na: &a [1]\nb: *a\nplugins: []", "YAML aliases"),
        ("version: 1\nplugins: [3]", "entry 1"),
    ],
)
def test_bad_files_are_one_clear_error(tmp_path: Path, text: str, reason: str) -> None:
    path = tmp_path / "r.yaml"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(PluginError, match=reason) as caught:
        registry([path])
    assert str(path) in str(caught.value)
    assert str(caught.value).isprintable()


def test_missing_file_says_where_it_was_named(tmp_path: Path) -> None:
    with pytest.raises(PluginError, match="STEMPROVER_REGISTRY or --registry"):
        registry([tmp_path / "absent.yaml"])
