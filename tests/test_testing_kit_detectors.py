"""The conformance kit passes a detector that keeps its promises and catches each that does not."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import pytest
from plugin_site import plugin_site as plugin_site
from testing_kit import fails

from stemprover.detection import AnalysisBlock, CellScores, n_cells
from stemprover.plugins import PluginRunner
from stemprover.spectral.spec import SPEC
from stemprover.testing import DetectorContract

Answer = Mapping[str, CellScores]


class Sound:
    """A detector that finds nothing, in the right form."""

    artifacts: tuple[str, ...] = ("buzz",)

    def score(self, block: AnalysisBlock) -> Answer:
        return {"buzz": self.scores(block, 0.0)}

    @staticmethod
    def scores(block: AnalysisBlock, value: float) -> CellScores:
        values = np.full((n_cells(block.audio.shape[-1]), SPEC.n_cell_bands), value, np.float32)
        return CellScores(values, values)


class NotANumber(Sound):
    def score(self, block: AnalysisBlock) -> Answer:
        return {"buzz": self.scores(block, float("nan"))}


class TooCertain(Sound):
    def score(self, block: AnalysisBlock) -> Answer:
        return {"buzz": self.scores(block, 1.5)}


class OneCellShort(Sound):
    def score(self, block: AnalysisBlock) -> Answer:
        scores = self.scores(block, 0.0)
        return {"buzz": CellScores(scores.probability[1:], scores.severity)}


class WrongName(Sound):
    def score(self, block: AnalysisBlock) -> Answer:
        return {"hum": self.scores(block, 0.0)}


class Meddler(Sound):
    def score(self, block: AnalysisBlock) -> Answer:
        block.audio.mul_(0.5)
        return super().score(block)


class Counter(Sound):
    calls = 0

    def score(self, block: AnalysisBlock) -> Answer:
        self.calls += 1
        return {"buzz": self.scores(block, min(1.0, 0.1 * self.calls))}


class Everywhere(Sound):
    def score(self, block: AnalysisBlock) -> Answer:
        return {"buzz": self.scores(block, 0.99)}


class FromTheStart(Sound):
    """Decides by the distance from the block's start, which means nothing."""

    def score(self, block: AnalysisBlock) -> Answer:
        scores = self.scores(block, 0.0)
        scores.probability[::2] = 0.9
        scores.probability[:5] = 0.9
        return {"buzz": scores}


def detectors_contract(made: Any) -> DetectorContract:
    class Runner(PluginRunner):
        def detectors(self) -> dict[str, Any]:
            return {"buzz": made}

    class Contract(DetectorContract):
        plugin = "buzz"

        def detector(self) -> Any:
            return made

        def runner(self) -> PluginRunner:
            return Runner([])

    return Contract()


def test_a_detector_that_keeps_its_promises_passes() -> None:
    contract = detectors_contract(Sound())
    contract.test_every_cell_has_a_score(2, True)
    contract.test_the_audio_is_not_touched()
    contract.test_it_holds_no_state()
    contract.test_two_pieces_agree_with_the_whole()
    contract.test_silence_holds_nothing()
    contract.test_clean_input_passes()


@pytest.mark.parametrize(
    ("broken", "check"),
    [
        (NotANumber, lambda c: c.test_every_cell_has_a_score(1, False)),
        (TooCertain, lambda c: c.test_every_cell_has_a_score(1, False)),
        (OneCellShort, lambda c: c.test_every_cell_has_a_score(1, False)),
        (WrongName, lambda c: c.test_every_cell_has_a_score(1, False)),
        (Meddler, lambda c: c.test_the_audio_is_not_touched()),
        (Counter, lambda c: c.test_it_holds_no_state()),
        (FromTheStart, lambda c: c.test_two_pieces_agree_with_the_whole()),
        (Everywhere, lambda c: c.test_clean_input_passes()),
        (NotANumber, lambda c: c.test_clean_input_passes()),
    ],
)
def test_a_detector_that_breaks_a_promise_is_caught(
    broken: type[Sound], check: Callable[[DetectorContract], None]
) -> None:
    assert fails(check, detectors_contract(broken()))
