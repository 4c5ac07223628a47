"""ControlNet outputs, kept per batch of segments."""

from __future__ import annotations

import hashlib
from collections import OrderedDict
from collections.abc import Callable

from torch import Tensor

from stemprover.restoration.control import Condition

__all__ = ["ControlCache", "Residuals"]

Residuals = tuple[tuple[Tensor, ...], Tensor]


class ControlCache:
    """Least-recently-used cache of zero-convolution outputs, one entry per batch and set of ControlNet adapters.

    Steps, re-runs at another quality or strength and adapters that leave the ControlNet alone all hit the same entry.
    A batch is kept as a whole, not by segment: matrix products of another batch size round differently, and a re-run
    must give the same samples whatever was cached before.

    Parameters
    ----------
    capacity : int
        Number of segments to keep (about 3 MB each for the embedded base). It is full after half a minute of stereo, so
        that longer files take no more memory.
    """

    def __init__(self, capacity: int = 32) -> None:
        self.capacity = capacity
        self._entries: OrderedDict[str, Residuals] = OrderedDict()

    def get(self, condition: Condition, key: str, compute: Callable[[], Residuals]) -> Residuals:
        """Return the residuals of a batch, calling ``compute`` if they are not known yet."""
        name = _name(condition, key)
        if name not in self._entries:
            room = self.capacity - condition.image.shape[0]
            while self._entries and sum(middle.shape[0] for _, middle in self._entries.values()) > room:
                self._entries.popitem(last=False)  # before the new ones are made: both at once are the peak
            self._entries[name] = compute()
        self._entries.move_to_end(name)
        return self._entries[name]


def _name(condition: Condition, key: str) -> str:
    """Digest of everything that the ControlNet reads."""
    digest = hashlib.blake2b(key.encode(), digest_size=16)
    for part in (condition.image, condition.control, condition.severity):
        digest.update(repr(tuple(part.shape)).encode())
        digest.update(part.detach().cpu().contiguous().numpy().data)
    digest.update(repr((list(condition.stems), list(condition.artifacts))).encode())
    return digest.hexdigest()
