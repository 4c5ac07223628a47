"""The community index: schema, search, and registries of others."""

from __future__ import annotations

import json
import os
import threading
import tomllib
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import yaml

from stemprover.errors import PluginError
from stemprover.plugins import base_identity, install_command, parse_manifest, registry
from stemprover.plugins.index import REGISTRY_FILE
from stemprover.plugins.places import MAX_BYTES, is_address, places_of_environment

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
def _no_other_registries(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.delenv("STEMPROVER_REGISTRY", raising=False)
    monkeypatch.setenv("STEMPROVER_HOME", str(tmp_path / "home"))


def write(path: Path, *entries: dict[str, Any]) -> Path:
    path.write_text(json.dumps({"version": 1, "plugins": list(entries)}), encoding="utf-8")
    return path


def test_own_registry_follows_the_schema_and_has_no_conflict() -> None:
    jsonschema.Draft202012Validator.check_schema(SCHEMA)
    jsonschema.validate(yaml.safe_load(REGISTRY_FILE.read_text(encoding="utf-8")), SCHEMA)
    assert registry().conflicts == ()


def test_entries_agree_with_the_manifests_in_this_repository() -> None:
    entries = {entry.name: entry for entry in registry().entries}
    paths = [*ROOT.glob("plugins/*/stemprover_*/**/stemprover.json"), *ROOT.glob("detectors/*/stemprover.json")]
    assert len(paths) >= 19
    for path in paths:
        manifest = parse_manifest(json.loads(path.read_text(encoding="utf-8")))
        entry = entries[manifest.name]
        project = next(parent for parent in path.parents if (parent / "pyproject.toml").is_file())
        assert entry.distribution == tomllib.loads((project / "pyproject.toml").read_text())["project"]["name"]
        for key in ("name", "kind", "summary", "license", "host", "artifacts", "stems"):
            assert getattr(entry, key) == getattr(manifest, key), key
        assert entry.base == (manifest.base.id if manifest.base else "")
        assert entry.base in ("", base_identity().id)
        assert entry.metrics == manifest.metrics, "run `make docs`"


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
    assert install_command("bleed/drums") == "stemprover plugins install drumbleed"
    assert install_command("hf-distortion", "vocals") == "stemprover plugins install hfdistortion"
    assert install_command("bleed/drums", "drums") == "stemprover plugins install bleed"  # drumbleed is not for drums
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
        ("distribution", None),
        ("artifacts", None),
        ("base", None),
        ("metrics", {"si_sdr_gain_db": [1]}),
        ("url", "http://example.org/a.whl"),
        ("url", "https://example.org/a.tar.gz"),
        ("url", "https://example.org/a.whl"),
        ("hub", "acme/sibilance@" + "a" * 40),
    ],
)
def test_bad_entries_are_refused_by_reader_and_schema(tmp_path: Path, key: str, value: object) -> None:
    changed = {**ENTRY, "name": "b", "distribution": "b", key: value}
    bad = {name: one for name, one in changed.items() if one is not None}
    path = write(tmp_path / "r.yaml", ENTRY, bad)
    with pytest.raises(PluginError, match=f"entry 2 of .*({key}|sha256|'distribution')"):
        registry([path])
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate({"version": 1, "plugins": [bad]}, SCHEMA)


def test_metrics_are_finite(tmp_path: Path) -> None:
    path = tmp_path / "r.yaml"
    path.write_text(yaml.safe_dump({"version": 1, "plugins": [{**ENTRY, "metrics": {"gain": float("nan")}}]}))
    with pytest.raises(PluginError, match="finite"):
        registry([path])


