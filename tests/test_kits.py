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
from stemprover.separation.tfc_tdf import TfcTdfUNet
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
    """Two kits whose pieces are tones of their own: 200, 400, ... and 300, 500, ... Hz."""
    folder, time = tmp_path_factory.mktemp("kits"), np.arange(6 * RATE) / RATE
    for first, name in ((200, "one"), (300, "two")):
        tones = {piece: 0.1 * np.sin(2 * np.pi * (first + 200 * k) * time) for k, piece in enumerate(KIT_STEMS)}
        pieces = {piece: np.stack([tone, tone], 1) for piece, tone in tones.items()}
        for piece, audio in {**pieces, "mixture": sum(pieces.values())}.items():
            (folder / name).mkdir(exist_ok=True)
            soundfile.write(folder / name / f"{piece}.flac", audio, RATE)
    return open_library(folder, tmp_path_factory.mktemp("cache"), "train")


@renders
def test_pieces_are_rendered_apart_and_always_alike() -> None:
    soundfont = _soundfont()
    assert soundfont is not None
    pieces = render_kit(2, 1, 8.0, soundfont)
    assert tuple(pieces) == KIT_STEMS
    assert {audio.shape for audio in pieces.values()} == {(2, 8 * RATE)}
    assert np.sqrt(np.mean(sum(pieces.values()) ** 2)) == pytest.approx(0.1, rel=1e-3)
    sounding = {name: audio for name, audio in pieces.items() if audio.any()}
    assert len(sounding) == 5

    def centre(audio: np.ndarray) -> float:
        spectrum = np.abs(np.fft.rfft(audio.sum(0))) ** 2
        return float((np.fft.rfftfreq(audio.shape[1], 1 / RATE) * spectrum).sum() / spectrum.sum())

    assert centre(pieces["kick"]) < 500 < centre(pieces["hihat"])
    again = render_kit(2, 1, 8.0, soundfont)
    assert all(np.array_equal(again[name], audio) for name, audio in pieces.items())
    assert not np.array_equal(render_kit(5, 1, 8.0, soundfont)["kick"], pieces["kick"])


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


def soundfont_of(path: Path, *presets: tuple[int, int]) -> Path:
    """A file that has the presets of a SoundFont (bank, program), but no sound."""
    records = b"".join(struct.pack("<20sHHHIII", b"kit", *preset[::-1], 0, 0, 0, 0) for preset in (*presets, (0, 255)))
    path.write_bytes(b"RIFF....sfbk" + b"phdr" + struct.pack("<I", len(records)) + records)
    return path


def test_kits_are_those_of_the_soundfont(tmp_path: Path) -> None:
    several = soundfont_of(tmp_path / "GM.sf2", (0, 0), (128, 0), (128, 8), (128, 56))
    assert [kit_name(number, several) for number in range(3)] == ["gm-00-000000", "gm-08-000001", "gm-00-000002"]
    single = soundfont_of(tmp_path / "one.sf2", (0, 3))
    assert [kit_name(number, single) for number in range(2)] == ["one-03-000000", "one-03-000001"]


@pytest.mark.parametrize("content", [b"", b"text", b"RIFF....sfbk", b"RIFF....sfbkphdr"])
def test_what_is_no_soundfont_is_named(content: bytes, tmp_path: Path) -> None:
    (tmp_path / "a.sf2").write_bytes(content)
    with pytest.raises(TrainingError, match=r"a\.sf2"):
        render_kit(0, 0, 2.0, tmp_path / "a.sf2")


@pytest.mark.skipif(shutil.which("fluidsynth") is None, reason="needs fluidsynth")
def test_a_soundfont_without_drums_or_without_sound_is_named(tmp_path: Path) -> None:
    for place, presets in enumerate([((0, 0), (0, 1)), ((128, 0),)]):
        with pytest.raises(TrainingError, match=rf"{place}\.sf2"):
            render_kit(0, 0, 2.0, soundfont_of(tmp_path / f"{place}.sf2", *presets))


@pytest.mark.parametrize("kind", [MaskUNet, OpenUnmixLike, TfcTdfUNet, WaveformUNet])
def test_separators_of_kits_and_of_songs_are_told_apart(kind: type, kits: Library, tmp_path: Path) -> None:
    sizes = {
        MaskUNet: {"n_fft": 1024, "hop": 256, "channels": (8, 8)},
        OpenUnmixLike: {"n_fft": 1024, "hop": 256, "hidden": 16, "layers": 1},
        TfcTdfUNet: {"n_fft": 1024, "hop": 256, "channels": (8, 8)},
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
    with pytest.raises(TrainingError, match="expected a separator of kit, got bass"):
        make_pair(kits, np.random.default_rng(0), Recipe.only("neural"), (song,))


def test_mixes_of_kits_are_a_kits_own_or_of_any(kits: Library) -> None:
    batch = RandomMixes(kits, 4, 2, KIT_STEMS).batch(0)
    assert batch.stems.shape == (4, 5, 2, 3 * RATE)
    spectra = torch.fft.rfft(torch.cat([RandomMixes(kits, 4, 2, KIT_STEMS).batch(k).stems for k in range(4)])[:, :, 0])
    hertz = spectra.abs().argmax(-1) / 3
    odd = (hertz / 100).round() % 2 == 1  # the second kit's
    assert torch.equal((hertz / 200).floor(), torch.arange(1.0, 6.0).expand(16, 5))
    own = odd.all(1) | ~odd.any(1)
    assert 0 < own.sum() < 16
    assert torch.equal(batch.stems, RandomMixes(kits, 4, 2, KIT_STEMS).batch(0).stems)
    with pytest.raises(TrainingError, match="KIT_STEMS"):
        RandomMixes(kits, 4, 2, ("kick", "snare"))
    with pytest.raises(TrainingError, match="--renderer drumkit"):
        RandomMixes(dataclasses.replace(kits, kits=()), 4, 2, KIT_STEMS)
