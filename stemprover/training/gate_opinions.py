"""Second opinions for gates to learn from, by networks that never heard a pair's music.

Detection and the plan take part as in a repair, so that changes are where they are in use; the base does not. In stems
that come alone everything counts as found.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence

import numpy as np

from stemprover.data.pairs import Pair, load
from stemprover.detection import AnalysisBlock, CellScores, n_cells
from stemprover.enhance import Enhancer, Settings
from stemprover.errors import TrainingError
from stemprover.plugins import folder_sha256
from stemprover.progress import Silent
from stemprover.render import Renderer, Stages
from stemprover.separation.trained import TrainedSeparator, load_network
from stemprover.spectral.spec import SPEC
from stemprover.stems import Stem, StemSet
from stemprover.synthesis.gate import constant_gate
from stemprover.synthesis.opinion import Judge, SecondOpinion, has_opinion, take_answer
from stemprover.training.answers import require_known, separator_for
from stemprover.training.arbiters import TrainedArbiter, arbiter_for, loaded
from stemprover.training.gate import Outcome
from stemprover.training.gate_draws import SPOILED, Draw
from stemprover.training.gate_repairs import found_with, outcome_of, spoiled_outcome

__all__ = ["Opinions"]

_BLOCK = 1 << 18


class _FlagEverything:
    """Finds the same in every cell; see :class:`stemprover.detection.types.Detector`.

    In stems that come alone detection finds little, and most often in the same few kinds of stems: a gate that learned
    from these alone had nothing to go by elsewhere.
    """

    artifacts: tuple[str, ...] = ("bleed",)

    def score(self, block: AnalysisBlock) -> Mapping[str, CellScores]:
        """Return probability 1 and severity 0.5 everywhere."""
        shape = (n_cells(block.audio.shape[-1]), SPEC.n_cell_bands)
        return {"bleed": CellScores(np.ones(shape, np.float32), np.full(shape, 0.5, np.float32))}


class Opinions:
    """Puts second opinions in the place of stems and sums up what was done.

    Parameters
    ----------
    enhancer : Enhancer
        Finds where: its detectors and adapters.
    separators : sequence of TrainedSeparator
        Of each pair the first one is asked that knows its class and never heard any of its music.
    arbiters : sequence of TrainedArbiter
        Likewise; answers on classes that none of them knows are taken as they are. On pairs without named music there
        are no opinions of arbiters: any of them may have learned on the pair itself.
    alone : bool
        Whether stems come alone: separators hear the stems themselves.

    Raises
    ------
    TrainingError
        If a separator takes neither songs nor drum kits apart, or an arbiter weighs stems that come otherwise.

    Attributes
    ----------
    made_with : dict
        What opinions depend on.
    """

    def __init__(
        self, enhancer: Enhancer, separators: Sequence[TrainedSeparator], arbiters: Sequence[TrainedArbiter] = (),
        alone: bool = False,
    ) -> None:  # fmt: skip
        require_known(separators)
        for arbiter in arbiters:
            if arbiter.alone is not alone:
                kinds = ("beside others", "that come alone")
                got = f"{arbiter.folder}, for stems {kinds[arbiter.alone]}"
                raise TrainingError(f"arbiters for stems {kinds[alone]}", got, "leave it out, or use --alone for both")
        self._enhancer, self._separators, self._arbiters = enhancer, tuple(separators), tuple(arbiters)
        self._alone = alone
        if alone:
            self._enhancer = Enhancer(enhancer.models, enhancer.plugins, [_FlagEverything()])
        self.made_with = {
            **found_with(enhancer),
            **{f"separator {number}": folder_sha256(one.folder) for number, one in enumerate(separators, 1)},
            **{f"arbiter {number}": folder_sha256(one.folder) for number, one in enumerate(arbiters, 1)},
            **({"what separators hear": "stems alone", "found": "everything"} if alone else {}),
        }

    def fits(self, draw: Draw) -> bool:
        """Whether opinions are given on stems like a pair's, and somebody asked never heard any of its music."""
        pair = draw.pair
        given = has_opinion(pair.stem, (pair.stem,)) and (self._alone or pair.has_siblings)
        return given and self._asked(pair) is not None and not draw.alone and draw.quality in ("fast", SPOILED)

    def __call__(self, draw: Draw) -> Outcome:
        """Let all of an opinion through wherever something is found; of stems alone, everywhere."""
        audio, pair = load(draw.pair), draw.pair
        if draw.quality == SPOILED:
            return spoiled_outcome(audio, dataclasses.replace(draw, alone=self._alone))
        stem = Stem.from_array(audio.artifact, pair.sample_rate, pair.stem)
        stems = StemSet((stem,), None if self._alone else Stem.from_array(audio.mixture, pair.sample_rate))
        plan = self._enhancer.enhance_set(stems, Settings(auto_detect=True, generic=True), plan_only=True)[0]
        stages = Stages(
            restore=lambda condition, _scales, _seeds: condition.image.squeeze(1),
            synthesise=lambda request: request.spectrum,
            gate=constant_gate(0.0),
            opinion=self._opinion(pair),
            device=self._enhancer.models.device,
            seed=0,
        )
        runner = self._enhancer.runner
        renderer = Renderer(stems, stem, plan.plan.items, plan.segments, stages, runner, Silent())
        change = np.concatenate(list(renderer.blocks(_BLOCK)), axis=1)
        return outcome_of(audio, change, plan.segments, self._alone)

    def _asked(self, pair: Pair) -> tuple[TrainedSeparator, TrainedArbiter | None] | None:
        """Who says something of a pair: networks that never heard any of its music."""
        separator, arbiter = separator_for(pair, self._separators), arbiter_for(pair, self._arbiters)
        settles = any(pair.stem in one.classes for one in self._arbiters)
        return None if separator is None or (settles and arbiter is None) else (separator, arbiter)

    def _opinion(self, pair: Pair) -> SecondOpinion:
        """What they say; there must be someone to ask."""
        asked, device = self._asked(pair), self._enhancer.models.device
        assert asked is not None  # or the pair would not fit
        separator, arbiter = asked
        settle = take_answer if arbiter is None else loaded(arbiter.folder, device, self._alone).settle
        judge = Judge(load_network(separator.folder, device), settle, constant_gate(1.0))
        return SecondOpinion(separator.stems, judge)
