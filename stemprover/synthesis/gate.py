"""How much of a repair to apply: a small network that learned, on repairs whose truth is known, which of them help.

Stages 1 and 2 say what a better stem might be, not whether they are right. A repair that takes from a stem what its
siblings hold loud is mostly right; one that turns down what only the stem holds is mostly wrong. Such evidence is
summed up over the segment and over parts of its spectrum, and the gate says which share of the change each part gets.
It is shared by all adapters and vocoders, because it sees what they did and not how.
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
from stemprover.spectral.bands import band_matrix, to_bands
from stemprover.spectral.phase import BandFeatures
from stemprover.spectral.spec import SPEC
from stemprover.spectral.stft import power, product

__all__ = ["EVIDENCE", "Gate", "RepairGate", "constant_gate", "evidence", "load_gate"]

Gate = Callable[[Tensor], Tensor]
"""Evidence ``[batch, len(EVIDENCE)]`` to the share of the change that each band gets, ``[batch, n_bands]``."""

_EPS = 1e-12
_QUIET = 1e-4  # of a part's loudest band: what lies below says nothing about its texture
_PARTS = 4
_LIMIT = 4.0  # standard deviations; what is stranger than all of training is no stranger than that
_TRIFLE = 10**-4.5  # 45 dB below the stem, chosen on validation repairs
_CUES = (
    "change_level",
    "sibling_level",
    "stem_share",
    "sibling_share",
    "change_share",
    "change_with_stem",
    "change_with_siblings",
    "stem_with_siblings",
    "gain",
    "gain_spread",
    "coherence_of_stem",
    "coherence_of_change",
    "coherence_of_siblings",
    "coherence_where_louder",
    "coherence_where_softer",
    "stem_louder",
    "change_where_louder",
    "group_delay_deviation",
    "instantaneous_frequency_deviation",
    "stem_flatness",
    "sibling_flatness",
    "change_flatness",
)
EVIDENCE = tuple(f"{part}/{cue}" for part in ("all", *map(str, range(_PARTS))) for cue in _CUES)
"""What :func:`evidence` measures, in order: each cue in the whole spectrum, then in its parts from low to high."""


def evidence(
    stem: Tensor, siblings: Tensor | None, change: Tensor, features: BandFeatures, channels: int = 1
) -> Tensor:
    """Sum up what a repair would do to each of a batch of segments.

    All cues are ratios, so that turning everything up or down changes none. A segment's channels are summed up
    together: different answers would move what is repaired from one to another.

    Parameters
    ----------
    stem, siblings : Tensor
        Complex spectra ``[batch, n_bins, frames]``; no siblings if the stem came alone.
    change : Tensor
        What the repair would add to the stem, same shape, zero outside the plan's regions.
    features : BandFeatures
        Of stem and siblings.
    channels : int
        How many successive items of the batch are the channels of one segment.

    Returns
    -------
    Tensor
        Shape ``[batch / channels, len(EVIDENCE)]``.
    """
    own = features.magnitude.square() * band_matrix().to(stem.real).sum(1, keepdim=True)
    changed = to_bands(power(change))
    with_stem = to_bands(product(change, stem))
    beside = with_siblings = torch.zeros_like(own)
    if siblings is not None:
        beside = to_bands(power(siblings))
        with_siblings = to_bands(product(change, siblings))
    maps = torch.stack(
        [
            own,
            beside,
            changed,
            with_stem,
            with_siblings,
            features.coherence_real * torch.sqrt(own * beside),
            features.coherence_real.square() + features.coherence_imag.square(),
            features.group_delay,
            features.frequency,
        ]
    )
    maps = torch.cat(torch.unflatten(maps, 1, (-1, channels)).unbind(2), dim=-1)  # one after the other in time
    totals = maps[:3].sum((-2, -1))
    parts = (maps, *maps.chunk(_PARTS, dim=-2))
    return torch.cat([_cues(part, totals) for part in parts], dim=1)


def _cues(maps: Tensor, totals: Tensor) -> Tensor:
    """Cues of one part of the spectrum, shape ``[batch, len(_CUES)]``."""
    own, beside, changed, with_stem, _, _, coherence, group_delay, frequency = maps
    sums = maps[:6].sum((-2, -1))
    stem, sibling, change = sums[:3]
    gain = (with_stem / (own + _EPS + 1e-9 * totals[0, :, None, None])).clamp(-1.0, 1.5)
    mean_gain = _weighted(gain, own)
    louder = (own > beside).to(own)
    cues = (
        _bels(change, stem),
        _bels(sibling, stem),
        _bels(stem, totals[0]),
        _bels(sibling, totals[1]),
        _bels(change, totals[2]),
        sums[3] / torch.sqrt(stem * change + _EPS),
        sums[4] / torch.sqrt(sibling * change + _EPS),
        sums[5] / torch.sqrt(stem * sibling + _EPS),
        mean_gain,
        torch.sqrt(_weighted((gain - mean_gain[:, None, None]).square(), own)),
        _weighted(coherence, own),
        _weighted(coherence, changed),
        _weighted(coherence, beside),
        _weighted(coherence * louder, own),
        _weighted(coherence * (1.0 - louder), own),
        _weighted(louder, own),
        _weighted(louder, changed),
        _weighted(group_delay, own),
        _weighted(frequency, own),
        _flatness(own),
        _flatness(beside),
        _flatness(changed),
    )
    return torch.stack(cues, dim=1)


def _bels(energy: Tensor, reference: Tensor) -> Tensor:
    return torch.log10((energy + _EPS) / (reference + _EPS)).clamp(-6.0, 6.0)


def _weighted(values: Tensor, weight: Tensor) -> Tensor:
    return (values * weight).sum((-2, -1)) / (weight.sum((-2, -1)) + _EPS)


def _flatness(energy: Tensor) -> Tensor:
    """Geometric over arithmetic mean, in bels."""
    floor = _QUIET * energy.amax((-2, -1), keepdim=True) + _EPS
    return torch.log10(energy + floor).mean((-2, -1)) - torch.log10(energy.mean((-2, -1)) + _EPS)


def _remaining(seen: Tensor, shares: Tensor) -> Tensor:
    """Largest energy, relative to the stem's, that a change can have when each band gets its share; ``[batch]``.

    Evidence tells in which part of the spectrum a change is, not in which of its bands.
    """
    cues = torch.unflatten(seen, 1, (-1, len(_CUES)))
    change, parts = cues[:, 0, _CUES.index("change_level")], cues[:, 1:, _CUES.index("change_share")]
    kept = torch.unflatten(shares.square(), 1, (_PARTS, -1)).amax(2)
    remaining: Tensor = torch.pow(10.0, change) * (torch.pow(10.0, parts) * kept).sum(1)
    return remaining


class RepairGate(ModelMixin, ConfigMixin):  # type: ignore[misc]
    """Perceptron from :func:`evidence` to the share of a repair that each part of the spectrum gets.

    Parameters
    ----------
    width : int
        Of its two hidden layers.
    seen : int
        Number of cues; other numbers than :data:`EVIDENCE` has are of other versions.
    spectral_spec : str
        Digest of the spectral spec that its evidence is measured with.
    """

    @register_to_config  # type: ignore[untyped-decorator]
    def __init__(
        self,
        width: int = 96,
        seen: int = len(EVIDENCE),
        spectral_spec: str = SPEC.digest(),  # noqa: ARG002 (kept in config.json)
    ) -> None:
        super().__init__()
        self.register_buffer("mean", torch.zeros(seen))
        self.register_buffer("deviation", torch.ones(seen))
        self.layers = nn.Sequential(
            nn.Dropout(0.1),
            nn.Linear(seen, width),
            nn.GELU(),
            nn.Dropout(0.2),
            nn.Linear(width, width),
            nn.GELU(),
            nn.Linear(width, _PARTS),
        )

    def measure(self, seen: Tensor) -> None:
        """Take mean and deviation of each cue from training's evidence ``[items, len(EVIDENCE)]``."""
        self.mean.copy_(seen.mean(0))
        self.deviation.copy_(seen.std(0, correction=0).clamp_min(1e-3))

    def forward(self, seen: Tensor) -> Tensor:
        """Return the share of the change that each band gets, 0 to 1, shape ``[batch, n_bands]``.

        Out of training, repairs of which no more would remain than a trifle get nothing: a stem that is as good as
        clean stays as it is, bit by bit.
        """
        usual = ((seen - self.mean) / self.deviation).clamp(-_LIMIT, _LIMIT)
        shares = torch.sigmoid(self.layers(usual)).unsqueeze(1)
        shares = functional.interpolate(shares, SPEC.n_bands, mode="linear").squeeze(1)
        return shares if self.training else shares * (_remaining(seen, shares) > _TRIFLE).unsqueeze(1)


def constant_gate(share: float) -> Gate:
    """Return a gate that lets the same share of every repair through, to see what the repairs themselves are worth."""
    return lambda seen: seen.new_full((len(seen), SPEC.n_bands), share)


def load_gate(folder: Path) -> RepairGate:
    """Load a gate in float32.

    Raises
    ------
    ModelError
        If the folder holds none, or one for another spectral spec.
    """
    try:
        gate: RepairGate = RepairGate.from_pretrained(folder, dtype=torch.float32).eval()
    except (OSError, ValueError, RuntimeError) as error:
        raise ModelError("repair gate weights", f"{folder.name}: {error}", "reinstall stemprover") from error
    wanted, got = (SPEC.digest(), len(EVIDENCE)), (gate.config.spectral_spec, gate.config.seen)
    if got != wanted:
        expected = f"a gate for {wanted[0]} and {wanted[1]} cues"
        raise ModelError(expected, f"one for {got[0]} and {got[1]}", "reinstall stemprover")
    return gate
