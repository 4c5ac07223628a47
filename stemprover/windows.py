"""The window around a segment: what the networks see of it, and who repairs what in it."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping

import torch
from torch import Tensor

from stemprover.routing import GENERIC, PlanItem
from stemprover.spectral.segments import Segment
from stemprover.spectral.spec import SPEC
from stemprover.synthesis.blend import Region

__all__ = ["CONTEXT_S", "FRAMES", "MAX_SEGMENT_S", "WINDOW", "Window", "window_start"]

FRAMES = 256
WINDOW = (FRAMES - 1) * SPEC.hop
CONTEXT_S = 16 / SPEC.frame_rate
"""A segment leaves at least 0.19 s of context on both sides of it in a window of 2.96 s, none where the file ends."""
MAX_SEGMENT_S = (FRAMES - 1) / SPEC.frame_rate - 2 * CONTEXT_S


@dataclasses.dataclass(frozen=True)
class Window:
    """One segment with its context at the internal rate."""

    segment: Segment
    start: int
    items: tuple[PlanItem, ...]
    stem: Tensor
    view: Tensor  # what preprocessors leave of the stem for the networks
    siblings: Tensor | None

    @property
    def wet(self) -> float:
        """Wet/dry of the strongest adapter here: alone, an adapter at 0.8 is its whole repair mixed in at 0.8."""
        return min(1.0, max((item.amount for item in self.items), default=1.0))

    @property
    def wanted(self) -> float:
        """Share of the change that the user wants here, which the gate is not to know: half of it is half as much."""
        return self.wet * max((item.share for item in self.items), default=1.0)

    @property
    def scales(self) -> Mapping[str, float]:
        """LoRA scale per adapter: by itself, scale times wetness is the strength that was asked for.

        Each adapter learned to repair a stem by itself; where several meet in a window, each gets its share of one
        repair. The base, which repairs what no adapter claims, is below all of them and takes no share.
        """
        amounts: dict[str, float] = {}
        for item in self.items:
            amounts[item.adapter] = max(amounts.get(item.adapter, 0.0), item.amount)
        if not any(amounts.values()):
            return {}
        shared = [amount for name, amount in amounts.items() if name != GENERIC]
        part = max(shared) / sum(shared) if any(shared) else 1.0
        return {name: amount * part / self.wet for name, amount in amounts.items()}

    @property
    def twin(self) -> int:
        """1 or -1 where the second of two channels is the first one or its negative, else 0."""
        parts = [self.view] if self.siblings is None else [self.view, self.siblings]
        if any(len(part) != 2 for part in parts):
            return 0
        return next((sign for sign in (1, -1) if all(torch.equal(right, sign * left) for left, right in parts)), 0)

    def regions(self, value: Callable[[Window, PlanItem], float]) -> list[Region]:
        """Plan items as regions of this window."""
        offset = self.start / SPEC.sample_rate
        return [
            (item.start_s - offset, item.end_s - offset, item.low_hz, item.high_hz, value(self, item))
            for item in self.items
        ]


def window_start(segment: Segment, duration_s: float) -> int:
    """Where a segment's window begins, in samples at the internal rate.

    The segment is in its middle, unless the window would reach beyond an end of the file of ``duration_s``.
    """
    middle = round((segment.start_s + segment.stop_s) / 2 * SPEC.sample_rate)
    latest = round(duration_s * SPEC.sample_rate) - WINDOW
    return max(0, min(middle - WINDOW // 2, latest))
