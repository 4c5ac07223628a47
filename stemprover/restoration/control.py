"""The control image: what the spectrogram image alone does not show."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import torch
from torch import Tensor

from stemprover.spectral.phase import BandFeatures

__all__ = ["CONTROL_CHANNELS", "Condition", "control_image", "phase_coherence"]

CONTROL_CHANNELS = (
    "stem",
    "siblings",
    "has_siblings",
    "level_difference",
    "coherence_real",
    "coherence_imag",
    "group_delay_deviation",
    "instantaneous_frequency_deviation",
    "interchannel_difference",
    "severity",
)
"""Channels of the control image, in order."""


@dataclasses.dataclass(frozen=True)
class Condition:
    """What is known of a batch of segments besides the sample that flows.

    Attributes
    ----------
    image : Tensor
        Degraded image, shape ``[batch, 1, n_bands, frames]``.
    control : Tensor
        Control image, shape ``[batch, channels, n_bands, frames]``.
    coherence : Tensor
        Local phase coherence, shape ``[batch, 1, n_bands, frames]``.
    stems, artifacts : sequence of str
        Names for the conditioning tokens.
    severity : Tensor
        Mean severity, shape ``[batch]``.
    """

    image: Tensor
    control: Tensor
    coherence: Tensor
    stems: Sequence[str]
    artifacts: Sequence[str]
    severity: Tensor


def control_image(features: BandFeatures, other_channel: Tensor | None, severity: Tensor) -> Tensor:
    """Stack the control channels of a batch of segments, one audio channel each.

    Parameters
    ----------
    features : BandFeatures
        Of the channel to repair and the sum of its siblings.
    other_channel : Tensor or None
        Compressed image of the other channel of a stereo pair at the same reference level,
        shape ``[batch, n_bands, frames]``.
    severity : Tensor
        Detected severity, 0 outside the regions to repair, shape ``[batch, n_bands, frames]``.

    Returns
    -------
    Tensor
        Shape ``[batch, len(CONTROL_CHANNELS), n_bands, frames]``.
    """
    difference = torch.tanh(2.0 * (features.image - features.sibling_image)) * features.has_siblings
    between = torch.zeros_like(features.image) if other_channel is None else features.image - other_channel
    return torch.stack(
        [
            features.image,
            features.sibling_image,
            features.has_siblings,
            difference,
            features.coherence_real,
            features.coherence_imag,
            features.group_delay,
            features.frequency,
            between,
            severity,
        ],
        dim=1,
    )


def phase_coherence(features: BandFeatures) -> Tensor:
    """Local phase coherence in ``[0, 1]`` that gates the zero convolutions, shape ``[batch, 1, n_bands, frames]``."""
    return (1.0 - features.group_delay - features.frequency).clamp(0.0, 1.0).unsqueeze(1)
