"""Projects for authors: made whole or not at all, packed, and checked without importing anything."""

from __future__ import annotations

import json
import math
import re
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest
import torch
from adapter_site import trained_adapter as trained_adapter
from lora_models import build, make_adapter, run
from safetensors.torch import load_file, save_file
from torch import Tensor

from stemprover.authoring import Project, import_adapter, new_adapter, new_project, pack_project, validate
from stemprover.authoring.project import host_range
from stemprover.cli.main import main
from stemprover.errors import AdapterError, OptionError, OutputError, PluginError
from stemprover.plugins import base_identity, file_sha256, parse_manifest, read_manifest, write_manifest
from stemprover.plugins.card import metrics_table
from stemprover.restoration import lora
from stemprover.restoration.lora_file import PREFIX, WEIGHTS_FILE
from stemprover.restoration.lora_spec import spec_from_config

ROOT = Path(__file__).parent.parent


@pytest.fixture(name="adapter")
def small_adapter(tmp_path: Path) -> Path:
    """A PEFT folder; packing reads it without a model."""
    return make_adapter(tmp_path / "trained")


@pytest.fixture(name="project")
def packed_project(adapter: Path, tmp_path: Path) -> Path:
    return pack_project(Project("lora", "buzz", artifacts=("bleed/buzz",)), bound(adapter), tmp_path)


def bound(adapter: Path) -> Path:
    """Let an adapter say that it is for the embedded base."""
    file = adapter / WEIGHTS_FILE
    save_file(load_file(file), file, {"base_sha256": base_identity().sha256, "artifact": "bleed/buzz"})
    return adapter


def errors(path: Path) -> str:
    return "; ".join(finding.text for finding in validate(path) if finding.level == "error")


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


ROOT = Path(__file__).parent.parent
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


def renamed(weights: dict[str, Tensor], layout: str, alpha: float) -> tuple[dict[str, Tensor], dict[str, str]]:
    """Return PEFT weights as another trainer would have written them, and its file's header."""
    plain = {key.removeprefix(PREFIX): value for key, value in weights.items()}
    if layout == "diffusers":
        configs = {f"{part}.lora_alpha": alpha for part in ("unet", "controlnet")}
        return plain, {"lora_adapter_metadata": json.dumps(configs)}
    if layout == "old diffusers":
        return {key.replace("lora_A", "lora.down").replace("lora_B", "lora.up"): v for key, v in plain.items()}, {}
    flat = {}
    for key, value in plain.items():
        module, _, side = key.removesuffix(".weight").rpartition(".")
        flat[f"lora_{module.replace('.', '_')}.lora_{'down' if side == 'lora_A' else 'up'}.weight"] = value
    return flat, {"ss_network_alpha": str(alpha)}


@pytest.mark.parametrize("layout", ["diffusers", "old diffusers", "kohya"])
def test_files_of_other_trainers_come_in_with_their_alpha(trained: Path, tmp_path: Path, layout: str) -> None:
    weights = load_file(trained / WEIGHTS_FILE)
    tensors, header = renamed(weights, layout, 2.0)
    save_file(tensors, tmp_path / "foreign.safetensors", header)
    alpha = None if header else 2.0
    if alpha is not None:
        with pytest.raises(AdapterError, match="without alpha"):
            import_adapter(tmp_path / "foreign.safetensors", tmp_path / "never")
    folder = import_adapter(tmp_path / "foreign.safetensors", tmp_path / "imported", alpha=alpha)
    assert {k: v.tolist() for k, v in load_file(folder / WEIGHTS_FILE).items()} == {
        k: v.tolist() for k, v in weights.items()
    }
    assert json.loads((folder / "adapter_config.json").read_text())["lora_alpha"] == 2.0
    assert errors(pack_project(Project("lora", "foreign", artifacts=("bleed",)), folder, tmp_path)) == ""


def imported_scales(trained: Path, tmp_path: Path, settings: dict[str, object]) -> dict[str, float]:
    """Import a file of diffusers' with these settings; returns the scale of every layer as PEFT computes it."""
    plain, _ = renamed(load_file(trained / WEIGHTS_FILE), "diffusers", 2.0)
    save_file(plain, tmp_path / "foreign.safetensors", {"lora_adapter_metadata": json.dumps(settings)})
    folder = import_adapter(tmp_path / "foreign.safetensors", tmp_path / "imported")
    spec = spec_from_config(json.loads((folder / "adapter_config.json").read_text()), "the import")
    ranks = {key.rpartition(".lora_A")[0]: value.shape[0] for key, value in plain.items() if ".lora_A." in key}
    assert not spec.use_rslora
    return {module: spec.plain_alpha_of(module, rank) / rank for module, rank in ranks.items()}


