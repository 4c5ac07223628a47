"""The conformance kit passes a separator that keeps its promises and catches each that does not."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from plugin_site import plugin_site as plugin_site
from testing_kit import fails
from torch import Tensor

from stemprover.testing import SeparatorContract


class Halves:
    """A separator whose stems are the mixture at two levels."""

    name = "halves"
    stems = ("vocals", "other")
    sample_rate = 44_100

    def separate(self, audio: Tensor) -> dict[str, Tensor]:
        return {"vocals": 0.25 * audio, "other": 0.75 * audio}


class Late(Halves):
    def separate(self, audio: Tensor) -> dict[str, Tensor]:
        return {"vocals": audio[:, 1:], "other": audio}


class Loud(Halves):
    def separate(self, audio: Tensor) -> dict[str, Tensor]:
        return {"vocals": 3.0 * audio, "other": audio}


class Forgetful(Halves):
    def separate(self, audio: Tensor) -> dict[str, Tensor]:
        return {"vocals": audio}


class Noisy(Halves):
    def separate(self, audio: Tensor) -> dict[str, Tensor]:
        return {"vocals": audio + 1e-3 * torch.randn_like(audio), "other": audio}


class Levelled(Halves):
    """Brings every piece to its own level, so that pieces do not fit together."""

    def separate(self, audio: Tensor) -> dict[str, Tensor]:
        ramp = torch.linspace(0.0, 1.0, audio.shape[-1])
        return {"vocals": audio * ramp, "other": audio}


class InPlace(Halves):
    def separate(self, audio: Tensor) -> dict[str, Tensor]:
        return {"vocals": audio.mul_(0.5), "other": audio}


def separators_contract(made: Halves) -> SeparatorContract:
    class Contract(SeparatorContract):
        plugin = "halves"

        def separator(self) -> Any:
            return made

    return Contract()


def test_a_separator_that_keeps_its_promises_passes() -> None:
    contract = separators_contract(Halves())
    contract.test_stems_fit_the_mixture_to_the_sample(4_001)
    contract.test_silence_stays_silent()
    contract.test_it_holds_no_state()
    contract.test_pieces_agree_with_the_whole()


@pytest.mark.parametrize(
    ("broken", "check"),
    [
        (Late, lambda c: c.test_stems_fit_the_mixture_to_the_sample(4_001)),
        (Loud, lambda c: c.test_stems_fit_the_mixture_to_the_sample(4_001)),
        (Forgetful, lambda c: c.test_stems_fit_the_mixture_to_the_sample(4_001)),
        (InPlace, lambda c: c.test_stems_fit_the_mixture_to_the_sample(4_001)),
        (Noisy, lambda c: c.test_silence_stays_silent()),
        (Noisy, lambda c: c.test_it_holds_no_state()),
        (Levelled, lambda c: c.test_pieces_agree_with_the_whole()),
    ],
)
def test_a_separator_that_breaks_a_promise_is_caught(
    broken: type[Halves], check: Callable[[SeparatorContract], None]
) -> None:
    assert fails(check, separators_contract(broken()))
