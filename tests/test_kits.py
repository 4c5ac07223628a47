"""Drum kits: performances that are rendered piece by piece, and separators that take kits apart."""

from __future__ import annotations

import dataclasses
import shutil
import struct
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch

from stemprover.data.degrade import Recipe, make_pair
from stemprover.data.export import write_songs
from stemprover.data.fluidsynth import find_soundfont
from stemprover.data.kits import kit_name, render_kit
from stemprover.data.library import Library, open_library
from stemprover.data.synth import RATE
from stemprover.errors import TrainingError
from stemprover.separation.layout import KIT_STEMS, STEMS
from stemprover.separation.mask_unet import MaskUNet
from stemprover.separation.open_unmix import OpenUnmixLike
from stemprover.separation.trained import find_separators, load_network
from stemprover.separation.waveform_unet import WaveformUNet
from stemprover.training.mixes import RandomMixes
from stemprover.training.separation import SeparationTask


def _soundfont() -> Path | None:
    try:
        return find_soundfont()
    except TrainingError:
        return None


renders = pytest.mark.skipif(_soundfont() is None, reason="needs fluidsynth and a SoundFont (fluid-soundfont-gm)")


@pytest.fixture(name="kits", scope="module")
def two_kits(tmp_path_factory: pytest.TempPathFactory) -> Library:
    """Two kits whose pieces are noise in bands of their own."""
    folder, rng = tmp_path_factory.mktemp("kits"), np.random.default_rng(0)
    for name in ("one", "two"):
        pieces = {piece: 0.05 * rng.standard_normal((6 * RATE, 2)) for piece in KIT_STEMS}
        for piece, audio in {**pieces, "mixture": sum(pieces.values())}.items():
            (folder / name).mkdir(exist_ok=True)
            soundfile.write(folder / name / f"{piece}.flac", audio, RATE)
    return open_library(folder, tmp_path_factory.mktemp("cache"), "train")


@renders
def test_pieces_are_rendered_apart_and_always_alike() -> None:
    soundfont = _soundfont()
    assert soundfont is not None
    pieces = render_kit(3, 1, 6.0, soundfont)
    assert tuple(pieces) == KIT_STEMS
    assert {audio.shape for audio in pieces.values()} == {(2, 6 * RATE)}
    assert np.sqrt(np.mean(sum(pieces.values()) ** 2)) == pytest.approx(0.1, rel=1e-3)
    sounding = {name: audio for name, audio in pieces.items() if audio.any()}
    assert len(sounding) >= 3

    def centre(audio: np.ndarray) -> float:
        spectrum = np.abs(np.fft.rfft(audio.sum(0))) ** 2
        return float((np.fft.rfftfreq(audio.shape[1], 1 / RATE) * spectrum).sum() / spectrum.sum())

    assert centre(pieces["kick"]) < 500 < centre(pieces["hihat"])
    again = render_kit(3, 1, 6.0, soundfont)
    assert all(np.array_equal(again[name], audio) for name, audio in pieces.items())
    assert not np.array_equal(render_kit(4, 1, 6.0, soundfont)["kick"], pieces["kick"])


@renders
def test_performances_are_called_after_their_kit_and_open_as_kits(tmp_path: Path) -> None:
    soundfont = _soundfont()
    assert soundfont is not None
    assert write_songs(tmp_path / "kits", 2, seconds=4.0, seed=5, renderer="drumkit") == 2
    names = sorted(path.name for path in (tmp_path / "kits").iterdir())
    assert names == sorted(kit_name(number, soundfont) for number in range(2))
    assert all(name.startswith(soundfont.stem.lower()) for name in names)
    assert write_songs(tmp_path / "kits", 2, seconds=4.0, seed=5, renderer="drumkit") == 0
    library = open_library(tmp_path / "kits", tmp_path / "cache", "train")
    assert sorted(kit.name for kit in library.kits) == names


@pytest.mark.skipif(shutil.which("fluidsynth") is None, reason="needs fluidsynth")
@pytest.mark.parametrize("bank", [0, 128])
def test_what_is_no_soundfont_is_named(bank: int, tmp_path: Path) -> None:
    preset = struct.pack("<20sHHHIII", b"kit", 0, bank, 0, 0, 0, 0)
    (tmp_path / "a.sf2").write_bytes(b"phdr" + struct.pack("<I", len(preset)) + preset)
    with pytest.raises(TrainingError, match=r"a\.sf2"):
        render_kit(0, 0, 2.0, tmp_path / "a.sf2")


@pytest.mark.parametrize("kind", [MaskUNet, OpenUnmixLike, WaveformUNet])
def test_separators_of_kits_and_of_songs_are_told_apart(kind: type, kits: Library, tmp_path: Path) -> None:
    sizes = {
        MaskUNet: {"n_fft": 1024, "hop": 256, "channels": (8, 8)},
        OpenUnmixLike: {"n_fft": 1024, "hop": 256, "hidden": 16, "layers": 1},
        WaveformUNet: {"filters": 8, "channels": (8, 8)},
    }
    torch.manual_seed(0)
    for stems in (STEMS, KIT_STEMS):
        SeparationTask(kind(**sizes[kind], stems=stems), ["one"]).save(tmp_path / str(len(stems)))
    song, kit = find_separators(tmp_path)
    assert (song.stems, kit.stems) == (STEMS, KIT_STEMS)
    assert load_network(kit.folder)(torch.randn(1, 2, 8192)).shape == (1, 5, 2, 8192)
    for seed in range(3):
        _, description = make_pair(kits, np.random.default_rng(seed), Recipe.only("neural"), (song, kit))
        assert (description["song"], description["stem"] in KIT_STEMS) == ("two", True)
    with pytest.raises(TrainingError, match="separator of such stems"):
        make_pair(kits, np.random.default_rng(0), Recipe.only("neural"), (song,))


def test_mixes_of_kits_are_a_kits_own_or_of_any(kits: Library) -> None:
    batch = RandomMixes(kits, 4, 2, KIT_STEMS).batch(0)
    assert batch.stems.shape == (4, 5, 2, 3 * RATE)
    assert (batch.stems.square().mean((2, 3)) > 0).all()
    assert torch.equal(batch.stems, RandomMixes(kits, 4, 2, KIT_STEMS).batch(0).stems)
    with pytest.raises(TrainingError, match="--renderer drumkit"):
        RandomMixes(dataclasses.replace(kits, kits=()), 4, 2, KIT_STEMS)
