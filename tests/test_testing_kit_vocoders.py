"""The conformance kit passes a vocoder that keeps its promises and catches each that does not."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any

import pytest
import torch
from plugin_site import plugin_site as plugin_site
from testing_kit import fails
from torch import Tensor

from stemprover.synthesis.base import VocoderInput
from stemprover.synthesis.reference import InputPhaseVocoder
from stemprover.testing import VocoderContract


@dataclasses.dataclass
class Broken:
    """A vocoder with a fault."""

    fault: Callable[[Tensor], Tensor]
    name: str = "broken"

    def synthesise(self, request: VocoderInput) -> Tensor:
        return self.fault(InputPhaseVocoder().synthesise(request))


def vocoders_contract(made: Any) -> VocoderContract:
    class Contract(VocoderContract):
        plugin = "broken"

        def vocoder(self) -> Any:
            return made

    return Contract()


def test_a_vocoder_that_keeps_its_promises_passes() -> None:
    contract = vocoders_contract(InputPhaseVocoder())
    contract.test_output_fits_the_input_to_the_sample()
    contract.test_silence_gives_silence()
    contract.test_repeated_it_gives_the_same()
    contract.test_alone_and_in_a_batch_it_does_the_same()
    contract.test_an_unchanged_magnitude_keeps_its_level()


@pytest.mark.parametrize(
    ("fault", "check"),
    [
        (lambda audio: audio[:, 1:], lambda c: c.test_output_fits_the_input_to_the_sample()),
        (lambda audio: audio.double(), lambda c: c.test_output_fits_the_input_to_the_sample()),
        (lambda audio: audio / 0.0, lambda c: c.test_output_fits_the_input_to_the_sample()),
        (lambda audio: audio + 1e-4, lambda c: c.test_silence_gives_silence()),
        (lambda audio: audio + torch.rand_like(audio), lambda c: c.test_repeated_it_gives_the_same()),
        (lambda audio: audio - audio.mean(0), lambda c: c.test_alone_and_in_a_batch_it_does_the_same()),
        (lambda audio: 2.0 * audio, lambda c: c.test_an_unchanged_magnitude_keeps_its_level()),
    ],
    ids=["short", "wide", "infinite", "noisy", "random", "mixed up", "loud"],
)
def test_a_vocoder_that_breaks_a_promise_is_caught(
    fault: Callable[[Tensor], Tensor], check: Callable[[VocoderContract], None]
) -> None:
    assert fails(check, vocoders_contract(Broken(fault)))
