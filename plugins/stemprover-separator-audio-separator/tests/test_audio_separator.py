"""What is true of the separators without a model."""

from __future__ import annotations

import importlib
import json
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from stemprover_separator_audio_separator import separator as module
from stemprover_separator_audio_separator.models import MODELS
from stemprover_separator_audio_separator.separator import AudioSeparator

from stemprover.errors import PluginError
from stemprover.plugins import read_manifest
from stemprover.separation.base import Separator
from stemprover.stems import STEM_CLASSES

PACKAGE = Path(module.__file__).parent


@pytest.mark.parametrize("name", MODELS)
def test_manifest_and_separator_say_the_same(name: str) -> None:
    manifest = read_manifest(PACKAGE / name)
    made = importlib.import_module(f"stemprover_separator_audio_separator.{name}").separator()
    assert isinstance(made, Separator)
    assert (manifest.name, manifest.stems, manifest.sample_rate) == (made.name, made.stems, made.sample_rate)
    assert set(made.stems) <= set(STEM_CLASSES)
    assert manifest.download_size_mb > 0
    assert manifest.entry == f"stemprover_separator_audio_separator.{name}:separator"


def test_every_model_has_a_row_in_the_readme() -> None:
    text = (PACKAGE.parent / "README.md").read_text("utf-8")
    for name in MODELS:
        manifest = read_manifest(PACKAGE / name)
        row = next(line for line in text.splitlines() if line.startswith(f"| `{name}`"))
        assert f"| {', '.join(manifest.stems)} | {manifest.download_size_mb:g} MB |" in row


def test_without_audio_separator_it_is_one_line(tmp_path: Path) -> None:
    (tmp_path / "audio_separator").mkdir()
    (tmp_path / "audio_separator" / "__init__.py").write_text("raise ModuleNotFoundError('No module named onnx2torch')")
    program = (
        f"import sys, json, torch; sys.path.insert(0, {str(tmp_path)!r})\n"
        "from stemprover.errors import PluginError\n"
        "from stemprover_separator_audio_separator.separator import AudioSeparator\n"
        "try: AudioSeparator('htdemucs').separate(torch.ones(2, 100))\n"
        "except PluginError as error: print(json.dumps(str(error)))"
    )
    found = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    line = json.loads(found.stdout)
    assert "pip install 'stemprover-separator-audio-separator[all]'" in line
    assert "\n" not in line


def test_silence_needs_no_model() -> None:
    found = AudioSeparator("htdemucs_6s", Path("/nowhere")).separate(torch.zeros(2, 1000))
    assert len(found) == 6
    assert not any(part.any() for part in found.values())


def test_a_model_that_cannot_be_fetched_is_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("audio_separator.separator", reason="needs audio-separator: make test-audio-separator")

    def unreachable(*_: object, **__: object) -> None:
        raise ConnectionError("Max retries exceeded\nwith url")

    monkeypatch.setattr("requests.get", unreachable)
    with pytest.raises(PluginError, match=r"the model of separator htdemucs.*check the network") as caught:
        AudioSeparator("htdemucs", tmp_path).separate(torch.ones(2, 100))
    assert "\n" not in str(caught.value)
