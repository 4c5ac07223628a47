"""ControlNet outputs, kept per segment."""

from __future__ import annotations

import hashlib
from collections import OrderedDict
from collections.abc import Callable

import torch
from torch import Tensor

from stemprover.restoration.control import Condition

__all__ = ["ControlCache", "Residuals"]

Residuals = tuple[tuple[Tensor, ...], Tensor]
Compute = Callable[[Condition, list[int]], Residuals]


class ControlCache:
    """Least-recently-used cache of zero-convolution outputs, one entry per segment and set of ControlNet adapters.

    Steps, re-runs at another quality or strength and adapters that leave the ControlNet alone all hit the same entry.

    Parameters
    ----------
    capacity : int
        Number of segments to keep (about 3 MB each for the embedded base).
    """

    def __init__(self, capacity: int = 64) -> None:
        self.capacity = capacity
        self.computed = 0
        self._entries: OrderedDict[str, tuple[Tensor, ...]] = OrderedDict()

    def get(self, condition: Condition, key: str, compute: Compute) -> Residuals:
        """Return the residuals of a batch, calling ``compute(part, rows)`` once for the rows that are not known yet."""
        names = [_name(condition, row, key) for row in range(condition.image.shape[0])]
        missing = [row for row, name in enumerate(names) if name not in self._entries]
        if missing:
            skips, middle = compute(_rows(condition, missing), missing)
            self.computed += len(missing)
            for place, row in enumerate(missing):
                self._entries[names[row]] = tuple(part[place].clone() for part in (*skips, middle))
        rows = [self._entries[name] for name in names]
        for name in names:
            self._entries.move_to_end(name)
        while len(self._entries) > max(self.capacity, len(names)):
            self._entries.popitem(last=False)
        stacked = [torch.stack(parts) for parts in zip(*rows, strict=True)]
        stacked = [part.contiguous(memory_format=torch.channels_last) for part in stacked]
        return tuple(stacked[:-1]), stacked[-1]


def _rows(condition: Condition, rows: list[int]) -> Condition:
    return Condition(
        condition.image[rows],
        condition.control[rows],
        condition.coherence[rows],
        [condition.stems[row] for row in rows],
        [condition.artifacts[row] for row in rows],
        condition.severity[rows],
    )


def _name(condition: Condition, row: int, key: str) -> str:
    """Digest of everything that the ControlNet reads."""
    digest = hashlib.blake2b(key.encode(), digest_size=16)
    digest.update(condition.control[row].cpu().numpy().tobytes())
    digest.update(f"{condition.stems[row]}|{condition.artifacts[row]}|{float(condition.severity[row])}".encode())
    return digest.hexdigest()
