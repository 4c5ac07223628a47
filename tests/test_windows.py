"""Windows around segments: what they leave for context, and who repairs what in them."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from stemprover.routing import GENERIC, PlanItem
from stemprover.spectral.envelope import onset_strength
from stemprover.spectral.segments import Segment, plan_segments
from stemprover.spectral.spec import SPEC
from stemprover.windows import CONTEXT_S, MAX_SEGMENT_S, WINDOW, Window, window_start


@given(
    duration_ms=st.integers(50, 40_000),
    percents=st.tuples(st.integers(0, 100), st.integers(0, 100)).map(sorted),
    seed=st.integers(0, 2**32 - 1),
)
def test_a_window_holds_its_segment_and_context_but_at_the_files_ends(
    duration_ms: int, percents: list[int], seed: int
) -> None:
    """What lies outside of its window cannot be repaired: it would be cut off with a click."""
    duration_s = duration_ms / 1000
    hops = int(np.ceil(duration_s * SPEC.frame_rate))
    envelope = np.random.default_rng(seed).uniform(-90, 0, hops)
    places = [(percents[0] / 100 * duration_s, percents[1] / 100 * duration_s)]
    lengths = {"hop_s": 1.0 / SPEC.frame_rate, "max_s": MAX_SEGMENT_S, "longer_at_ends_s": CONTEXT_S}
    hop_s = 1.0 / SPEC.frame_rate
    for segment in plan_segments(envelope, onset_strength(envelope), places, **lengths):
        start_s = window_start(segment, duration_s) / SPEC.sample_rate
        stop_s = start_s + WINDOW / SPEC.sample_rate
        before = 0.0 if segment.start_s == 0.0 else min(CONTEXT_S, segment.start_s)
        after = 0.0 if segment.stop_s >= duration_s else min(CONTEXT_S, duration_s - segment.stop_s)
        assert start_s >= 0.0
        # The last hop of a file may be a part of one, which moves the window by as much.
        assert start_s <= segment.start_s - before + hop_s
        assert stop_s >= min(segment.stop_s, duration_s) + after - hop_s


def window(*items: PlanItem) -> Window:
    nothing = torch.zeros(1, 8)
    return Window(Segment(0.0, 0.0, 1.0, 1.0), 0, items, nothing, nothing, None)


def item(adapter: str, strength: float = 1.0) -> PlanItem:
    return PlanItem(0.0, 1.0, "bleed", adapter, strength, 20.0, 9000.0, 1.0, 1.0)


def test_the_base_takes_no_share_of_the_adapters_repair() -> None:
    assert window(item("one"), item(GENERIC)).scales["one"] == 1.0
    assert window(item("one"), item("two"), item(GENERIC)).scales["one"] == pytest.approx(0.5)
    assert window(item(GENERIC)).scales == {GENERIC: 1.0}
    assert window(item("one", 0.0)).scales == {}
