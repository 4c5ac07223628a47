"""Folds of recordings, calibration on what no model heard, and thresholds that hold in every recording."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from stemprover.data.pairs import Pair
from stemprover.detection.thresholds import DEFAULT_RULES
from stemprover.detection.types import CellScores
from stemprover.spectral.spec import SPEC
from stemprover.training.detector_crossfit import FOLDS, Folds, calibrated, calibration
from stemprover.training.detector_data import DETECTED, Excerpt
from stemprover.training.detector_evaluation import Scored, calibration_error, clean_touched_share
from stemprover.training.detector_models import PRESENT
from stemprover.training.detector_rules import choose_rule, choose_rules

CELLS = 8
SHAPE = (CELLS, SPEC.n_cell_bands)
songs = st.sampled_from(["lithium", "sodium", "francium", "roots", "synth", "oneshots"])


def _pair(number: int, song: str, sources: tuple[str, ...] = ()) -> Pair:
    return Pair(
        f"train-{number:06d}",
        song,
        "vocals",
        "mask",
        "train",
        True,
        10.0,
        0.5,
        {},
        {},
        {},
        CELLS * SPEC.cell_frames * SPEC.hop,
        SPEC.sample_rate,
        Path(),
        sources,
    )


def _excerpt(number: int, song: str, severity: np.ndarray | None = None, blind: bool = False) -> Excerpt:
    truth = np.zeros((len(DETECTED), *SHAPE), np.float32)
    if severity is not None:
        truth[0] = severity
    nothing = np.zeros((*SHAPE, 1), np.float32)
    return Excerpt(nothing, np.full(SHAPE, -20.0), truth, truth, _pair(number, song), severity is None, blind)


def _score(probability: np.ndarray | float) -> CellScores:
    return CellScores(np.full(SHAPE, probability, np.float32), np.zeros(SHAPE, np.float32))


def _scores(probability: np.ndarray) -> Mapping[str, CellScores]:
    return {"bleed": _score(probability)}


@given(st.lists(st.tuples(songs, st.lists(songs, max_size=3)), min_size=1, max_size=40))
def test_nothing_that_a_fold_scores_has_been_heard_by_its_models(drawn: list[tuple[str, list[str]]]) -> None:
    pairs = [_pair(number, song, tuple(sources)) for number, (song, sources) in enumerate(drawn)]
    folds = Folds.of(pairs)
    for fold in range(FOLDS):
        grown_on = [pair for pair in pairs if folds.growing(fold, pair)]
        scored = [pair for pair in pairs if folds.scoring(pair) == fold]
        heard = frozenset[str]().union(*(pair.music for pair in grown_on))
        assert not {pair.id for pair in grown_on} & {pair.id for pair in scored}
        assert all(pair.song not in heard for pair in scored)
    assert sorted(pair.id for fold in range(FOLDS) for pair in pairs if folds.scoring(pair) == fold) == sorted(
        pair.id for pair in pairs
    )


def test_recordings_are_dealt_out_evenly() -> None:
    counts = dict(zip("abcdefghij", (6, 6, 5, 5, 4, 3, 3, 2, 1, 1), strict=True))
    pairs = [_pair(number, song) for song, count in counts.items() for number in range(count)]
    numbers = Folds.of(pairs).numbers
    sizes = [sum(count for song, count in counts.items() if numbers[song] == fold) for fold in range(FOLDS)]
    assert sizes == [6] * FOLDS


def test_calibration_makes_boastful_scores_honest_in_each_situation() -> None:
    rng = np.random.default_rng(0)
    excerpts, scores = [], []
    for number in range(200):
        blind = number % 2 == 1
        raw = rng.uniform(size=SHAPE)
        honest = raw**4 if blind else raw**2
        present = rng.uniform(size=SHAPE) < honest
        excerpts.append(_excerpt(number, "lithium", np.where(present, 0.5, 0.0), blind))
        scores.append(_scores(raw))
    scored = Scored(excerpts, scores)
    by = {"bleed": calibration("bleed", scored, DEFAULT_RULES["bleed"])}
    for group in calibrated(scored, by).situations().values():
        probability = np.stack([score["bleed"].probability for score in group.scores])
        present = np.stack([item.severity[0] for item in group.excerpts]) >= PRESENT
        assert calibration_error(probability.ravel(), present.ravel()) < 0.02
        assert 0.05 < probability.mean() < 0.45


def _with_odd_song(flagged: int) -> Scored:
    """Damaged excerpts at 0.9, clean ones at 0.1, and of one song in ten ``flagged`` of 30 clean ones at 0.7."""
    rng = np.random.default_rng(1)
    excerpts = [_excerpt(number, "lithium", np.full(SHAPE, 0.5)) for number in range(50)]
    scores = [_scores(np.full(SHAPE, 0.9)) for _ in excerpts]
    for song in range(10):
        for number in range(30):
            odd = song == 0 and number < flagged
            excerpts.append(_excerpt(number, f"song {song}"))
            scores.append(_scores(rng.uniform(0.0, 0.1, SHAPE) + (0.6 if odd else 0.0)))
    return Scored(excerpts, scores)


@pytest.mark.parametrize(("flagged", "stays_low"), [(0, True), (1, True), (2, False)])
def test_a_threshold_keeps_every_recording_clean_not_only_the_mean(flagged: int, stays_low: bool) -> None:
    scored = _with_odd_song(flagged)
    rule = choose_rule("bleed", scored, allowed=0.02)
    odd = scored.where(lambda item: item.pair.song == "song 0")
    assert (rule.base < 0.6) == stays_low
    assert clean_touched_share(odd, {"bleed": rule}) <= 1 / 30
    damaged = scored.where(lambda item: not item.clean)
    assert clean_touched_share(damaged, {"bleed": rule}) == 1.0  # still found


@pytest.mark.parametrize("together", [True, False])
def test_alarms_of_all_artifacts_together_keep_every_recording_clean(together: bool) -> None:
    """Three artifacts with alarms in the same two of 100 excerpts of a song may stay; in six of 100 they may not."""
    excerpts, scores = [], []
    for number in range(800):
        song, place = f"song {number // 200}", number // 2 % 100
        odd = [song == "song 0" and place // 2 == (0 if together else kind) for kind in range(len(DETECTED))]
        excerpts.append(_excerpt(number, song, blind=number % 2 == 1))
        scores.append({name: _score(0.7 if odd[kind] else 0.1) for kind, name in enumerate(DETECTED)})
    for number in range(800, 820):
        damaged = _excerpt(number, "lithium", np.full(SHAPE, 0.5), blind=number % 2 == 1)
        damaged.severity[:] = 0.5
        excerpts.append(damaged)
        scores.append({name: _score(0.9) for name in DETECTED})
    scored = Scored(excerpts, scores)
    chosen = choose_rules(scored)
    for situation, group in scored.situations().items():
        rules = chosen[situation]
        assert all((rule.base < 0.6) == together for rule in rules.values())
        odd_song = group.where(lambda item: item.pair.song == "song 0")
        assert clean_touched_share(odd_song, rules) == (0.02 if together else 0.0)
        assert clean_touched_share(group.where(lambda item: not item.clean), rules) == 1.0  # still found


def test_songs_too_short_to_tell_are_looked_at_together() -> None:
    excerpts = [_excerpt(number, f"song {number}") for number in range(100)]
    scores = [_scores(np.full(SHAPE, 0.7 if number == 0 else 0.1)) for number in range(100)]
    excerpts.append(_excerpt(100, "lithium", np.full(SHAPE, 0.5)))
    scores.append(_scores(np.full(SHAPE, 0.9)))
    assert choose_rule("bleed", Scored(excerpts, scores), allowed=0.02).base < 0.6


def test_without_clean_stems_nothing_keeps_a_threshold_up() -> None:
    damaged = Scored([_excerpt(0, "lithium", np.full(SHAPE, 0.5))], [_scores(np.full(SHAPE, 0.3))])
    assert choose_rule("bleed", damaged, allowed=0.02).base <= 0.3
