"""Conditioning tokens that take CLIP's place: stem class, artifact, severity."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from diffusers.configuration_utils import ConfigMixin, register_to_config
from diffusers.models.modeling_utils import ModelMixin
from torch import Tensor, nn

from stemprover.spectral.spec import SPEC

__all__ = ["ARTIFACTS", "TokenConditioner"]

ARTIFACTS = ("any", "bleed", "bleed/drums", "bleed/vocals", "bleed/bass", "bleed/other", "phasiness", "hf-distortion")
"""Artifacts that the embedded base has a token for; another name uses its nearest ancestor, at last ``any``."""


class TokenConditioner(ModelMixin, ConfigMixin):  # type: ignore[misc]
    """Embed each segment's stem class, artifact and severity as three tokens.

    Parameters
    ----------
    stem_classes, artifacts : sequence of str
        Known names; an unknown stem class is ``generic``.
    dim : int
        Token width (the UNet's ``cross_attention_dim``).
    """

    @register_to_config  # type: ignore[untyped-decorator]
    def __init__(
        self,
        stem_classes: Sequence[str] = (
            "vocals", "drums", "bass", "other", "piano", "guitar", "kick", "snare", "toms", "hihat", "cymbals",
            "instrumental", "generic",
        ),
        artifacts: Sequence[str] = ARTIFACTS,
        dim: int = 64,
        spectral_spec: str = SPEC.digest(),  # noqa: ARG002 (kept in config.json)
    ) -> None:  # fmt: skip
        super().__init__()
        self.stem = nn.Embedding(len(stem_classes), dim)
        self.artifact = nn.Embedding(len(artifacts), dim)
        self.severity = nn.Sequential(nn.Linear(1, dim), nn.SiLU(), nn.Linear(dim, dim))

    def _artifact_index(self, name: str) -> int:
        names = list(self.config.artifacts)
        while name and name not in names:
            name = name.rpartition("/")[0]
        return names.index(name or "any")

    def forward(self, stems: Sequence[str], artifacts: Sequence[str], severity: Tensor) -> Tensor:
        """Return tokens ``[batch, 3, dim]`` for names and severities (``[batch]``, 0 to 1) of a batch of segments."""
        classes = list(self.config.stem_classes)
        stem_ids = [classes.index(s if s in classes else "generic") for s in stems]
        artifact_ids = [self._artifact_index(a) for a in artifacts]
        device = self.stem.weight.device
        return torch.stack(
            [
                self.stem(torch.tensor(stem_ids, device=device)),
                self.artifact(torch.tensor(artifact_ids, device=device)),
                self.severity(severity.to(self.stem.weight)[:, None]),
            ],
            dim=1,
        )
