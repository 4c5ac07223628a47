"""Material: splits that never overlap, test recordings that are never opened, scenes that add up."""

from __future__ import annotations

import dataclasses
import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import soundfile

from stemprover.data.cuts import loudness
from stemprover.data.degrade import Recipe, make_pair
from stemprover.data.library import Library, open_library, stem_class_of_sample
from stemprover.data.scenes import draw_kit_scene, draw_scene
from stemprover.data.separators import add, errors_of_estimate
from stemprover.errors import TrainingError
from stemprover.separation.layout import KIT_STEMS
from stemprover.spectral.spec import SPEC

RATE = SPEC.sample_rate
KIT_TONES = {1: "kick", 2: "snare", 3: "toms", 4: "hihat", 5: "cymbals"}
SHARED = Path(__file__).resolve().parents[2] / "shared" / "data"


def _write(path: Path, audio: np.ndarray, rate: int = RATE) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    soundfile.write(path, audio, rate)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small data folder: a train song, a test song that is listed but absent, kits, a solo, one-shots."""
    data = tmp_path_factory.mktemp("data")
    rng = np.random.default_rng(0)
    length = 6 * RATE
    rows = ["split,song,stem,path"]
    for stem in ("drums", "bass", "vocals"):
        _write(data / "multitrack" / "one" / f"{stem}.flac", 0.1 * rng.standard_normal((length, 2)))
        rows += [f"train,one,{stem},one/{stem}.flac", f"test,forbidden,{stem},forbidden/{stem}.flac"]
    (data / "multitrack" / "tracks.csv").write_text("\n".join(rows))
    time = np.arange(length) / RATE
    references = {
        name: 0.2 * np.sin(2 * np.pi * 300 * k * time) * np.sin(9 * k * time) for k, name in KIT_TONES.items()
    }
    mix = np.sum(list(references.values()), axis=0)
    for name, audio in references.items():
        _write(data / "drumkits" / "roots" / f"ref.{name}.mp3", audio)
        _write(data / "drumkits" / "roots" / "LarsNet" / f"{name}.mp3", 0.8 * audio + 0.05 * mix)
    for kit in ("roots", "east_bay"):
        _write(data / "drumkits" / kit / "mix.mp3", mix)
    _write(data / "vocadito" / "solo.wav", 0.1 * rng.standard_normal(3 * RATE))
    for name in ("bd_a", "bd_b", "bd_c", "bass_d", "guit_e", "bd_f", "bd_g", "bd_h"):
        _write(data / "oneshots" / f"{name}.flac", 0.1 * rng.standard_normal(RATE // 2))
    return data


@pytest.fixture(scope="module")
def train(folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Library:
    return open_library(folder, tmp_path_factory.mktemp("cache"), "train")


def test_test_material_is_never_opened(train: Library):
    assert set(train.songs) == {"one"}
    assert [kit.name for kit in train.kits] == ["roots"]


def test_splits_share_no_sample(folder: Path, train: Library, tmp_path: Path):
    held_out = open_library(folder, tmp_path, "validation")
    recordings = [*train.songs["one"], *train.solos, *train.kits[0].references.values(), train.kits[0].mix]
    others = [*held_out.songs["one"], *held_out.solos, *held_out.kits[0].references.values(), held_out.kits[0].mix]
    for early, late in zip(recordings, others, strict=True):
        assert early.name == late.name
        assert early.first == 0
        assert early.last == late.first < late.last == late.samples.shape[1]
        assert not early.read(early.last, 1000).any()
        assert not late.read(late.first - 1000, 1000).any()
    names = [{shot.name for shots in split.samples.values() for shot in shots} for split in (train, held_out)]
    assert not names[0] & names[1]
    assert len(names[0] | names[1]) == 8


def test_reading_reaches_the_same_samples_at_any_place(train: Library):
    track = train.songs["one"][0]
    np.testing.assert_array_equal(track.read(1000, 500)[:, 100:], track.read(1100, 400))
    assert not track.read(-300, 300).any()


def test_plain_folders_of_songs_work(tmp_path: Path):
    rng = np.random.default_rng(1)
    for name in ("vocals", "no_vocals", "drums", "mixture", "Piano"):
        _write(tmp_path / "music" / "song a" / f"{name}.wav", 0.1 * rng.standard_normal((8000, 1)), 8000)
    _write(tmp_path / "music" / "lonely" / "vocals.wav", 0.1 * rng.standard_normal(8000), 8000)
    library = open_library(tmp_path / "music", tmp_path / "cache", "train")
    assert set(library.songs) == {"song a"}
    assert {(track.name, track.stem_class) for track in library.songs["song a"]} == {
        ("vocals", "vocals"),
        ("drums", "drums"),
        ("Piano", "other"),
    }
    assert library.songs["song a"][0].samples.shape == (2, RATE)


def test_of_data_that_comes_in_splits_the_test_split_is_never_read(tmp_path: Path):
    rng = np.random.default_rng(1)
    for song in ("train/A - one", "train/B - two", "test/C - three"):
        for name in ("mixture", "drums", "bass", "other", "vocals"):
            _write(tmp_path / "musdb18hq" / song / f"{name}.wav", 0.1 * rng.standard_normal((8000, 2)), 8000)
    library = open_library(tmp_path / "musdb18hq", tmp_path / "cache", "train")
    assert set(library.songs) == {"A - one", "B - two"}
    assert {track.stem_class for track in library.songs["A - one"]} == {"drums", "bass", "other", "vocals"}
    shutil.rmtree(tmp_path / "musdb18hq" / "train")
    with pytest.raises(TrainingError, match="nothing of these"):
        open_library(tmp_path / "musdb18hq", tmp_path / "cache", "train")


def test_a_song_may_be_called_train(tmp_path: Path):
    rng = np.random.default_rng(1)
    for song in ("train", "plane"):
        for name in ("drums", "vocals"):
            _write(tmp_path / "music" / song / f"{name}.wav", 0.1 * rng.standard_normal((8000, 2)), 8000)
    assert set(open_library(tmp_path / "music", tmp_path / "cache", "train").songs) == {"train", "plane"}


def test_a_folder_of_all_pieces_and_their_mixture_is_a_kit(tmp_path: Path):
    rng = np.random.default_rng(1)
    for folder, names in {
        "kit a": (*KIT_STEMS, "mixture"),
        "no mixture": KIT_STEMS,
        "not alone": (*KIT_STEMS, "bass", "mixture"),
    }.items():
        for name in names:
            _write(tmp_path / "music" / folder / f"{name}.wav", 0.1 * rng.standard_normal((RATE, 1)), RATE)
    library = open_library(tmp_path / "music", tmp_path / "cache", "train")
    (kit,) = library.kits
    assert kit.name == "kit a"
    assert set(kit.references) == set(KIT_STEMS)
    assert not kit.estimates
    assert set(library.songs) == {"not alone"}
    scene, drawn, _ = draw_kit_scene(library.kits, RATE // 2, np.random.default_rng(0))
    assert drawn is kit
    assert {scene.stem_class, *scene.siblings} == set(KIT_STEMS)
    only_kits = dataclasses.replace(library, songs={})
    classes = {draw_scene(only_kits, RATE // 2, np.random.default_rng(seed)).stem_class for seed in range(12)}
    assert classes <= set(KIT_STEMS)


def test_recorded_kits_are_not_drowned_by_rendered_ones(train: Library, tmp_path: Path):
    rendered = [dataclasses.replace(train.kits[0], name=f"rendered-{k}", estimates={}) for k in range(50)]
    kits = [*train.kits, *rendered]
    drawn = [draw_kit_scene(kits, RATE // 8, np.random.default_rng(seed))[1].name for seed in range(60)]
    recorded = [name for name in drawn if not name.startswith("rendered")]
    assert 15 <= len(recorded) <= 45


def test_unusable_folders_are_one_clear_line(tmp_path: Path):
    with pytest.raises(TrainingError, match="one folder per song"):
        open_library(tmp_path, tmp_path / "cache", "train")
    with pytest.raises(TrainingError, match="test"):
        open_library(tmp_path, tmp_path / "cache", "test")
    for name in ("vocals.wav", "drums.wav"):
        (tmp_path / "song").mkdir(exist_ok=True)
        (tmp_path / "song" / name).write_bytes(b"not audio")
    with pytest.raises(TrainingError, match=r"drums\.wav"):
        open_library(tmp_path, tmp_path / "cache", "train")


@pytest.mark.parametrize(
    ("name", "stem_class"),
    [
        ("bd_808", "drums"),
        ("bass_hit_c", "bass"),
        ("ambi_choir", "vocals"),
        ("loop_amen", "drums"),
        ("guit_em9", "other"),
    ],
)
def test_one_shots_are_classed_by_name(name: str, stem_class: str):
    assert stem_class_of_sample(name) == stem_class


def test_scenes_add_up_and_are_never_silent(train: Library):
    for seed in range(6):
        scene = draw_scene(train, RATE, np.random.default_rng(seed))
        assert loudness(scene.target) > 1e-3
        assert scene.stem_class not in scene.siblings
        expected = scene.target + sum(scene.siblings.values())
        np.testing.assert_allclose(scene.mixture, expected, atol=1e-6)
        assert np.abs(scene.mixture).max() <= 0.71


def test_kit_scenes_align_references_mix_and_estimates(train: Library):
    scene, kit, start = draw_kit_scene(train.kits, RATE, np.random.default_rng(0))
    estimate = kit.estimates[scene.stem_class].read(start, RATE)
    mixture = kit.mix.read(start, RATE)
    errors = errors_of_estimate(scene, estimate, mixture)
    np.testing.assert_allclose(scene.target + add(errors.values()), estimate, atol=1e-5)
    assert loudness(scene.mixture - mixture) < 0.1 * loudness(mixture)


def test_a_pair_from_a_real_separator_blames_the_drums(train: Library):
    audio, line = make_pair(train, np.random.default_rng(2), Recipe.only("larsnet"))
    assert line["separator"] == "larsnet"
    assert line["song"] == "roots"
    assert "bleed/drums" in audio.labels
    json.dumps(line)


@pytest.mark.shared
@pytest.mark.skipif(not (SHARED / "multitrack").is_dir(), reason="needs ../shared/data")
def test_dtln_keeps_singing_in_place(tmp_path: Path):
    pytest.importorskip("onnxruntime")
    from stemprover.data.dtln import find_models, separate_with_dtln

    models = find_models(SHARED)
    assert models is not None
    audio, _ = soundfile.read(SHARED / "vocadito" / "vocadito_1.wav", start=10 * RATE, frames=RATE, dtype="float32")
    voice = separate_with_dtln(models, audio[None])
    assert voice.shape == (1, RATE)
    shifts = {shift: float(np.roll(voice[0], shift) @ audio) for shift in (-64, -8, 0, 8, 64)}
    assert max(shifts, key=lambda shift: shifts[shift]) == 0
    spectrum = np.square(np.abs(np.fft.rfft(voice[0] * np.hanning(RATE))))
    assert spectrum[8200:].sum() < 1e-4 * spectrum.sum()
