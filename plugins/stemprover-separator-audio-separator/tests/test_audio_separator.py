"""audio-separator's models, small and seeded, through the code that loads the real ones."""

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
RATE = 44_100


def noise(seconds: float, level: float = 0.1) -> torch.Tensor:
    return level * torch.randn(2, round(seconds * RATE), generator=torch.Generator().manual_seed(0))


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


def small_demucs(folder: Path, name: str, stems: list[str]) -> None:
    """Store a small model as Demucs stores its own: class, arguments and weights in one file, a bag of one in YAML."""
    from audio_separator.separator.uvr_lib_v5.demucs.htdemucs import HTDemucs

    torch.manual_seed(0)
    options = {"sources": stems, "channels": 8, "t_layers": 1, "bottom_channels": 0, "segment": 2, "t_heads": 2}
    network = HTDemucs(**options)
    package = {"klass": HTDemucs, "args": (), "kwargs": options, "state": network.state_dict()}
    torch.save(package, folder / "5eed0000.th")
    (folder / f"{name}.yaml").write_text("models: ['5eed0000']\n")
    files = {file: f"https://example.org/{file}" for file in ("5eed0000.th", f"{name}.yaml")}
    kinds = ("mdx23c", "mdx", "roformer", "vr")
    catalogue = {f"{kind}_download_{which}": {} for kind in kinds for which in ("list", "vip_list")}
    catalogue["demucs_download_list"] = {f"Demucs v4: {name}": files}
    (folder / "download_checks.json").write_text(json.dumps(catalogue))


@pytest.fixture(name="small", params=["htdemucs", "htdemucs_6s"])
def small_separator(request: pytest.FixtureRequest, tmp_path: Path) -> AudioSeparator:
    pytest.importorskip("audio_separator.separator", reason="audio-separator is not installed")
    order = ["drums", "bass", "other", "vocals", "guitar", "piano"]
    small_demucs(tmp_path, request.param, order[: len(MODELS[request.param].stems)])
    return AudioSeparator(request.param, tmp_path)


def test_stems_have_the_mixture_s_shape_and_level(small: AudioSeparator) -> None:
    audio = noise(3.0)
    found = small.separate(audio)
    assert tuple(found) == small.stems
    assert all(part.shape == audio.shape and part.dtype == torch.float32 for part in found.values())
    again, louder = small.separate(audio), small.separate(40.0 * audio)
    for name, part in found.items():
        assert part.abs().max() > 0
        assert torch.equal(part, again[name])
        assert torch.allclose(louder[name], 40.0 * part, atol=1e-3 * float(louder[name].abs().max()))


def test_stems_are_what_the_network_says(small: AudioSeparator) -> None:
    """Names and order survive audio-separator's files: compared with the network's own outputs."""
    from audio_separator.separator.uvr_lib_v5.demucs.apply import apply_model
    from audio_separator.separator.uvr_lib_v5.demucs.pretrained import get_model

    audio = 0.25 * noise(2.0) / noise(2.0).abs().max()
    mono = audio.mean(0)
    scaled = (audio - mono.mean()) / mono.std()
    network = get_model(small.name, small._folder)
    wanted = apply_model(network, scaled[None], shifts=0, split=True, overlap=0.25, progress=False)[0]
    wanted = wanted * mono.std() + mono.mean()
    found = small.separate(audio)
    for name, part in zip(network.sources, wanted, strict=True):
        assert torch.allclose(found[name], part, atol=1e-3 * float(part.abs().max())), name


def test_a_model_that_cannot_be_fetched_is_one_line(tmp_path: Path) -> None:
    pytest.importorskip("audio_separator.separator", reason="audio-separator is not installed")
    (tmp_path / "download_checks.json").write_text("{}")
    with pytest.raises(PluginError, match="the model of separator htdemucs") as caught:
        AudioSeparator("htdemucs", tmp_path).separate(noise(0.1))
    assert "\n" not in str(caught.value)
