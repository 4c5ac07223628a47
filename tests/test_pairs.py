"""The pairs folder: written whole, read back exactly, resumable, and split without overlap."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from stemprover.data.build import Built, build_pairs
from stemprover.data.degrade import Recipe
from stemprover.data.export import write_songs
from stemprover.data.labels import sdr_db
from stemprover.data.pairs import MANIFEST, Pair, PairAudio, check, load, read_manifest, write_pair
from stemprover.errors import OptionError, TrainingError

DESCRIPTION = {"song": "s", "stem": "bass", "separator": "mask", "split": "train", "has_siblings": True}
DESCRIPTION |= {"sdr_db": 12.5, "severity": 0.5833}


def _audio(seed: int = 0) -> PairAudio:
    rng = np.random.default_rng(seed)
    clean, artifact, mixture = (rng.uniform(-0.9, 0.9, (3, 2, 44_100))).astype(np.float32)
    return PairAudio(clean, artifact, mixture, {"bleed": np.eye(3, 16, dtype=np.float32)})


@pytest.fixture(scope="module")
def songs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("songs")
    assert write_songs(folder, 2, seconds=12.0, seed=3) == 2
    return folder


def test_audio_and_labels_come_back_to_24_bits(tmp_path: Path):
    written = write_pair(tmp_path, 12, _audio(), DESCRIPTION)
    (pair,) = read_manifest(tmp_path)
    assert pair == written
    assert pair.id == "train-000012"
    loaded = load(pair)
    for role in ("clean", "artifact", "mixture"):
        np.testing.assert_allclose(getattr(loaded, role), getattr(_audio(), role), atol=2**-23)
    np.testing.assert_array_equal(loaded.labels["bleed"], np.eye(3, 16))
    assert pair.artifacts == {"bleed": 1.0}


def test_lines_hold_what_the_format_promises(tmp_path: Path):
    write_pair(tmp_path, 0, _audio(), DESCRIPTION)
    line = json.loads((tmp_path / MANIFEST).read_text())
    assert set(line["files"]) == set(line["sha256"]) == {"clean", "artifact", "mixture", "labels"}
    assert line["sample_rate"] == 44_100
    assert line["samples"] == 44_100
    assert all((tmp_path / path).is_file() for path in line["files"].values())
    assert not list(tmp_path.rglob("*.partial"))


def test_a_line_that_is_being_written_is_left_out(tmp_path: Path):
    write_pair(tmp_path, 0, _audio(), DESCRIPTION)
    with (tmp_path / MANIFEST).open("a") as file:
        file.write('{"id": "train-0000')
    assert [pair.id for pair in read_manifest(tmp_path)] == ["train-000000"]


def test_splits_are_read_apart(tmp_path: Path):
    write_pair(tmp_path, 0, _audio(), DESCRIPTION)
    write_pair(tmp_path, 0, _audio(1), {**DESCRIPTION, "split": "validation"})
    assert [pair.id for pair in read_manifest(tmp_path, "validation")] == ["validation-000000"]
    assert len(read_manifest(tmp_path)) == 2


def test_damage_is_named(tmp_path: Path):
    pair = write_pair(tmp_path, 0, _audio(), DESCRIPTION)
    check(pair)
    pair.path("labels").write_bytes(b"changed")
    with pytest.raises(TrainingError, match=r"labels\.safetensors"):
        check(pair)
    pair.path("clean").unlink()
    with pytest.raises(TrainingError, match="train-000000"):
        load(pair)
    (tmp_path / MANIFEST).write_text('{"id": "x"}\n')
    with pytest.raises(TrainingError, match="line 1"):
        read_manifest(tmp_path)
    with pytest.raises(TrainingError, match="stemprover data pairs"):
        read_manifest(tmp_path / "nothing")


def test_a_pair_depends_on_its_index_only(songs: Path, tmp_path: Path):
    assert build_pairs([songs], tmp_path / "a", 1, "train", seed=5) == Built(1, 0)
    assert build_pairs([songs], tmp_path / "a", 3, "train", seed=5) == Built(2, 1)
    assert build_pairs([songs], tmp_path / "b", 3, "train", seed=5, jobs=2) == Built(3, 0)
    first, second = ({pair.id: pair for pair in read_manifest(tmp_path / name)} for name in "ab")
    assert {key: pair.sha256 for key, pair in first.items()} == {key: pair.sha256 for key, pair in second.items()}
    build_pairs([songs], tmp_path / "c", 1, "train", seed=6)
    assert read_manifest(tmp_path / "c")[0].sha256 != first["train-000000"].sha256


@pytest.fixture(scope="module")
def built(songs: Path, tmp_path_factory: pytest.TempPathFactory) -> list[Pair]:
    folder = tmp_path_factory.mktemp("pairs")
    build_pairs([songs], folder, 12, "validation", seed=1)
    return read_manifest(folder)


def test_what_the_manifest_says_is_what_the_files_hold(built: list[Pair]):
    for pair in built:
        check(pair)
        audio = load(pair)
        assert np.abs(audio.mixture).max() < 1.0
        measured = sdr_db(audio.clean, audio.artifact)
        assert (measured is None) == (pair.sdr_db is None)
        if measured is not None and pair.sdr_db is not None:
            assert measured == pytest.approx(pair.sdr_db, abs=0.1)
            assert measured > -4.0
        assert set(audio.labels) == set(pair.artifacts)
        assert all(label.min() >= 0 and label.max() <= 1 for label in audio.labels.values())


def test_clean_pairs_are_equal_bit_for_bit(built: list[Pair]):
    clean = [pair for pair in built if pair.separator == "none"]
    assert clean
    for pair in clean:
        assert pair.sha256["clean"] == pair.sha256["artifact"]
        assert load(pair).labels == {}


def test_pairs_vary(built: list[Pair]):
    assert len({pair.separator for pair in built}) >= 3
    assert len({pair.stem for pair in built}) >= 3
    ratios = [pair.sdr_db for pair in built if pair.sdr_db is not None]
    assert max(ratios) - min(ratios) > 12


def test_a_recipe_restricts_what_is_made(songs: Path, tmp_path: Path):
    build_pairs([songs], tmp_path, 2, "train", recipe=Recipe.only("controlled", artifacts=("phase-noise",)))
    for pair in read_manifest(tmp_path):
        assert pair.separator == "controlled"
        assert set(pair.artifacts) <= {"phasiness"}


def test_bad_recipes_are_refused():
    with pytest.raises(OptionError, match="sparkle"):
        Recipe(artifacts=("sparkle",))
    with pytest.raises(OptionError, match="share"):
        Recipe(shares=(1.0,))
    with pytest.raises(OptionError, match="share"):
        Recipe.only("nothing-of-the-kind")
