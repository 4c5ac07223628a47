"""The host's own separators: shapes and levels, long audio in chunks, weights on disk, and cross-fitting."""

from __future__ import annotations

import dataclasses
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from click.testing import CliRunner
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.torch import load_file, save_file
from torch import nn

from stemprover.cli.main import cli
from stemprover.data.build import build_pairs
from stemprover.data.degrade import Recipe, make_pair
from stemprover.data.export import write_songs
from stemprover.data.installed import _loaded, find_installed
from stemprover.data.library import Library, open_library
from stemprover.data.neural import draw_separated, renormalise
from stemprover.data.pairs import read_manifest
from stemprover.data.scenes import draw_scene
from stemprover.errors import ModelError, OptionError, TrainingError
from stemprover.separation.inference import separate
from stemprover.separation.layout import STEMS
from stemprover.separation.mask_unet import MaskUNet
from stemprover.separation.open_unmix import OpenUnmixLike
from stemprover.separation.spleeter import Spleeter
from stemprover.separation.tfc_tdf import TfcTdfUNet
from stemprover.separation.trained import ARCHITECTURES, find_separators, load_network
from stemprover.separation.waveform_unet import WaveformUNet
from stemprover.stems import resample
from stemprover.training.separation import SeparationTask

SECOND = 44_100


def tiny(architecture: str) -> nn.Module:
    """A small network with random weights, the same each time."""
    torch.manual_seed(3)
    if architecture == "mask-unet":
        return MaskUNet(n_fft=1024, hop=256, channels=(8, 8))
    if architecture == "open-unmix":
        return OpenUnmixLike(n_fft=1024, hop=256, hidden=16, layers=1)
    if architecture == "spleeter":
        return Spleeter(STEMS)
    if architecture == "tfc-tdf":
        return TfcTdfUNet(n_fft=1024, hop=256, channels=(8, 8))
    return WaveformUNet(filters=8, channels=(8, 8))


