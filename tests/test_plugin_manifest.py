"""Manifests and version ranges: what a stranger's data may say, and what the list says when it is wrong."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from packaging.specifiers import SpecifierSet
from plugin_site import BOMB, listed, lora, lora_manifest
from plugin_site import plugin_site as plugin_site

from stemprover.errors import ManifestError
from stemprover.plugins import parse_manifest
from stemprover.plugins.manifest import MAX_MANIFEST_BYTES
from stemprover.plugins.versions import valid_range, version_in_range


def _break(folder: Path, text: str) -> None:
    (folder / "stemprover.json").write_text(text)


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("{", "to be JSON"),
        ("[1]", "to be an object, got list"),
        ("[" * 100_000, "to be JSON"),
        ('{"api": 1, "x": NaN}', "'kind'"),
        ('{"x": "' + "a" * MAX_MANIFEST_BYTES + '"}', f"at most {MAX_MANIFEST_BYTES} bytes"),
        ("{}", "'api'"),
        ('{"api": true}', "'api'"),
        ('{"api": "1"}', "'api'"),
    ],
)
def test_unreadable_manifest_is_broken(site: Path, text: str, reason: str) -> None:
    _break(lora(site, "bad", code=BOMB), text)
    plugin = listed()["acme-bad"]
    assert (plugin.name, plugin.status, plugin.kind) == ("bad", "broken", "unknown")
    assert reason in plugin.reason
    assert "\n" not in plugin.reason


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="needs named pipes")
def test_manifest_that_is_a_pipe_does_not_hang_the_list(site: Path) -> None:
    folder = lora(site, "pipe")
    (folder / "stemprover.json").unlink()
    os.mkfifo(folder / "stemprover.json")
    assert listed()["acme-pipe"].reason.startswith("expected a regular file")


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"kind": "virus"}, "'kind'"),
        ({"name": "Bad Name"}, "'name'"),
        ({"summary": "red \x1b[31m text"}, "'summary'"),
        ({"host": "around 1"}, "'host'"),
        ({"artifacts": []}, "'artifacts'"),
        ({"artifacts": ["bleed//drums"]}, "'artifacts'"),
        ({"stems": "vocals"}, "'stems'"),
        ({"sample_rate": "44100"}, "'sample_rate'"),
        ({"base": None}, "'base'"),
        ({"base": {"id": "x", "sha256": "short"}}, "'sha256'"),
        ({"spectral_spec": "abc"}, "'spectral_spec'"),
        ({"weights": None}, "'weights'"),
        ({"weights": {"path": "../../etc"}}, "'weights.path'"),
        ({"weights": {"path": "/etc"}}, "'weights.path'"),
        ({"weights": {"path": "C:/weights"}}, "'weights.path'"),
        ({"weights": {"path": "a\\..\\b"}}, "'weights.path'"),
        ({"weights": {"hub": "acme/x", "revision": "main"}}, "'revision'"),
        ({"weights": {"hub": "acme/x", "path": "adapter"}}, "'weights'"),
        ({"files": {"../adapter_model.safetensors": "0" * 64}}, "'files'"),
        ({"files": {"adapter_model.safetensors": "0" * 64}}, "adapter_config.json"),
        ({"files": {"adapter_model.bin": "0" * 64}}, "pickled weights are never loaded"),
        ({"files": {"adapter_model.PT": "0" * 64}}, "pickled weights are never loaded"),
        ({"files": {"adapter_config.json": "nothex"}}, "SHA-256"),
        ({"metrics": {"si_sdr_gain_db": float("inf")}}, "finite"),
        ({"entry": "os:system"}, "'entry'"),
        ({"kind": "detector"}, "'entry'"),
    ],
)
def test_invalid_manifest_is_broken_and_names_the_key(site: Path, changes: dict[str, object], reason: str) -> None:
    if "files" not in changes:
        changes = {**changes, "files": lora_manifest("x")["files"]}
    lora(site, "bad", code=BOMB, **changes)
    plugin = listed()["acme-bad"]
    assert plugin.status == "broken"
    assert reason in plugin.reason
    assert plugin.reason.isprintable()


@pytest.mark.parametrize(
    ("version", "specifier", "expected"),
    [
        ("0.1.0", ">=0.1,<1", True),
        ("1.0", ">=0.1,<1", False),
        ("0.10", ">0.9", True),
        ("1.0", "==1", True),
        ("0.1.0", "!=0.1", False),
        ("0.2.0.dev1", ">=0.1,<1", True),
        ("0.1.5", "~=0.1.0", True),
        ("0.2", "==0.1.*", False),
    ],
)
def test_version_ranges(version: str, specifier: str, expected: bool) -> None:
    assert valid_range(specifier)
    assert version_in_range(version, specifier) is expected


@given(
    version=st.from_regex(r"\A[0-9]{1,2}(\.[0-9]{1,2}){0,2}\Z"),
    specifier=st.from_regex(r"\A(>=|<=|==|!=|<|>)[0-9]{1,2}(\.[0-9]{1,2}){0,2}(,(>=|<)[0-9]{1,2})?\Z"),
)
def test_quick_version_comparison_agrees_with_packaging(version: str, specifier: str) -> None:
    assert version_in_range(version, specifier) is SpecifierSet(specifier).contains(version, prereleases=True)


_JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=10), inner, max_size=3),
    max_leaves=10,
)


@given(key=st.sampled_from(sorted(lora_manifest("x"))), value=_JSON)
def test_any_value_of_any_key_is_accepted_or_one_clear_line(key: str, value: object) -> None:
    message = ""
    try:
        parse_manifest({**lora_manifest("x"), key: value})
    except ManifestError as error:
        message = str(error)
    assert message.isprintable()
