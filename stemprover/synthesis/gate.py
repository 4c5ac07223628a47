"""How much of a repair to apply: a small network that learned, on repairs whose truth is known, which of them help.

Stages 1 and 2 say what a better stem might be, not whether they are right. A repair that takes from a stem what its
siblings hold loud is mostly right; one that turns down what only the stem holds is mostly wrong. Such evidence is
summed up over the segment and over parts of its spectrum, and the gate says which share of the change each part gets.
It is shared by all adapters and vocoders, because it sees what they did and not how.

Several perceptrons learn the same from different draws (a deep ensemble: Lakshminarayanan et al., 2017). Where they
disagree, the evidence is of a kind that training has not shown, and less is applied: music that nobody trained on is
what users have.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import torch
from diffusers.configuration_utils import ConfigMixin, register_to_config
from diffusers.models.modeling_utils import ModelMixin
from torch import Tensor, nn
from torch.nn import functional

from stemprover.errors import ModelError
from stemprover.spectral.spec import SPEC
from stemprover.synthesis.evidence import CUES, EVIDENCE, PARTS

__all__ = ["DOUBT", "Gate", "RepairGate", "constant_gate", "load_gate"]

Gate = Callable[[Tensor], Tensor]
"""Evidence ``[batch, len(EVIDENCE)]`` to the share of the change that each band gets, ``[batch, n_bands]``."""

DOUBT = 1.5
"""Of the gate of repairs; chosen on recordings left out of training."""
_LIMIT = 4.0  # standard deviations; what is stranger than all of training is no stranger than that
_TRIFLE = 10**-4.5  # 45 dB below the stem, chosen on validation repairs


def _remaining(seen: Tensor, shares: Tensor) -> Tensor:
    """Largest energy, relative to the stem's, that a change can have when each band gets its share; ``[batch]``.

    Evidence tells in which part of the spectrum a change is, not in which of its bands.
    """
    cues = torch.unflatten(seen, 1, (-1, len(CUES)))
    change, parts = cues[:, 0, CUES.index("change_level")], cues[:, 1:, CUES.index("change_share")]
    kept = torch.unflatten(shares.square(), 1, (PARTS, -1)).amax(2)
    remaining: Tensor = torch.pow(10.0, change) * (torch.pow(10.0, parts) * kept).sum(1)
    return remaining


class RepairGate(ModelMixin, ConfigMixin):  # type: ignore[misc]
    """Perceptrons from evidence to the share of a repair that each part of the spectrum gets.

    Evidence is what :func:`~stemprover.synthesis.evidence.evidence` measures.

    Parameters
    ----------
    members : int
        How many perceptrons answer.
    doubt : float
        How many standard deviations between their answers are taken off.
    width : int
        Of the two hidden layers of each.
    seen : int
        Number of cues; other numbers than :data:`EVIDENCE` has are of other versions.
    spectral_spec : str
        Digest of the spectral spec that its evidence is measured with.
    """

    @register_to_config  # type: ignore[untyped-decorator]
    def __init__(
        self,
        members: int = 8,
        doubt: float = DOUBT,  # noqa: ARG002 (kept in config.json)
        width: int = 96,
        seen: int = len(EVIDENCE),
        spectral_spec: str = SPEC.digest(),  # noqa: ARG002 (kept in config.json)
    ) -> None:
        super().__init__()
        self.register_buffer("mean", torch.zeros(seen))
        self.register_buffer("deviation", torch.ones(seen))
        self.perceptrons = nn.ModuleList(_perceptron(seen, width) for _ in range(members))

    def measure(self, seen: Tensor) -> None:
        """Take mean and deviation of each cue from training's evidence ``[items, len(EVIDENCE)]``."""
        self.mean.copy_(seen.mean(0))
        self.deviation.copy_(seen.std(0, correction=0).clamp_min(1e-3))

    def forward(self, seen: Tensor) -> Tensor:
        """Return the share of the change that each band gets, 0 to 1, shape ``[batch, n_bands]``.

        In training each member answers for its own part of the batch, so that no two learn from the same draws. Later
        all answer, and get less the more they differ; repairs of which no more would remain than a trifle get nothing:
        a stem that is as good as clean stays as it is, bit by bit.
        """
        usual = ((seen - self.mean) / self.deviation).clamp(-_LIMIT, _LIMIT)
        if self.training:
            parts = torch.tensor_split(usual, len(self.perceptrons))
            answers = torch.cat([member(part) for member, part in zip(self.perceptrons, parts, strict=True)])
            return _per_band(torch.sigmoid(answers))
        answers = torch.sigmoid(torch.stack([member(usual) for member in self.perceptrons]))
        shares = _per_band((answers.mean(0) - self.config.doubt * answers.std(0, correction=0)).clamp_min(0.0))
        return shares * (_remaining(seen, shares) > _TRIFLE).unsqueeze(1)


def _perceptron(seen: int, width: int) -> nn.Sequential:
    return nn.Sequential(
        nn.Dropout(0.1),
        nn.Linear(seen, width),
        nn.GELU(),
        nn.Dropout(0.2),
        nn.Linear(width, width),
        nn.GELU(),
        nn.Linear(width, PARTS),
    )


def _per_band(shares: Tensor) -> Tensor:
    return functional.interpolate(shares.unsqueeze(1), SPEC.n_bands, mode="linear").squeeze(1)


def constant_gate(share: float) -> Gate:
    """Return a gate that lets the same share of every repair through, to see what the repairs themselves are worth."""
    return lambda seen: seen.new_full((len(seen), SPEC.n_bands), share)


def load_gate(folder: Path) -> RepairGate:
    """Load a gate in float32.

    Raises
    ------
    ModelError
        If the folder holds none, or one of another version or for another spectral spec.
    """
    try:
        gate: RepairGate
        gate, loaded = RepairGate.from_pretrained(folder, dtype=torch.float32, output_loading_info=True)
    except (OSError, ValueError, RuntimeError) as error:
        raise ModelError("repair gate weights", f"{folder.name}: {error}", "reinstall stemprover") from error
    if loaded["missing_keys"]:  # diffusers would leave them as they were drawn
        raise ModelError("repair gate weights", f"{folder.name}: a gate of another version", "reinstall stemprover")
    wanted, got = (SPEC.digest(), len(EVIDENCE)), (gate.config.spectral_spec, gate.config.seen)
    if got != wanted:
        expected = f"a gate for {wanted[0]} and {wanted[1]} cues"
        raise ModelError(expected, f"one for {got[0]} and {got[1]}", "reinstall stemprover")
    gate.eval()
    return gate
