"""Projects for authors: made whole or not at all, and packed."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from authoring_site import bound
from authoring_site import packed_project as packed_project
from authoring_site import small_adapter as small_adapter
from lora_models import build, run
from safetensors.torch import load_file, save_file

from stemprover.authoring import Project, new_adapter, new_project, pack_project, validate
from stemprover.authoring.project import host_range
from stemprover.cli.main import main
from stemprover.errors import AdapterError, OptionError, OutputError, PluginError
from stemprover.plugins import base_identity, file_sha256, parse_manifest, read_manifest, write_manifest
from stemprover.plugins.card import metrics_table
from stemprover.restoration import lora
from stemprover.restoration.lora_file import WEIGHTS_FILE

ROOT = Path(__file__).parent.parent


def files_below(folder: Path) -> set[str]:
    return {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()}


@pytest.mark.parametrize("kind", ["detector", "vocoder", "separator"])
def test_a_code_project_is_whole_tidy_and_fit_to_be_published(kind: str, tmp_path: Path) -> None:
    project = Project(kind, "my-own", artifacts=("buzz", "buzz/mains"), stems=("vocals",))
    folder = new_project(project, tmp_path)
    package = f"stemprover_{kind}_my_own"
    assert files_below(folder) == {
        "pyproject.toml",
        "README.md",
        ".gitignore",
        ".github/workflows/test.yml",
        f"tests/test_{package}.py",
        f"{package}/__init__.py",
        f"{package}/{kind}.py",
        f"{package}/stemprover.json",
    }
    assert validate(folder) == validate(folder / package) == ()
    assert read_manifest(folder / package).entry == f"{package}:{kind}"
    assert [path.name for path in tmp_path.iterdir()] == [folder.name], "no draft is left behind"
    style = [sys.executable, "-m", "ruff", "--config", str(ROOT / "pyproject.toml")]
    for command in (["check", "--ignore", "I001"], ["format", "--check"]):  # here stemprover counts as first party
        done = subprocess.run(
            [*style[:3], *command, *style[3:], str(folder)], capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, done.stdout


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("virus", "x"), "a kind of plugin"),
        (("lora", "Bad Name"), "lower-case letters"),
        (("lora", "a.b"), "lower-case letters"),
        (("lora", "../x"), "lower-case letters"),
        (("lora", "x", "", "", ("Bleed",)), "an artifact"),
        (("lora", "x", "", "", (), ("lead vocals",)), "a stem class"),
    ],
)
def test_names_that_cannot_be_used(arguments: tuple[str, ...], words: str) -> None:
    with pytest.raises(OptionError, match=words):
        Project(*arguments)


def test_nothing_is_overwritten(tmp_path: Path) -> None:
    new_project(Project("separator", "x"), tmp_path)
    with pytest.raises(OutputError, match="choose another name"):
        new_project(Project("separator", "x"), tmp_path)


def test_a_failed_project_leaves_nothing_behind(tmp_path: Path) -> None:
    with pytest.raises((AdapterError, PluginError)):
        new_project(Project("lora", "x"), tmp_path / "out", adapter=tmp_path / "nowhere")
    assert list((tmp_path / "out").iterdir()) == []


@pytest.mark.parametrize(
    ("version", "expected"), [("0.1.0", ">=0.1,<1"), ("1.4.2", ">=1.4,<2"), ("2.0.0.dev1", ">=2.0,<3")]
)
def test_new_plugins_are_for_this_version_up_to_the_next_major(version: str, expected: str) -> None:
    assert host_range(version) == expected


def test_an_untrained_adapter_changes_nothing_and_is_the_same_every_time(tmp_path: Path) -> None:
    one, two = new_adapter(tmp_path / "one", "buzz"), new_adapter(tmp_path / "two", "buzz")
    assert file_sha256(one / WEIGHTS_FILE) == file_sha256(two / WEIGHTS_FILE)
    weights = load_file(one / WEIGHTS_FILE)
    assert all(not value.any() for key, value in weights.items() if ".lora_B." in key)
    folder = new_project(Project("lora", "buzz"), tmp_path, adapter=one)
    (finding,) = validate(folder)
    assert finding.level == "warning"
    assert "the weights change nothing" in finding.text
    assert "make_pairs.py" in files_below(folder)


def test_packing_makes_a_project_and_brings_it_up_to_date(project: Path, adapter: Path, tmp_path: Path) -> None:
    package = project / "stemprover_lora_buzz"
    assert validate(project) == ()
    described = read_manifest(package)
    write_manifest(
        package, parse_manifest(described.to_dict() | {"summary": "Mine", "metrics": {"si_sdr_gain_db": 1.5}})
    )
    weights = load_file(adapter / WEIGHTS_FILE)
    metadata = {"base_sha256": base_identity().sha256, "artifact": "bleed/buzz"}
    save_file({key: 2 * value for key, value in weights.items()}, adapter / WEIGHTS_FILE, metadata)
    assert pack_project(Project("lora", "buzz"), adapter, tmp_path) == project
    manifest = read_manifest(package)
    assert manifest.summary == "Mine", "what nobody said again stays"
    assert manifest.artifacts == ("bleed/buzz",), "the weights' header names the artifact"
    assert manifest.metrics == {}, "they were measured on other weights"
    assert manifest.files[WEIGHTS_FILE] == file_sha256(adapter / WEIGHTS_FILE)
    assert metrics_table(manifest) in (project / "README.md").read_text()


def test_packing_refuses_what_users_could_not_load(adapter: Path, tmp_path: Path) -> None:
    (tmp_path / "stemprover-lora-taken").mkdir()
    with pytest.raises(PluginError, match="a project of taken"):
        pack_project(Project("lora", "taken"), adapter, tmp_path)
    weights = load_file(adapter / WEIGHTS_FILE)
    first = next(iter(weights))
    weights[first] = torch.full_like(weights[first], float("nan"))
    save_file(weights, adapter / WEIGHTS_FILE)
    with pytest.raises(AdapterError, match="finite weights"):
        pack_project(Project("lora", "x"), adapter, tmp_path)
    assert not (tmp_path / "stemprover-lora-x").exists()


def exit_code(*arguments: object) -> int:
    with pytest.raises(SystemExit) as caught:
        main([str(one) for one in arguments])
    return int(caught.value.code or 0)


def test_the_command_line(adapter: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    bound(adapter)
    assert exit_code("plugins", "new", "detector", "clicks", "--out", tmp_path) == 0
    folder = tmp_path / "stemprover-detector-clicks"
    assert f"wrote {folder}" in capsys.readouterr().out
    assert exit_code("plugins", "validate", folder) == 0
    assert "fit to be published" in capsys.readouterr().out
    (folder / "README.md").unlink()
    assert exit_code("plugins", "validate", folder) == 2
    assert "error: there is no model card" in capsys.readouterr().out
    assert exit_code("plugins", "pack", adapter, "--name", "buzz", "--out", tmp_path) == 0
    assert f"packed {tmp_path / 'stemprover-lora-buzz'}" in capsys.readouterr().out
    for wrong in ((), (adapter, "--from-diffusers", adapter / WEIGHTS_FILE)):
        assert exit_code("plugins", "pack", *wrong, "--name", "buzz", "--out", tmp_path) == 2
        assert "expected ADAPTER or --from-diffusers FILE" in capsys.readouterr().err


def test_an_adapter_that_was_packed_acts_as_the_one_that_was_trained(project: Path, adapter: Path) -> None:
    results = []
    for folder in (adapter, project / "stemprover_lora_buzz" / "adapter"):
        model = build("plain")
        lora.load_adapter(model, folder, "x")
        lora.use_adapters(model, {"x": 1.0})
        results.append(run(model))
    assert torch.equal(*results)


def test_a_wheel_is_not_built_from_a_broken_project(tmp_path: Path) -> None:
    from stemprover.authoring import build_wheel

    folder = new_project(Project("separator", "x"), tmp_path)
    shutil.rmtree(folder / "stemprover_separator_x")
    with pytest.raises(PluginError, match="to build a wheel"):
        build_wheel(folder, tmp_path / "dist")
    assert not (tmp_path / "dist").exists()
