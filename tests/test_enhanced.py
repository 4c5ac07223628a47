"""What is told of a run: how much was planned, and how much of it was done."""

from __future__ import annotations

import numpy as np
import pytest

from stemprover.cli.printing import print_short
from stemprover.enhanced import Enhanced, Settings
from stemprover.routing import Applied, Plan, PlanItem
from stemprover.spectral.segments import Segment
from stemprover.stems import Stem

FIRST, NEXT, LAST = Segment(0.0, 0.1, 1.9, 2.0), Segment(1.9, 2.0, 3.9, 4.0), Segment(6.0, 6.1, 6.9, 7.0)
ITEM = PlanItem(0.0, 7.0, "bleed", "mine", 1.0, 0.0, 4000.0, 0.9, 0.5)


def told(*shares: float, consistent: bool = False) -> Enhanced:
    stem = Stem.from_array(np.zeros((1, 80_000)), 8_000, "vocals")
    segments = (FIRST, NEXT, LAST)
    applied = tuple(map(Applied, segments, shares)) if shares else ()
    settings = Settings(auto_detect=True, mixture_consistent=consistent)
    return Enhanced(stem, settings, Plan((ITEM,)), (), {}, segments, {}, applied=applied)


@pytest.mark.parametrize(
    ("shares", "repaired"),
    [
        ((), 5.0),  # only planned
        ((0.5, 0.5, 0.5), 5.0),  # what two segments share counts once
        ((0.5, 0.0, 0.5), 3.0),
        ((0.0, 0.5, 0.0), 2.1),
        ((0.0, 0.0, 0.0), 0.0),
    ],
)
def test_what_the_gate_left_out_was_planned_but_not_repaired(shares: tuple[float, ...], repaired: float) -> None:
    one = told(*shares)
    assert one.planned_s == pytest.approx(5.0)
    assert one.repaired_s == pytest.approx(repaired)
    assert one.to_dict()["repaired_s"] == pytest.approx(repaired)


@pytest.mark.parametrize(
    ("shares", "consistent", "said"),
    [
        ((0.5, 0.0, 0.0), False, "repaired 2.0 s of 10.0 s (bleed 1)"),
        ((0.0, 0.0, 0.0), False, "unchanged"),
        ((0.0, 0.0, 0.0), True, "not repaired, made to sum to the mixture"),
    ],
)
def test_one_line_says_what_was_done(
    shares: tuple[float, ...], consistent: bool, said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    print_short(told(*shares, consistent=consistent).to_dict())
    assert f": {said} ->" in capsys.readouterr().out


def test_one_line_says_where_the_stem_was(capsys: pytest.CaptureFixture[str]) -> None:
    print_short({**told(0.0, 0.0, 0.0).to_dict(), "late_samples": -3, "moved_samples": 1105})
    assert ": unchanged, 3 samples early, moved by 1105 samples ->" in capsys.readouterr().out