def test_wheels_and_hub_commits_are_pinned_by_their_hash(tmp_path: Path) -> None:
    digest = "d" * 64
    wheel = {**ENTRY, "url": "https://example.org/acme_sibilance-1-py3-none-any.whl", "sha256": digest}
    hub = {key: value for key, value in ENTRY.items() if key != "distribution"}
    hub |= {"name": "breath", "hub": "acme/breath@" + "b" * 40, "sha256": digest}
    jsonschema.validate({"version": 1, "plugins": [wheel, hub]}, SCHEMA)
    one, two = registry([write(tmp_path / "r.yaml", wheel, hub)]).entries[-2:]
    assert one.requirement == f"acme-sibilance @ {wheel['url']}#sha256={digest}"
    assert (two.distribution, two.requirement) == ("hf:acme/breath", f"hf:{hub['hub']}#sha256={digest}")
    detector = {**hub, "kind": "detector"}
    with pytest.raises(PluginError, match="adapters only"):
        registry([write(tmp_path / "r.yaml", detector)])


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


class _Server(ThreadingHTTPServer):
    """Serves ``answers`` by path: a text, or an address to redirect to."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.answers: dict[str, str] = {}
        self.daemon_threads = True

    @property
    def address(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}"


class _Handler(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        answer = self.server.answers[self.path]  # type: ignore[attr-defined]
        redirect = answer.startswith("http")
        self.send_response(302 if redirect else 200)
        self.send_header("Location" if redirect else "Content-Type", answer if redirect else "text/yaml")
        self.end_headers()
        self.wfile.write(b"" if redirect else answer.encode())

    def log_message(self, *_: object) -> None: ...


@pytest.fixture(name="server")
def local_server() -> Iterator[_Server]:
    with _Server() as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield server
        server.shutdown()


def test_registry_at_an_address_and_its_copy_when_it_is_gone(server: _Server, monkeypatch: pytest.MonkeyPatch) -> None:
    place = f"{server.address}/company.yaml"
    server.answers["/company.yaml"] = json.dumps({"version": 1, "plugins": [ENTRY]})
    monkeypatch.setenv("STEMPROVER_REGISTRY", place)
    with pytest.raises(PluginError, match="No such file"):
        registry(offline=True)
    assert registry().notes == ()
    assert registry().entries[-1].source == place
    server.answers["/company.yaml"] = "https://127.0.0.1:1/"  # leads to nobody
    index = registry()
    assert index.entries[-1].name == "sibilance"
    assert place in index.notes[0]
    assert "the last copy is used" in index.notes[0]
    assert install_command("sibilance") == "stemprover plugins install sibilance"  # asks nobody


@pytest.mark.parametrize(
    ("answer", "reason"),
    [("http://example.invalid/r.yaml", "not https"), ("x" * (MAX_BYTES + 1), "more than 10000000 bytes")],
    ids=["redirect", "size"],
)
def test_address_that_gives_no_registry_is_one_clear_error(server: _Server, answer: str, reason: str) -> None:
    server.answers["/r.yaml"] = answer
    with pytest.raises(PluginError, match=reason) as caught:
        registry([f"{server.address}/r.yaml"])
    assert f"{server.address}/r.yaml" in str(caught.value)


def test_plain_http_is_for_this_machine_only() -> None:
    assert is_address("https://example.org/r.yaml")
    assert is_address("http://localhost:8000/r.yaml")
    assert not is_address("http://example.org/r.yaml")
    assert not is_address("http://localhost.example.org/r.yaml")


@pytest.mark.skipif(os.pathsep != ":", reason="paths are separated by something else here")
def test_variable_holds_paths_and_addresses(monkeypatch: pytest.MonkeyPatch) -> None:
    places = ("https://example.org:8080/r.yaml", "/a/b.yaml", "http://localhost:9/x.yaml", "c.yaml", "https://x.org")
    monkeypatch.setenv("STEMPROVER_REGISTRY", ":".join(places))
    assert places_of_environment() == places


def test_advice_survives_a_registry_that_is_gone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("STEMPROVER_REGISTRY", str(tmp_path / "gone.yaml"))
    assert install_command("bleed/drums") == "stemprover plugins install drumbleed"
