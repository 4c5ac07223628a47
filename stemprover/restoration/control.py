"""The control image: what the spectrogram image alone does not show."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import torch
from torch import Tensor

from stemprover.spectral.phase import BandFeatures
from stemprover.spectral.spatial import SpatialFeatures

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
    "interchannel_coherence",
    "spatial_gain",
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


def control_image(features: BandFeatures, spatial: SpatialFeatures, severity: Tensor) -> Tensor:
    """Stack the control channels of a batch of segments, one audio channel each.

    Parameters
    ----------
    features : BandFeatures
        Of the channel to repair and the sum of its siblings.
    spatial : SpatialFeatures
        What both channels of a stereo pair tell about it.
    severity : Tensor
        Detected severity, 0 outside the regions to repair, shape ``[batch, n_bands, frames]``.

    Returns
    -------
    Tensor
        Shape ``[batch, len(CONTROL_CHANNELS), n_bands, frames]``.
    """
    difference = torch.tanh(2.0 * (features.image - features.sibling_image)) * features.has_siblings
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
            spatial.difference,
            severity,
            spatial.coherence,
            spatial.gain,
        ],
        dim=1,
    )


def phase_coherence(features: BandFeatures) -> Tensor:
    """Local phase coherence in ``[0, 1]`` that gates the zero convolutions, shape ``[batch, 1, n_bands, frames]``."""
    return (1.0 - features.group_delay - features.frequency).clamp(0.0, 1.0).unsqueeze(1)
