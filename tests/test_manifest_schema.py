"""The published schema of the manifest says what the host's own reader says."""

from __future__ import annotations

import json
import tomllib
from pathlib import Path
from typing import Any

import jsonschema
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from plugin_site import code_plugin, listed, lora_manifest
from plugin_site import plugin_site as plugin_site

import stemprover
from stemprover.errors import ManifestError
from stemprover.plugins import parse_manifest
from stemprover.plugins.manifest import API, HOOK_API, KINDS

ROOT = Path(__file__).parent.parent
SCHEMA = json.loads((Path(stemprover.__file__).parent / "manifest.schema.json").read_text(encoding="utf-8"))
VALIDATOR = jsonschema.Draft202012Validator(SCHEMA)
SEPARATOR = {
    "api": 1,
    "host": ">=0.1",
    "name": "split",
    "kind": "separator",
    "summary": "Splits",
    "license": "MIT",
    "stems": ["vocals", "other"],
    "sample_rate": 44100,
    "entry": "acme_split:separator",
    "hook_api": 1,
    "needs": {"torchaudio": "acme-split[all]"},
    "download_size_mb": 81.5,
}


def accepted(data: dict[str, Any]) -> bool:
    try:
        parse_manifest(data)
    except ManifestError:
        return False
    return True


def test_the_schema_is_valid_and_knows_the_versions_and_kinds() -> None:
    jsonschema.Draft202012Validator.check_schema(SCHEMA)
    assert SCHEMA["properties"]["api"]["const"] == API
    assert SCHEMA["properties"]["kind"]["enum"] == list(KINDS)


def test_every_manifest_in_this_repository_follows_it() -> None:
    paths = [*ROOT.glob("plugins/*/stemprover_*/**/stemprover.json"), *ROOT.glob("detectors/*/stemprover.json")]
    assert len(paths) >= 19
    for path in paths:
        VALIDATOR.validate(json.loads(path.read_text(encoding="utf-8")))


@pytest.mark.parametrize(
    "changes",
    [
        {"kind": "virus"},
        {"name": "Bad Name"},
        {"summary": "red \x1b[31m text"},
        {"summary": "  "},
        {"artifacts": []},
        {"artifacts": ["bleed//drums"]},
        {"stems": "vocals"},
        {"sample_rate": "44100"},
        {"sample_rate": 5},
        {"base": None},
        {"base": {"id": "x", "sha256": "short"}},
        {"spectral_spec": "abc"},
        {"weights": None},
        {"weights": {"path": "../../etc"}},
        {"weights": {"path": "/etc"}},
        {"weights": {"path": "C:/weights"}},
        {"weights": {"path": "a\\..\\b"}},
        {"weights": {"path": "a//b"}},
        {"weights": {"hub": "acme/x", "revision": "main"}},
        {"weights": {"hub": "acme/x", "revision": "a" * 40, "path": "adapter"}},
        {"files": {"adapter_model.safetensors": "0" * 64}},
        {"files": {"adapter_model.bin": "0" * 64}},
        {"files": {"adapter_config.json": "nothex"}},
        {"metrics": {"gain": [1]}},
        {"entry": "os:system"},
        {"kind": "detector"},
        {"hook_api": 1.5},
        {"needs": {"torchaudio": "acme-split[all]"}},
        {"download_size_mb": -1},
        {"download_size_mb": True},
    ],
    ids=str,
)
def test_schema_and_reader_refuse_the_same(changes: dict[str, Any]) -> None:
    data = lora_manifest("x") | changes
    assert not accepted(data)
    assert not VALIDATOR.is_valid(data)


@pytest.mark.parametrize(
    "needs",
    [
        ["torchaudio"],
        {"os.path": "acme"},
        {"torchaudio": "acme; rm -rf /"},
        {"torchaudio": "git+https://example.org/acme"},
        {"torchaudio": "acme-"},
        {"torchaudio": ""},
        {"torchaudio": 1},
    ],
    ids=str,
)
def test_what_a_separator_needs_can_be_put_into_a_command(needs: Any) -> None:
    assert not accepted(SEPARATOR | {"needs": needs})
    assert not VALIDATOR.is_valid(SEPARATOR | {"needs": needs})


def test_our_packages_name_what_their_extras_bring() -> None:
    """Without it, a separator whose wrapped package is missing would look ready to use."""
    seen = 0
    for project in ROOT.glob("plugins/*/pyproject.toml"):
        about = tomllib.loads(project.read_text(encoding="utf-8"))["project"]
        for path in project.parent.glob("stemprover_*/**/stemprover.json") if "optional-dependencies" in about else ():
            needs = json.loads(path.read_text(encoding="utf-8"))["needs"]
            assert list(needs.values()) == [f"{about['name']}[all]"], path
            seen += 1
    assert seen >= 10


@pytest.mark.parametrize("missing", ["stems", "sample_rate", "entry"])
def test_a_separator_says_what_it_makes(missing: str) -> None:
    VALIDATOR.validate(SEPARATOR)
    manifest = parse_manifest(SEPARATOR)
    assert (manifest.stems, manifest.download_size_mb) == (("vocals", "other"), 81.5)
    assert manifest.needs == {"torchaudio": "acme-split[all]"}
    assert parse_manifest(manifest.to_dict()) == manifest
    less = {key: value for key, value in SEPARATOR.items() if key != missing}
    assert not accepted(less)
    assert not VALIDATOR.is_valid(less)


_VALUES = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-2, 2_000_000),
    st.floats(allow_nan=False, allow_infinity=False).filter(
        lambda value: not value.is_integer()
    ),  # 1.0 is 1 in a schema
    st.sampled_from(["", "x", "a/b", "../a", "0" * 64, "sha256:" + "0" * 64, "pkg.mod:attr", "\x1b[0m", ">=1"]),
    st.lists(st.sampled_from(["a", "a/b", "A", 3]), max_size=3),
    st.dictionaries(
        st.sampled_from(["a.json", "a.pt", "id", "path"]), st.sampled_from(["0" * 64, "b", 1, True]), max_size=2
    ),
)
_KEYS = sorted((set(lora_manifest("x")) | set(SEPARATOR)) - {"host"})  # ranges of versions are no matter of patterns


@settings(deadline=None)
@given(base=st.sampled_from([lora_manifest("x"), SEPARATOR]), key=st.sampled_from(_KEYS), value=_VALUES)
def test_schema_and_reader_agree_on_any_value_of_any_key(base: dict[str, Any], key: str, value: Any) -> None:
    data = base | {key: value}
    assert VALIDATOR.is_valid(data) == accepted(data)


def test_hooks_have_a_version_of_their_own(site: Path) -> None:
    folder = code_plugin(site, "newer", "detector", "raise RuntimeError('imported')")
    data = json.loads((folder / "stemprover.json").read_text())
    assert parse_manifest(data).hook_api == HOOK_API, "a code plugin that does not say is for the first"
    (folder / "stemprover.json").write_text(json.dumps(data | {"hook_api": HOOK_API + 1}))
    plugin = listed()["acme-newer"]
    assert plugin.status == "incompatible"
    assert f"made for hook API {HOOK_API + 1}, this host has hook API {HOOK_API}" in plugin.reason
