"""audio-separator's models, small and seeded, through the code that loads the real ones."""

from __future__ import annotations

import importlib
import importlib.util
import json
import subprocess
import sys
import types
from pathlib import Path

import pytest
import soundfile
import torch
from small_models import store
from stemprover_separator_audio_separator import separator as module
from stemprover_separator_audio_separator.models import MODELS
from stemprover_separator_audio_separator.separator import FOLDER_VARIABLE, AudioSeparator

from stemprover.cli.main import main
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


@pytest.fixture(name="small", params=MODELS)
def small_separator(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AudioSeparator:
    """Each model, small, of audio-separator's own classes; the network cannot be reached."""
    pytest.importorskip("audio_separator.separator", reason="needs audio-separator: make test-audio-separator")
    if request.param == "mdx_inst_hq3" and importlib.util.find_spec("torchvision") is None:
        # onnx2torch imports torchvision for two kinds of nodes that MDX-Net does not have, and audio-separator imports
        # onnx2torch for segments of other lengths than the model's.
        with monkeypatch.context() as without:
            for name in ("torchvision", "torchvision.ops"):
                without.setitem(sys.modules, name, types.ModuleType(name))
            without.setattr(sys.modules["torchvision.ops"], "roi_align", None, raising=False)
            importlib.import_module("onnx2torch")
    monkeypatch.setattr("socket.socket.connect", lambda *_: pytest.fail("reached for the network"))
    store(request.param, tmp_path)
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


@pytest.mark.parametrize("small", ["htdemucs", "htdemucs_ft", "htdemucs_6s", "hdemucs_mmi"], indirect=True)
def test_demucs_stems_are_what_the_network_says(small: AudioSeparator) -> None:
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


@pytest.mark.parametrize("small", ["bs_roformer", "mel_roformer", "mdx_inst_hq3"], indirect=True)
def test_two_stems_sum_to_the_mixture(small: AudioSeparator) -> None:
    """Networks of one target: audio-separator gives what is left as the other."""
    audio = noise(3.0)
    found = small.separate(audio)
    assert set(found) == {"vocals", "instrumental"}
    total = found["vocals"] + found["instrumental"]
    middle = slice(RATE // 2, -RATE // 2)
    assert torch.allclose(total[:, middle], audio[:, middle], atol=1e-3)
    assert not torch.allclose(found["vocals"][:, middle], found["instrumental"][:, middle], atol=1e-3)


def test_the_command_separates_with_a_model(
    small: AudioSeparator, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    song = tmp_path / "song.wav"
    soundfile.write(song, noise(2.0).numpy().T[: RATE + 1], RATE, "FLOAT")
    monkeypatch.setenv(FOLDER_VARIABLE, str(tmp_path))
    with pytest.raises(SystemExit) as exit_:
        main(["separate", str(song), "--separator", small.name, "-o", str(tmp_path / "stems"), "--device", "cpu"])
    assert not exit_.value.code
    for stem in small.stems:
        info = soundfile.info(tmp_path / "stems" / "song" / f"{stem}.wav")
        assert (info.frames, info.samplerate, info.channels) == (RATE + 1, RATE, 2)


def test_a_model_that_cannot_be_fetched_is_one_line(tmp_path: Path) -> None:
    pytest.importorskip("audio_separator.separator", reason="audio-separator is not installed")
    (tmp_path / "download_checks.json").write_text("{}")
    with pytest.raises(PluginError, match="the model of separator htdemucs") as caught:
        AudioSeparator("htdemucs", tmp_path).separate(noise(0.1))
    assert "\n" not in str(caught.value)