@pytest.fixture(scope="module")
def library(tmp_path_factory: pytest.TempPathFactory) -> Library:
    songs = tmp_path_factory.mktemp("songs")
    write_songs(songs, 2, seconds=8.0, seed=1)
    return open_library(songs, tmp_path_factory.mktemp("cache"), "train")


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two separators: one that heard song 000000, one that heard 000001."""
    folder = tmp_path_factory.mktemp("runs")
    for architecture, song in (("mask-unet", "000000"), ("waveform-unet", "000001")):
        SeparationTask(tiny(architecture), [song]).save(folder / architecture / "final")
    return folder


@pytest.mark.parametrize("architecture", ARCHITECTURES)
@pytest.mark.parametrize("samples", [1, 700, 20_001])
def test_four_stems_of_the_same_length(architecture: str, samples: int):
    stems = tiny(architecture).eval()(0.1 * torch.randn(2, 2, samples))
    assert stems.shape == (2, 4, 2, samples)
    assert stems.isfinite().all()


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_silence_stays_silent_and_the_level_is_kept(architecture: str):
    network = tiny(architecture).eval()
    audio = 0.1 * torch.randn(1, 2, SECOND)
    with torch.no_grad():
        assert network(torch.zeros_like(audio)).abs().max() == 0
        loud, quiet = network(audio), network(audio / 8)
    assert loud.abs().max() > 1e-4
    torch.testing.assert_close(quiet * 8, loud, rtol=1e-2, atol=1e-3 * float(loud.abs().max()))


@pytest.mark.parametrize("architecture", ["mask-unet", "tfc-tdf"])
def test_masks_cannot_make_the_mixture_louder(architecture: str):
    network = tiny(architecture).eval()
    tone = torch.sin(torch.arange(SECOND) * (2 * torch.pi * 1000 / SECOND)).expand(1, 2, -1)
    with torch.no_grad():
        assert float(network(tone).abs().max()) <= 1.05


class _Pointwise(nn.Module):
    """Knows no neighbours: what it makes of a sample does not depend on where a chunk begins."""

    def forward(self, audio: torch.Tensor) -> torch.Tensor:
        return torch.stack([audio**3, 0.5 * audio], dim=1)


@given(samples=st.integers(1, 400), chunk=st.integers(8, 120), data=st.data())
@settings(max_examples=60, deadline=None)
def test_chunks_join_to_the_whole(samples: int, chunk: int, data: st.DataObject):
    overlap = data.draw(st.integers(1, chunk // 2))
    audio = torch.from_numpy(np.random.default_rng(samples).standard_normal((2, samples)).astype(np.float32))
    whole = _Pointwise()(audio[None])[0]
    torch.testing.assert_close(separate(_Pointwise(), audio, chunk, overlap), whole, rtol=1e-5, atol=1e-6)


def test_real_networks_agree_across_chunks():
    """Steady noise comes out of chunks as it does of the whole, but for the statistics of its normalisation."""
    network, audio = tiny("waveform-unet").eval(), 0.1 * torch.randn(2, 3 * SECOND)
    with torch.no_grad():
        network.course.weight_hh_l0.zero_()  # no memory: the answer depends on near samples only
        network.course.weight_hh_l0_reverse.zero_()
        whole = network(audio[None])[0]
    joined = separate(network, audio, chunk=6 * 8192, overlap=8192)
    assert (joined - whole).square().mean() < 1e-3 * whole.square().mean()


def test_weights_come_back_from_disk(runs: Path):
    found = {separator.architecture: separator for separator in find_separators(runs)}
    assert set(found) == {"mask-unet", "waveform-unet"}
    assert found["mask-unet"].heard == {"000000"}
    audio = np.random.default_rng(0).standard_normal((2, 5000)).astype(np.float32)
    for architecture, separator in found.items():
        expected = tiny(architecture).eval().half().float()(torch.from_numpy(audio)[None])[0].detach().numpy()
        np.testing.assert_allclose(separator.separate(audio, ["unknown"]), expected, atol=1e-6)


def test_a_network_is_loaded_once_for_each_device(runs: Path, tmp_path: Path):
    """Separators and second opinions may share one: neither moves it away from under the other."""
    folder = shutil.copytree(runs / "mask-unet" / "final", tmp_path / "first")
    asked_first_in_inference_mode = shutil.copytree(folder, tmp_path / "second")
    network, elsewhere = load_network(folder), load_network(folder, torch.device("meta"))
    assert load_network(folder, torch.device("cpu")) is network
    assert {each.device.type for each in network.parameters()} == {"cpu"}
    assert {each.device.type for each in elsewhere.parameters()} == {"meta"}
    with torch.inference_mode():
        network = load_network(asked_first_in_inference_mode)
    assert not any(each.is_inference() for each in network.parameters())


def test_what_is_no_separator_is_named(tmp_path: Path):
    with pytest.raises(ModelError, match="none below"):
        find_separators(tmp_path)
    (tmp_path / "trained_on.json").write_text('{"heard": []}')
    (tmp_path / "config.json").write_text('{"_class_name": "UNet2DModel"}')
    with pytest.raises(ModelError, match="UNet2DModel"):
        find_separators(tmp_path)
    with pytest.raises(ModelError, match="UNet2DModel"):
        load_network(tmp_path)


def test_weights_of_another_make_are_refused(tmp_path: Path):
    SeparationTask(tiny("open-unmix"), []).save(tmp_path)
    weights = load_file(tmp_path / "diffusion_pytorch_model.safetensors")
    weights["head.bias"] = weights.pop("masks.bias")
    save_file(weights, tmp_path / "diffusion_pytorch_model.safetensors")
    with pytest.raises(ModelError, match=r"head\.bias"):
        load_network(tmp_path)


def test_a_separator_refuses_what_it_trained_on(runs: Path):
    audio = np.zeros((2, 1000), np.float32)
    for separator in find_separators(runs):
        (song,) = separator.heard
        with pytest.raises(ModelError, match=f"--without {song}"):
            separator.separate(audio, ["unknown", song])


def test_scenes_know_all_their_sources(library: Library):
    sources = [draw_scene(library, SECOND, np.random.default_rng(seed)) for seed in range(16)]
    assert all(scene.sources <= {"000000", "000001"} for scene in sources)
    assert all(scene.song in scene.sources for scene in sources if scene.song in library.songs)
    assert any(len(scene.sources) == 2 for scene in sources)


def test_pairs_are_cross_fitted(library: Library, runs: Path):
    separators = find_separators(runs)
    heard = {separator.architecture: separator.heard for separator in separators}
    drawn = [draw_separated(library, separators, SECOND // 2, np.random.default_rng(k)) for k in range(8)]
    for scene, architecture, errors in drawn:
        assert not heard[architecture] & scene.sources
        assert all(audio.shape == scene.target.shape for audio in errors.values())
    assert {architecture for _, architecture, _ in drawn} == set(heard)


def test_no_pair_without_a_fitting_separator(library: Library, runs: Path, monkeypatch: pytest.MonkeyPatch):
    with pytest.raises(TrainingError, match="a separator of vocals, drums, bass, other, instrumental, got none"):
        draw_separated(library, (), SECOND // 4, np.random.default_rng(0))
    scene = dataclasses.replace(
        draw_scene(library, SECOND // 4, np.random.default_rng(0)), sources=frozenset({"heard"})
    )
    monkeypatch.setattr("stemprover.data.neural.draw_scene", lambda *_: scene)
    heard = [dataclasses.replace(separator, heard=frozenset({"heard"})) for separator in find_separators(runs)]
    with pytest.raises(TrainingError, match="--without"):
        draw_separated(library, heard, SECOND // 4, np.random.default_rng(0))


def test_neural_pairs_name_their_architecture(library: Library, runs: Path):
    separators = find_separators(runs)
    audio, description = make_pair(library, np.random.default_rng(5), Recipe.only("neural"), separators)
    assert description["separator"] in {"mask-unet", "waveform-unet"}
    assert audio.clean.shape == audio.artifact.shape == audio.mixture.shape
    assert not np.array_equal(audio.clean, audio.artifact)
    assert make_pair(library, np.random.default_rng(5), Recipe.only("neural"))[1]["separator"] == "mask"


def test_a_pairs_folder_with_separators(tmp_path: Path, runs: Path):
    write_songs(tmp_path / "songs", 2, seconds=8.0, seed=1)
    build_pairs([tmp_path / "songs"], tmp_path / "pairs", 2, recipe=Recipe.only("neural"), separators=runs)
    assert {pair.separator for pair in read_manifest(tmp_path / "pairs")} <= {"mask-unet", "waveform-unet"}


def test_renormalised_stems_share_out_the_mixture():
    rng = np.random.default_rng(2)
    stems = rng.standard_normal((4, 2, 8192)).astype(np.float32) * np.array([1, 0.5, 0.1, 2], np.float32)[:, None, None]
    mixture = rng.standard_normal((2, 8192)).astype(np.float32)
    shares = renormalise(stems, mixture)
    np.testing.assert_allclose(shares.sum(0), mixture, atol=1e-4)
    assert np.argsort((shares**2).mean((1, 2))).tolist() == [2, 1, 0, 3]
    assert not renormalise(np.zeros_like(stems), mixture).any()


class Halving:
    """A plugin's separator at half the rate, of a voice and of all that its author calls other."""

    name, stems, sample_rate = "halving", ("vocals", "other"), 22_050

    def separate(self, audio: torch.Tensor) -> dict[str, torch.Tensor]:
        return {"vocals": 0.5 * audio, "other": 0.5 * audio}


