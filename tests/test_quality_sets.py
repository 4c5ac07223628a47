"""The quality benchmark's sets and their labels."""

from __future__ import annotations

import dataclasses
import itertools
from pathlib import Path

import numpy as np
import pytest
from quality_ablations import ablation_items
from quality_material import RATE, item, noise
from quality_separators import repeating_pattern, spatial_wiener
from quality_sets import CLEAN, KITS, SONG, SYNTHETIC, Item, clean_items, cut, excerpt_start, neural_items
from quality_synthetic import KINDS, synthetic_items
from quality_truth import NOTHING, labels_of, leading_artifact
from tiny_base import tiny_base as tiny_base

from stemprover.data.labels import cell_labels
from stemprover.errors import ModelError
from stemprover.evaluation import si_sdr


def test_excerpt_starts_where_every_stem_plays() -> None:
    first, second, never = np.zeros((2, 10)), np.zeros((2, 10)), np.zeros((2, 10))
    first[:, 2:8] = 1.0
    second[:, 5:] = 0.01  # quiet throughout, but this is where it plays
    assert excerpt_start({"a": first, "b": second, "c": never}, 3, step=1) == 5


def test_clean_items_hand_in_the_references_of_each_piece_once() -> None:
    stem = noise(1, 0.1)
    references = {"snare": stem, "toms": np.zeros_like(stem)}
    items = [Item(KITS, "kit", name, "no", references, {"snare": 2 * stem}, stem) for name in ("one", "two")]
    (clean,) = clean_items(items)
    assert (clean.group, clean.separator) == (CLEAN, "none")
    assert clean.estimates["snare"] is stem
    assert set(clean.references) == {"snare"}  # a stem that never plays has nothing to touch


def test_spatial_wiener_separates_sources_by_place_and_sums_to_the_mixture() -> None:
    sources = {"left": noise(1) * [[1.0], [0.1]], "right": noise(2) * [[0.1], [1.0]]}
    estimates = spatial_wiener(sources)
    mixture = sources["left"] + sources["right"]
    np.testing.assert_allclose(sum(estimates.values()), mixture, atol=1e-3)
    for name, source in sources.items():
        assert si_sdr(source, estimates[name]) > si_sdr(source, mixture) + 3


def test_repeating_pattern_leaves_what_repeats_in_the_background() -> None:
    beat = np.zeros(RATE * 4)
    beat[:: RATE // 4] = 1.0
    hit = np.random.default_rng(0).normal(0, 0.3, 2000) * np.exp(-np.arange(2000) / 300)
    beat = np.convolve(beat, hit)[: beat.size]
    pitches = np.repeat(np.random.default_rng(1).uniform(300, 2000, 40), RATE // 10)
    voice = 0.1 * np.sin(2 * np.pi * np.cumsum(pitches) / RATE)
    mixture = np.stack([beat + voice] * 2)
    foreground, background = repeating_pattern(mixture)
    np.testing.assert_allclose(foreground + background, mixture, atol=1e-6)
    assert si_sdr(np.stack([voice] * 2), foreground) > si_sdr(np.stack([voice] * 2), mixture) + 3


def test_synthetic_items_are_repeatable_and_their_errors_exact() -> None:
    clean = list(clean_items([item(seconds=7.0)]))
    items, again = (list(itertools.islice(synthetic_items(clean, 2), 4)) for _ in range(2))
    assert [one.separator for one in items] == [kind for kind in KINDS[:2] for _ in range(2)]
    for one, other in zip(items, again, strict=True):
        ((name, reference),) = one.references.items()
        np.testing.assert_array_equal(one.estimates[name], other.estimates[name])
        np.testing.assert_allclose(reference + sum(one.errors[name].values()), one.estimates[name], atol=1e-6)
    assert [one.song for one in items] == ["piece", "synthesised"] * 2
    assert items[0].separator == "leakage of drums"
    assert set(labels_of(items[0], "vocals")) == {"bleed", "bleed/drums"}


def test_labels_of_an_estimate_name_what_leaks_and_clean_stems_have_none() -> None:
    labels = labels_of(item(), "vocals")
    assert labels["bleed/drums"].mean() > 0.5
    assert leading_artifact(labels, 0.0, 3.0) == "bleed/drums"
    (clean,) = clean_items([item()])
    assert labels_of(clean, "vocals") == {}
    assert leading_artifact({}, 0.0, 3.0) == NOTHING


def test_the_leading_artifact_is_that_of_the_moment() -> None:
    stem, error = noise(1).astype(np.float32), 0.3 * noise(2).astype(np.float32)
    early = error.copy()
    early[:, 2 * RATE :] = 0.0
    labels = cell_labels(stem, {"bleed/bass": early, "phasiness": error - early})
    assert [leading_artifact(labels, start, start + 1.8) for start in (0.0, 2.2)] == ["bleed/bass", "phasiness"]


def test_a_shorter_item_is_the_beginning_of_all_its_parts() -> None:
    whole = next(synthetic_items([], 1))
    part = cut(whole, 1.0)
    ((name, reference),) = part.references.items()
    assert reference.shape == part.mixture.shape == part.estimates[name].shape == (2, RATE)
    for cause, error in part.errors[name].items():
        np.testing.assert_array_equal(error, whole.errors[name][cause][:, :RATE])


def test_neural_items_come_from_networks_that_never_heard_the_song(tmp_path: Path) -> None:
    data = tmp_path / "data"
    with pytest.raises(ModelError, match="none below"):
        list(neural_items(_test_song(data), 1.0, tmp_path, "no"))
    assert list(neural_items(tmp_path, 1.0, tmp_path, "no")) == []


def _test_song(data: Path) -> Path:
    import soundfile

    (data / "multitrack").mkdir(parents=True)
    lines = ["split,song,stem,path"]
    for number, stem in enumerate(("drums", "vocals")):
        soundfile.write(data / "multitrack" / f"{stem}.wav", noise(number, 2.0).T, RATE)
        lines.append(f"test,caesium,{stem},{stem}.wav")
    (data / "multitrack" / "tracks.csv").write_text("\n".join(lines))
    return data


def test_ablations_take_an_unseen_separator_and_a_part_of_the_rest() -> None:
    seen, unseen = (dataclasses.replace(item(SONG, 8.0), seen=seen) for seen in ("yes", "no"))
    synthetic = [dataclasses.replace(item(SYNTHETIC), song=str(number)) for number in range(7)]
    chosen = ablation_items([seen, unseen, item(KITS, 8.0), *synthetic])
    assert [one.group for one in chosen] == [SONG, KITS, *[SYNTHETIC] * 2]
    assert chosen[0].seen == "no"
    assert chosen[0].mixture.shape[-1] == 6 * RATE
