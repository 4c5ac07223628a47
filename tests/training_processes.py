"""A program for ``test_training_processes.py``: fit a line, in one process or in several.

    python training_processes.py OUT STEPS DRAWS [BREAKS_AT]

Each step takes ``DRAWS`` of the numbered batches in this process; at step ``BREAKS_AT`` it dies.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping
from pathlib import Path

import torch
from torch import Tensor, nn

from stemprover.training.loop import Recipe, fit


class Draws:
    """Batch ``index``: eight points near a line, several batches at a time."""

    def __init__(self, together: int, breaks_at: int | None = None) -> None:
        self.together, self.breaks_at = together, breaks_at

    def batch(self, index: int) -> Tensor:
        if self.breaks_at is not None and index >= self.breaks_at:
            raise KeyboardInterrupt
        return torch.cat([self._one(self.together * index + k) for k in range(self.together)])

    @staticmethod
    def _one(index: int) -> Tensor:
        generator = torch.Generator().manual_seed(index)
        x = torch.randn(8, generator=generator)
        return torch.stack([x, 3.0 * x - 1.0 + 0.1 * torch.randn(8, generator=generator)], 1)


class Line:
    """Least squares, computed past the module's ``forward`` as the restoration task does."""

    def __init__(self) -> None:
        self.model = nn.Linear(1, 1)
        nn.init.zeros_(self.model.weight)
        nn.init.zeros_(self.model.bias)

    def trainable(self) -> nn.Module:
        return self.model

    def loss(self, batch: Tensor, generator: torch.Generator) -> tuple[Tensor, Mapping[str, float]]:
        error = (batch[:, :1] * self.model.weight + self.model.bias - batch[:, 1:]).square().mean()
        return error, {"error": error.item()}

    def validate(self, batch: Tensor) -> Mapping[str, float]:
        return {"error": float((self.model(batch[:, :1]) - batch[:, 1:]).square().mean())}

    def save(self, folder: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        torch.save(self.model.state_dict(), folder / "line.pt")


if __name__ == "__main__":
    torch.set_num_threads(1)
    out, steps, together = Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3])
    breaks_at = int(sys.argv[4]) if len(sys.argv) > 4 else None
    recipe = Recipe(
        steps, learning_rate=0.3, clip_norm=0.5, precision="no", checkpoint_minutes=0.0, validate_every=20, early=0.5
    )
    fit(Line(), Draws(together, breaks_at), Draws(1), recipe, out)
