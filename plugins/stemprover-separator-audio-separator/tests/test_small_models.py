"""audio-separator's own classes, small and seeded, through the code that loads the published models."""

from __future__ import annotations

import json
import shutil
import types
from collections.abc import Callable
from importlib import resources
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch
from small_models import COMPENSATION, MIXING, roformer
from stemprover_separator_audio_separator.models import MODELS
from stemprover_separator_audio_separator.separator import FOLDER_VARIABLE, AudioSeparator

from stemprover.cli.main import main
from stemprover.errors import PluginError
from stemprover.testing import SeparatorContract

RATE = 44_100
ONE_OF_EACH = ["htdemucs", "bs_roformer", "mdx_inst_hq3"]


def noise(seconds: float, level: float = 0.1) -> torch.Tensor:
    return level * torch.randn(2, round(seconds * RATE), generator=torch.Generator().manual_seed(0))


class TestTheHostSContract(SeparatorContract):
    """Every separator as the host finds, builds and guards it.

    Two promises are those of trained networks: to separate, and to hear no more context than they were taught to.
    """

    test_gain_on_the_pairs = None
    test_pieces_agree_with_the_whole = None

    @pytest.fixture(autouse=True, params=MODELS)
    def each(
        self,
        request: pytest.FixtureRequest,
        stored: Callable[[str], Path],
        monkeypatch: pytest.MonkeyPatch,
    ) -> None:
        """Let the plugin find the small model where users keep theirs."""
        self.plugin = request.param
        monkeypatch.setenv(FOLDER_VARIABLE, str(stored(request.param)))


def test_audio_separator_knows_every_model_and_its_stems(small: AudioSeparator) -> None:
    """By its own table of what it measured, which holds the published models alone."""
    model = MODELS[small.name]
    table = json.loads((resources.files("audio_separator") / "models-scores.json").read_text("utf-8"))
    labels = {label.lower(): stem for label, stem in model.outputs.items()}
    assert {labels[stem] for stem in table[model.file]["stems"]} == set(small.stems)


def test_level_and_repetition(small: AudioSeparator) -> None:
    audio = noise(3.0)
    found, again, louder = small.separate(audio), small.separate(audio), small.separate(40.0 * audio)
    assert tuple(found) == small.stems
    for name, part in found.items():
        assert part.abs().max() > 0
        assert torch.equal(part, again[name])
        assert torch.allclose(louder[name], 40.0 * part, atol=1e-4 * float(louder[name].abs().max()))


@pytest.mark.parametrize("samples", [1, 1_000])
def test_a_song_of_a_few_samples_is_taken_apart(small: AudioSeparator, samples: int) -> None:
    for part in small.separate(noise(1.0)[:, :samples]).values():
        assert part.shape == (2, samples)
        assert part.isfinite().all()


@pytest.mark.parametrize("small", ["htdemucs", "htdemucs_ft", "htdemucs_6s", "hdemucs_mmi"], indirect=True)
def test_demucs_stems_are_what_the_network_says(small: AudioSeparator) -> None:
    """Names and order survive audio-separator's files: compared with the network's own outputs."""
    from audio_separator.separator.uvr_lib_v5.demucs.apply import apply_model
    from audio_separator.separator.uvr_lib_v5.demucs.pretrained import get_model

    audio = noise(2.0)
    mono = audio.mean(0)
    network = get_model(small.name, small._folder)
    scaled = (audio - mono.mean()) / mono.std()
    wanted = apply_model(network, scaled[None], shifts=0, split=True, overlap=0.25, progress=False)[0]
    found = small.separate(audio)
    for name, part in zip(network.sources, wanted * mono.std() + mono.mean(), strict=True):
        assert torch.allclose(found[name], part, atol=1e-3 * float(part.abs().max())), name


@pytest.mark.parametrize("small", ["bs_roformer", "mel_roformer"], indirect=True)
def test_roformer_stems_are_what_the_network_says(small: AudioSeparator) -> None:
    """One chunk, hence one pass of the network; the second stem is what is left."""
    audio = noise(2.0)
    with torch.no_grad():
        vocals = roformer(small.name)[0](audio[None])[0]
    found = small.separate(audio)
    samples = vocals.shape[-1]
    assert samples > 1.9 * RATE
    assert torch.allclose(found["vocals"][:, :samples], vocals, atol=1e-3 * float(vocals.abs().max()))
    assert torch.allclose(found["vocals"] + found["instrumental"], audio, atol=1e-5)


