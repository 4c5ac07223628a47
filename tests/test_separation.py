"""The host's own separators: shapes and levels, long audio in chunks, weights on disk, and cross-fitting."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.torch import load_file, save_file
from torch import nn

from stemprover.data.build import build_pairs
from stemprover.data.cuts import loudness
from stemprover.data.degrade import Recipe, make_pair
from stemprover.data.export import write_songs
from stemprover.data.library import Library, open_library
from stemprover.data.neural import draw_separated, renormalise
from stemprover.data.pairs import read_manifest
from stemprover.data.scenes import draw_scene
from stemprover.data.sources import Recording
from stemprover.errors import ModelError, TrainingError
from stemprover.separation.inference import separate
from stemprover.separation.layout import STEMS
from stemprover.separation.mask_unet import MaskUNet
from stemprover.separation.open_unmix import OpenUnmixLike
from stemprover.separation.spleeter import Spleeter
from stemprover.separation.trained import ARCHITECTURES, find_separators, load_network
from stemprover.separation.waveform_unet import WaveformUNet
from stemprover.training import mixes
from stemprover.training.mixes import RandomMixes, material, without
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
    return WaveformUNet(filters=8, channels=(8, 8))


@pytest.fixture(scope="module")
def library(tmp_path_factory: pytest.TempPathFactory) -> Library:
    songs = tmp_path_factory.mktemp("songs")
    write_songs(songs, 2, seconds=8.0, seed=1)
    return open_library(songs, tmp_path_factory.mktemp("cache"), "train")


@pytest.fixture(autouse=True)
def _few_renderings(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(mixes, "_RENDERED", 1)  # rendering the usual number takes a quarter of a minute


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


def test_masks_cannot_make_the_mixture_louder():
    network = tiny("mask-unet").eval()
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


def test_mixes_are_drawn_from_what_may_be_heard(library: Library):
    some = without(library, ["*1"])
    assert material(library) == ("000000", "000001")
    assert material(some) == ("000000",)
    with pytest.raises(TrainingError, match="lithum"):
        without(library, ["lithum"])
    batches = RandomMixes(some, 3, seed=4)
    first = batches.batch(7)
    assert first.stems.shape == (3, 4, 2, 3 * SECOND)
    torch.testing.assert_close(first.mixture, first.stems.sum(1))
    assert (first.mixture.square().mean((1, 2)) > 0).all()
    assert torch.equal(first.stems, RandomMixes(some, 3, seed=4).batch(7).stems)
    assert not torch.equal(first.stems, batches.batch(8).stems)


def test_solo_singing_is_heard_and_can_be_left_out(library: Library):
    """A solo of one tone: some of the voices are nothing but it."""
    track = dataclasses.replace(_tone(library, "vocals", 3_000.0, 16_000), name="singer")
    sung = dataclasses.replace(library, solos=(track,))
    assert material(sung) == ("000000", "000001", "singer")
    assert not without(sung, ["sing*"]).solos
    voices = torch.cat([RandomMixes(sung, 4, 3).batch(k).stems for k in range(4)])[:, STEMS.index("vocals")]
    spectra = torch.fft.rfft(voices[:, 0]).abs() ** 2
    alone = spectra[:, 3 * 3_000 - 3 : 3 * 3_000 + 4].sum(1) > 0.99 * spectra.sum(1)
    assert 0 < alone.sum() < len(alone)


_TONES = (("drums", 500.0, 8_000), ("other", 1_000.0, 4_000), ("vocals", 2_000.0, 8_000))


def _tone(library: Library, stem_class: str, hertz: float, level: int) -> Recording:
    """A track that is nothing but a tone."""
    tone = (level * np.sin(2 * np.pi * hertz * np.arange(9 * SECOND) / SECOND)).astype(np.int16)
    return dataclasses.replace(
        library.songs["000000"][0], name=stem_class, stem_class=stem_class, samples=np.stack([tone, tone]),
        loudness=np.full(tone.size // 1024 + 1, 0.1), first=0, last=tone.size,
    )  # fmt: skip


def test_varied_mixtures_have_one_speed_and_always_the_same(library: Library):
    """A song of tones an octave apart: they stay so at any speed."""
    song = Library({"song": tuple(_tone(library, *each) for each in _TONES)}, (), (), {}, None)
    plain, varied = (
        torch.cat([RandomMixes(song, 4, 5, varied_share=share).batch(k).stems for k in range(6)])
        for share in (0.0, 1.0)
    )
    assert varied.shape == plain.shape == (24, 4, 2, 3 * SECOND)
    again = torch.cat([RandomMixes(song, 4, 5, varied_share=1.0).batch(k).stems for k in range(6)])
    assert torch.equal(varied, again)
    places = [STEMS.index(name) for name in ("drums", "other", "vocals")]
    for mixes_of, varies in ((plain, False), (varied, True)):
        peaks = torch.fft.rfft(mixes_of[:, places, 0]).abs().argmax(-1) / 3
        sounding = (mixes_of[:, places].abs().amax((2, 3)) > 0) & (peaks > 0)
        own = sounding.all(1) & torch.isclose(peaks / peaks[:, :1], torch.tensor([1.0, 2.0, 4.0]), atol=0.02).all(1)
        found = {round(float(value), 2) for value in peaks[own][:, 2] / 2_000}
        assert (found == {1.0}) if not varies else (len(found) > 2 and 0.79 < min(found) < max(found) < 1.26)


def test_half_of_a_songs_scenes_keep_its_levels(library: Library):
    """Drums twice as loud as the rest: they stay so in half of the scenes that are the song's own, a quarter of all."""
    song = Library({"song": tuple(_tone(library, *each) for each in _TONES)}, (), (), {}, None)
    scenes = [draw_scene(song, SECOND, np.random.default_rng(seed), "drums") for seed in range(80)]
    ratios = [loudness(one.target) / loudness(one.siblings["other"]) for one in scenes if "other" in one.siblings]
    kept = np.isclose(ratios, 2.0, rtol=1e-3)
    assert 0.1 < kept.sum() / len(scenes) < 0.4
    assert len(np.unique(np.round(np.array(ratios)[~kept], 2))) > 10


def test_long_songs_are_heard_more_often_than_short_ones(library: Library):
    """Of two songs of one tone each, one of which has a ninth of the other's length, the first is one in ten."""
    names, tones = list(library.songs), {}
    for name, seconds, frequency in zip(names, (1.0, 9.0), (300.0, 2_000.0), strict=True):
        track = library.songs[name][0]
        time = np.arange(round(seconds * SECOND))
        tone = (16_000 * np.sin(2 * np.pi * frequency * time / SECOND)).astype(np.int16)
        loudness = np.full(time.size // 1024 + 1, 0.3)
        long = dataclasses.replace(
            track, stem_class="other", samples=np.stack([tone, tone]), loudness=loudness, first=0, last=time.size
        )
        tones[name] = (dataclasses.replace(long, last=1), long)
    mixes = RandomMixes(dataclasses.replace(library, songs=tones), 4, seed=1)
    draws = [mixes._song(np.random.default_rng(k), mixes.samples).get("other") for k in range(200)]
    heard = [np.argmax(np.abs(np.fft.rfft(audio[0]))) / 3.0 for audio in draws if audio is not None]
    assert 0.8 < np.mean(np.array(heard) > 1_000.0) < 0.97
