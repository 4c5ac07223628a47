"""What the gate learns from: which repairs are made, and that what is kept of one tells how near it is to the truth."""

from __future__ import annotations

import dataclasses
import random
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
import torch

from stemprover.data.pairs import Pair, PairAudio
from stemprover.evaluation import si_sdr
from stemprover.spectral.segments import Segment
from stemprover.spectral.spec import SPEC
from stemprover.training.gate_draws import SPOILED, Draw, draw_pairs
from stemprover.training.gate_kept import join
from stemprover.training.gate_repairs import outcome_of, spoiled_change

RATE, SECONDS = SPEC.sample_rate, 4.0
SAMPLES = round(SECONDS * RATE)


def pair(number: int, separator: str) -> Pair:
    sdr = None if separator == "none" else 10.0
    return Pair(
        f"train-{number:06d}", "song", "vocals", separator, "train", True, sdr, 0.5, {}, {}, {}, SAMPLES, RATE, Path()
    )


def pairs(real: int, made: int, clean: int) -> list[Pair]:
    separators = ["larsnet"] * real + ["controlled"] * made + ["none"] * clean
    return [pair(number, separator) for number, separator in enumerate(separators)]


def test_five_real_ones_take_turns_with_a_made_and_a_clean_one() -> None:
    draws = [draw for draw in draw_pairs(pairs(50, 50, 50), 35, 3) if draw.name == draw.pair.id]
    assert len(draws) == 35
    counts = Counter(draw.pair.separator for draw in draws)
    assert counts == {"larsnet": 25, "controlled": 5, "none": 5}


def test_what_is_used_up_is_replaced_and_more_pairs_are_the_same_and_others() -> None:
    few, all_of_them = draw_pairs(pairs(10, 40, 2), 30, 3), draw_pairs(pairs(10, 40, 2), 1000, 3)
    assert {draw.name for draw in few} < {draw.name for draw in all_of_them}
    assert len({draw.pair.id for draw in all_of_them}) == 52
    assert len({draw.name for draw in all_of_them}) == len(all_of_them)
    kinds = Counter("alone" if draw.alone else draw.quality for draw in all_of_them)
    assert kinds == {"fast": 52, "alone": 18, "balanced": 7, "best": 6, SPOILED: 13}


def test_pairs_without_siblings_are_left_out() -> None:
    lonely = dataclasses.replace(pair(0, "larsnet"), has_siblings=False)
    assert draw_pairs([lonely], 5, 0) == []


def audio(seed: int = 0) -> PairAudio:
    rng = np.random.default_rng(seed)
    clean, drums = (0.1 * rng.standard_normal((2, SAMPLES)).astype(np.float32) for _ in range(2))
    return PairAudio(clean, clean + 0.4 * drums, clean + drums, {})


def test_gains_are_those_of_the_segments_audio() -> None:
    """At the start, in the middle and at the end; some of the bleed is removed, in the last part only."""
    known = audio()
    change = -0.4 * (known.artifact - known.clean)
    change[:, : 5 * SAMPLES // 8] = 0.0
    ends = [(0.0, 1.0), (1.0, 2.5), (2.5, SECONDS)]
    segments = [Segment(start, start, stop, stop) for start, stop in ends]
    seen = outcome_of(known, change, segments, alone=False)
    found = seen.gains_db(torch.ones(3, SPEC.n_bands))[1]
    for gain, (start, stop) in zip(found.tolist(), ends, strict=True):
        part = slice(round(start * RATE), round(stop * RATE))
        clean, stem = known.clean[:, part], known.artifact[:, part]
        after, before = (si_sdr(clean, one) for one in (stem + change[:, part], stem))
        assert gain == pytest.approx(after - before, abs=0.2), (start, stop)  # frames reach over the ends
    assert found[0] == 0.0
    assert found[2] > 3.0


def test_without_siblings_the_evidence_shows_none() -> None:
    known = audio()
    segment = [Segment(1.0, 1.0, 2.0, 2.0)]
    change = 0.1 * known.artifact
    alone, together = (outcome_of(known, change, segment, alone=alone) for alone in (True, False))
    assert not torch.equal(alone.seen, together.seen)
    torch.testing.assert_close(alone.change, together.change)


def test_a_pair_in_which_nothing_was_repaired_is_empty_and_can_be_joined() -> None:
    known = audio()
    nothing = outcome_of(known, 0.0 * known.clean, [], alone=False)
    one = outcome_of(known, 0.1 * known.clean, [Segment(1.0, 1.0, 2.0, 2.0)], alone=False)
    silent = dataclasses.replace(one, clean=torch.zeros(1))
    assert len(join([dataclasses.asdict(part) for part in (nothing, one, silent)]).seen) == 1


@pytest.mark.parametrize("seed", range(8))
def test_what_is_spoiled_on_purpose_is_worse(seed: int) -> None:
    known = audio(seed)
    spoiled = known.artifact + spoiled_change(known, random.Random(seed))
    error = np.square(spoiled - known.clean).sum() / np.square(known.artifact - known.clean).sum()
    assert error > 1.2


def test_names_tell_how_a_pair_is_repaired() -> None:
    one = pair(7, "larsnet")
    named = [Draw(one), Draw(one, alone=True), Draw(one, quality="best"), Draw(one, quality=SPOILED)]
    assert [draw.name.removeprefix("train-000007") for draw in named] == ["", "-alone", "-best", "-spoiled"]
