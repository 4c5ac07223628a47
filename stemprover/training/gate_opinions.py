"""Second opinions for gates to learn from, by networks that never heard a pair's music.

Detection and the plan take part as in a repair, so that changes are where they are in use; the base does not.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from stemprover.data.pairs import Pair, load
from stemprover.enhance import Enhancer, Settings
from stemprover.errors import TrainingError
from stemprover.plugins import folder_sha256
from stemprover.progress import Silent
from stemprover.render import Renderer, Stages
from stemprover.separation.layout import KIT_STEMS, STEMS
from stemprover.separation.refiner import listener
from stemprover.separation.trained import TrainedSeparator, load_network
from stemprover.stems import Stem, StemSet
from stemprover.synthesis.gate import constant_gate
from stemprover.synthesis.opinion import OPINIONS, Judge, SecondOpinion
from stemprover.training.gate import Outcome
from stemprover.training.gate_draws import SPOILED, Draw
from stemprover.training.gate_repairs import found_with, outcome_of, spoiled_outcome

__all__ = ["Opinions"]

_BLOCK = 1 << 18


class Opinions:
    """Puts second opinions in the place of stems and sums up what was done.

    Parameters
    ----------
    enhancer : Enhancer
        Finds where: its detectors and adapters.
    separators : sequence of TrainedSeparator
        Of each pair the first one is asked that knows its class and never heard any of its music.

    Raises
    ------
    TrainingError
        If one of them takes neither songs nor drum kits apart.

    Attributes
    ----------
    made_with : dict
        What opinions depend on.
    """

    def __init__(self, enhancer: Enhancer, separators: Sequence[TrainedSeparator]) -> None:
        for separator in separators:
            if separator.stems not in (STEMS, KIT_STEMS):
                got = f"{separator.folder} for {', '.join(separator.stems)}"
                raise TrainingError(f"separators for {', '.join(STEMS)} or {', '.join(KIT_STEMS)}", got, "leave it out")
        self._enhancer, self._separators = enhancer, tuple(separators)
        self.made_with = {
            **found_with(enhancer),
            **{f"separator {number}": folder_sha256(one.folder) for number, one in enumerate(separators, 1)},
        }

    def fits(self, draw: Draw) -> bool:
        """Whether there is an opinion on a pair: it has siblings, a known class, and music that one never heard."""
        told = draw.pair.has_siblings and draw.pair.stem in OPINIONS and self._judge(draw.pair) is not None
        return told and not draw.alone and draw.quality in ("fast", SPOILED)

    def __call__(self, draw: Draw) -> Outcome:
        """Let all of an opinion through wherever something is found."""
        audio, pair = load(draw.pair), draw.pair
        if draw.quality == SPOILED:
            return spoiled_outcome(audio, draw)
        stem = Stem.from_array(audio.artifact, pair.sample_rate, pair.stem)
        stems = StemSet((stem,), Stem.from_array(audio.mixture, pair.sample_rate))
        plan = self._enhancer.enhance_set(stems, Settings(auto_detect=True, generic=True), plan_only=True)[0]
        judge = self._judge(pair)
        assert judge is not None  # or it would not fit
        device = self._enhancer.models.device
        network = load_network(judge.folder, device)
        opinion = SecondOpinion({judge.stems: Judge(listener(network), constant_gate(1.0))})
        stages = Stages(
            restore=lambda condition, _scales, _seeds: condition.image.squeeze(1),
            synthesise=lambda request: request.spectrum,
            gate=constant_gate(0.0),
            opinion=opinion,
            device=device,
            seed=0,
        )
        runner = self._enhancer.runner
        renderer = Renderer(stems, stem, plan.plan.items, plan.segments, stages, runner, Silent())
        change = np.concatenate(list(renderer.blocks(_BLOCK)), axis=1)
        return outcome_of(audio, change, plan.segments, alone=False)

    def _judge(self, pair: Pair) -> TrainedSeparator | None:
        music, stems = pair.music, KIT_STEMS if pair.stem in KIT_STEMS else STEMS
        return next((one for one in self._separators if one.stems == stems and not one.heard & music), None)