def test_installed_separators_make_pairs(library: Library, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("stemprover.data.installed.choose_separator", lambda _name: Halving())
    _loaded.cache_clear()
    found = find_installed("halving")
    assert (found.stems, found.whole) == (("vocals",), False), "what else there is depends on the song"
    tone = 0.5 * np.sin(2 * np.pi * 440.0 * np.arange(SECOND) / SECOND, dtype=np.float32)
    (voice,) = found.separate(np.stack([tone, -tone]), [])
    middle = slice(SECOND // 4, -SECOND // 4)
    np.testing.assert_allclose(voice[:, middle], 0.5 * np.stack([tone, -tone])[:, middle], atol=1e-3)
    drawn = [draw_separated(library, [found], SECOND // 2, np.random.default_rng(k)) for k in range(12)]
    assert {scene.stem_class for scene, *_ in drawn} == {"vocals", "instrumental"}
    for scene, name, errors in drawn:
        assert name == "halving"
        voice = 0.5 * resample(resample(scene.mixture, SECOND, SECOND // 2), SECOND // 2, SECOND)
        wanted = voice if scene.stem_class == "vocals" else scene.mixture - voice
        np.testing.assert_allclose(scene.target + sum(errors.values()), wanted, atol=1e-5)
    _loaded.cache_clear()


def test_what_the_embedded_separator_heard_is_known():
    light = find_installed("light")
    assert (light.stems, light.whole) == (STEMS, True)
    assert light.heard == {"brooklyn", "francium", "roots", "sodium"}
    assert find_installed("hpss").stems == ("drums",)
    with pytest.raises(OptionError, match="a separator that is installed"):
        find_installed("nobody")


def test_the_command_asks_installed_separators(tmp_path: Path):
    write_songs(tmp_path / "songs", 2, seconds=8.0, seed=1)
    common = ["data", "separate", "--data", str(tmp_path / "songs"), "--out", str(tmp_path / "pairs"), "--count", "8"]
    done = CliRunner().invoke(cli, [*common, "--separator", "hpss", "--separator", "light"])
    assert done.exit_code == 0, done.output
    assert "light" in {pair.separator for pair in read_manifest(tmp_path / "pairs")}
    told = CliRunner().invoke(cli, [*common, "--separator", "nobody"]).exception
    assert "expected a separator that is installed" in str(told)
