"""StemProver finds and repairs what source separators leave behind in stems.

    from stemprover import Enhancer, Settings

    enhanced = Enhancer.from_pretrained().enhance("vocals.wav", Settings(auto_detect=True))

Names are looked up when they are first used, so that ``import stemprover`` costs next to nothing.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from stemprover.enhance import AdapterChoice, Enhanced, Enhancer, Settings
    from stemprover.stems import STEM_CLASSES, Stem, StemSet

__all__ = ["STEM_CLASSES", "AdapterChoice", "Enhanced", "Enhancer", "Settings", "Stem", "StemSet", "__version__"]

__version__ = "0.1.0"

_HOMES = {
    "AdapterChoice": "stemprover.enhance",
    "Enhanced": "stemprover.enhance",
    "Enhancer": "stemprover.enhance",
    "STEM_CLASSES": "stemprover.stems",
    "Settings": "stemprover.enhance",
    "Stem": "stemprover.stems",
    "StemSet": "stemprover.stems",
}


def __getattr__(name: str) -> object:
    try:
        home = _HOMES[name]
    except KeyError:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}") from None
    value: object = getattr(importlib.import_module(home), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted(__all__)