@pytest.mark.parametrize("small", ["bs_roformer", "mel_roformer"], indirect=True)
def test_roformer_stems_of_a_song_of_many_chunks(small: AudioSeparator) -> None:
    """From ten seconds on audio-separator takes the chunks that the model's configuration asks for."""
    audio = noise(11.0)
    found, chunk = small.separate(audio), small.separate(audio[:, 5 * RATE : 6 * RATE].contiguous())
    assert torch.allclose(found["vocals"] + found["instrumental"], audio, atol=1e-5)
    level = found["vocals"].square().mean().sqrt()
    assert 0.5 * level < chunk["vocals"].square().mean().sqrt() < 2.0 * level


@pytest.mark.parametrize("small", ["mdx_inst_hq3"], indirect=True)
@pytest.mark.parametrize("level", [0.05, 0.4, 3.0])
def test_mdx_stems_are_what_the_network_says(small: AudioSeparator, level: float) -> None:
    time = torch.arange(3 * RATE) / RATE
    audio = level * torch.stack([torch.sin(2 * torch.pi * 440.0 * time), torch.cos(2 * torch.pi * 2500.0 * time)])
    found, instrumental = small.separate(audio), MIXING @ audio
    middle = slice(RATE // 2, -RATE // 2)
    wanted = {"instrumental": instrumental, "vocals": audio - COMPENSATION * instrumental}
    for name, part in wanted.items():
        assert torch.allclose(found[name][:, middle], part[:, middle], atol=1e-3 * level), name


@pytest.mark.parametrize("small", ONE_OF_EACH, indirect=True)
def test_a_mixture_on_the_cpu_stays_there(small: AudioSeparator, monkeypatch: pytest.MonkeyPatch) -> None:
    """audio-separator would compute on a GPU where torch says that there is one, and fail where it is not."""
    audio = noise(1.0)
    wanted = small.separate(audio)
    monkeypatch.setattr("torch.cuda.is_available", lambda: True)
    kind = types.SimpleNamespace(major=8, minor=0)  # Roformers ask for it when they are built
    monkeypatch.setattr("torch.cuda.get_device_properties", lambda _: kind)
    found = AudioSeparator(small.name, small._folder).separate(audio)
    assert all(torch.equal(part, wanted[name]) for name, part in found.items())


@pytest.mark.parametrize("small", ["mdx_inst_hq3"], indirect=True)
def test_the_caller_s_folder_goes_before_the_variable_s(
    small: AudioSeparator, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(FOLDER_VARIABLE, str(tmp_path))
    assert len(small.separate(noise(0.5))) == 2
    assert not list(tmp_path.iterdir())


def test_a_model_that_was_cut_off_is_one_line(small: AudioSeparator, tmp_path: Path) -> None:
    folder = Path(shutil.copytree(small._folder, tmp_path / "models"))
    for path in folder.iterdir():
        if path.suffix in (".th", ".ckpt", ".onnx"):
            path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    with pytest.raises(PluginError, match=f"separator {small.name}.*remove its file from '{folder}'") as caught:
        AudioSeparator(small.name, folder).separate(noise(0.5))
    assert "\n" not in str(caught.value)
    assert "SystemExit" not in str(caught.value)


def test_the_command_separates_with_a_model(
    small: AudioSeparator, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A mono song at another rate than the model's, twice."""
    song, rate, frames = tmp_path / "song.wav", 22_050, 22_051
    soundfile.write(song, noise(2.0).numpy()[0, :frames], rate, "FLOAT")
    monkeypatch.setenv(FOLDER_VARIABLE, str(small._folder))
    made = [tmp_path / "first", tmp_path / "second"]
    for folder in made:
        with pytest.raises(SystemExit) as exit_:
            main(["separate", str(song), "--separator", small.name, "-o", str(folder), "--device", "cpu"])
        assert not exit_.value.code
    assert {path.stem for path in (made[0] / "song").glob("*.wav")} == set(small.stems)
    for stem in small.stems:
        (first, found_rate), (second, _) = (soundfile.read(folder / "song" / f"{stem}.wav") for folder in made)
        assert (first.shape, found_rate) == ((frames,), rate)
        assert np.isfinite(first).all()
        assert first.any()
        assert np.array_equal(first, second)