def test_each_model_of_a_diffusers_file_keeps_its_alpha(trained: Path, tmp_path: Path) -> None:
    scales = imported_scales(trained, tmp_path, {"unet.lora_alpha": 2, "controlnet.lora_alpha": 4})
    rank = json.loads((trained / "adapter_config.json").read_text())["r"]
    assert {scale for module, scale in scales.items() if module.startswith("unet.")} == {2 / rank}
    assert {scale for module, scale in scales.items() if module.startswith("controlnet.")} == {4 / rank}


def test_alpha_patterns_and_rank_stabilised_scales_are_kept(trained: Path, tmp_path: Path) -> None:
    settings = {f"{part}.lora_alpha": 2 for part in ("unet", "controlnet")}
    pattern = {"unet.alpha_pattern": {"to_q": 8.0}}
    scales = imported_scales(trained, tmp_path, {**settings, **pattern, "controlnet.use_rslora": True})
    rank = json.loads((trained / "adapter_config.json").read_text())["r"]
    assert any(module.endswith("to_q") and module.startswith("unet.") for module in scales)
    for module, scale in scales.items():
        expected = 2 / math.sqrt(rank) if module.startswith("controlnet.") else 2 / rank
        if module.startswith("unet.") and module.endswith(".to_q"):
            expected = 8 / rank
        assert scale == pytest.approx(expected), module


@pytest.mark.parametrize(
    ("header", "reason"),
    [
        ({"lora_adapter_metadata": json.dumps({"unet.lora_alpha": 2, "unet.use_dora": True})}, "plain LoRA.*use_dora"),
        ({"lora_adapter_metadata": json.dumps({"unet.r": 2})}, "lora_alpha of unet"),
        ({"lora_adapter_metadata": json.dumps({"unet.lora_alpha": "much"})}, "a number above 0 as alpha"),
        ({"lora_adapter_metadata": "[1]"}, "a readable header"),
        ({"ss_network_alpha": "2", "ss_network_args": json.dumps({"dora_wd": "True"})}, "plain LoRA.*dora_wd"),
        ({"ss_network_alpha": "2", "ss_network_args": json.dumps({"rs_lora": True})}, "plain LoRA.*rs_lora"),
    ],
)
def test_scales_that_cannot_be_kept_are_refused(
    trained: Path, tmp_path: Path, header: dict[str, str], reason: str
) -> None:
    plain, _ = renamed(load_file(trained / WEIGHTS_FILE), "diffusers", 2.0)
    save_file(plain, tmp_path / "foreign.safetensors", header)
    with pytest.raises(AdapterError, match=reason):
        import_adapter(tmp_path / "foreign.safetensors", tmp_path / "out")


def test_imports_that_cannot_be_trusted_are_refused(trained: Path, tmp_path: Path) -> None:
    tensors, header = renamed(load_file(trained / WEIGHTS_FILE), "kohya", 2.0)
    save_file(tensors, tmp_path / "kohya.safetensors", header)
    with pytest.raises(AdapterError, match="states, 2, got 3"):
        import_adapter(tmp_path / "kohya.safetensors", tmp_path / "out", alpha=3.0)
    two = {"lora_adapter_metadata": json.dumps({"unet.lora_alpha": 2, "controlnet.lora_alpha": 4})}
    save_file(tensors, tmp_path / "two.safetensors", two)
    with pytest.raises(AdapterError, match="one alpha for all layers"):
        import_adapter(tmp_path / "two.safetensors", tmp_path / "out")
    (tmp_path / "weights.ckpt").write_bytes(b"\x80\x04")
    with pytest.raises(AdapterError, match="pickles run code"):
        import_adapter(tmp_path / "weights.ckpt", tmp_path / "out")
    (tmp_path / "cut.safetensors").write_bytes((tmp_path / "kohya.safetensors").read_bytes()[:5000])
    with pytest.raises(AdapterError, match="a whole safetensors file"):
        import_adapter(tmp_path / "cut.safetensors", tmp_path / "out")
    assert not (tmp_path / "out").exists()


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
