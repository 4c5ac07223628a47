"""Training the repair gate: perceptrons learn which repairs help, on repairs whose truth is known."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from stemprover.synthesis.gate import RepairGate
from stemprover.training.losses import ratios_db

__all__ = ["GateTask", "Outcome", "Outcomes"]

_WORSE_DB, _EDGE_DB = 0.1, 0.05
_BEST_DB = 6.0  # a gain beyond it is no better: a few easy items are not to decide


@dataclasses.dataclass(frozen=True)
class Outcome:
    """Repairs, and what is needed to tell how far each share of them is from the truth.

    Attributes
    ----------
    seen : Tensor
        Evidence, shape ``[items, len(EVIDENCE)]``.
    clean, stem, both : Tensor
        Energy of the clean stem and of the stem, and their product, shape ``[items]``.
    change, with_clean, with_stem : Tensor
        Energy of the change in each band, and its products with both, shape ``[items, n_bands]``.
    """

    seen: Tensor
    clean: Tensor
    stem: Tensor
    both: Tensor
    change: Tensor
    with_clean: Tensor
    with_stem: Tensor

    def gains_db(self, share: Tensor) -> Tensor:
        """Gain of SDR and of SI-SDR of applying ``share`` ``[items, n_bands]``, in dB, shape ``[2, items]``."""
        energy = self.stem + (share * (2.0 * self.with_stem + share * self.change)).sum(1)
        product = self.both + (share * self.with_clean).sum(1)
        return ratios_db(energy, product, self.clean) - ratios_db(self.stem, self.both, self.clean)


class Outcomes:
    """Draws batches of outcomes; batch ``i`` of a seed is always the same."""

    def __init__(self, outcome: Outcome, batch_size: int, seed: int) -> None:
        self.outcome, self.batch_size, self.seed = outcome, batch_size, seed

    def batch(self, index: int) -> Outcome:
        """Return batch ``index``."""
        rng = np.random.default_rng((self.seed, index))
        count = len(self.outcome.seen)
        rows = torch.from_numpy(rng.choice(count, min(self.batch_size, count), replace=False))
        held = {field.name: getattr(self.outcome, field.name)[rows] for field in dataclasses.fields(self.outcome)}
        return Outcome(**held)


class GateTask:
    """Gain in dB, less what harm costs.

    Parameters
    ----------
    gate : RepairGate
        What learns.
    harm : float
        What making a segment worse costs, in dB of gain elsewhere, and each further dB.
    save : callable
        Writes the released form.
    """

    def __init__(self, gate: RepairGate, harm: float, save: Callable[[Path], None]) -> None:
        self.gate, self.harm, self._save = gate, harm, save

    def trainable(self) -> nn.Module:
        """The gate."""
        return self.gate

    def loss(self, batch: Outcome, generator: torch.Generator) -> tuple[Tensor, Mapping[str, float]]:
        """Mean over both gains; the share that is made worse counts through a smooth step at -0.1 dB."""
        del generator
        self.gate.train()
        gains = batch.gains_db(self.gate(batch.seen))
        worse = torch.sigmoid((-gains - _WORSE_DB) / _EDGE_DB) + (-gains).relu()
        return (self.harm * worse - gains.clamp_max(_BEST_DB)).mean(), {"gain_db": gains.mean().item()}

    def validate(self, batch: Outcome) -> Mapping[str, float]:
        """Gains with the gate, with half and with all of each repair, and the share made worse by over 0.1 dB."""
        share = self.gate.eval()(batch.seen)
        figures = {"share": share.mean().item()}
        for name, chosen in (("", share), ("half_", 0.5 + 0.0 * share), ("whole_", 1.0 + 0.0 * share)):
            gain, scaled = batch.gains_db(chosen)
            figures[f"{name}gain_db"] = gain.mean().item()
            figures[f"{name}si_gain_db"] = scaled.mean().item()
            figures[f"{name}harmed"] = (scaled < -_WORSE_DB).float().mean().item()
        return figures

    def save(self, folder: Path) -> None:
        """Write the released form."""
        self._save(folder)
