"""One colour per artifact, the same on every page and plot."""

from __future__ import annotations

from collections.abc import Iterable

__all__ = ["artifact_styles", "glow"]

_ORDER = ("bleed", "bleed/drums", "bleed/vocals", "bleed/bass", "bleed/other", "phasiness", "hf-distortion")
# The colours on a dark spectrogram; style.css holds the same as --glow, and darker ones for light pages.
_GLOW = ("45d2ff", "3df0b8", "8fbaff", "cdb6ff", "dbe4f0", "c8f550", "ffa3d4", "ffe07a")


def artifact_styles(names: Iterable[str]) -> dict[str, int]:
    """Number the artifacts' colours: fixed for known names; others take what is left, in alphabetical order."""
    wanted = set(names)
    styles = {name: number for number, name in enumerate(_ORDER) if name in wanted}
    spare = [number for number in reversed(range(len(_GLOW))) if number not in styles.values()] or [len(_GLOW) - 1]
    others = sorted(wanted - set(styles))
    return styles | {name: spare[position % len(spare)] for position, name in enumerate(others)}


def glow(style: int) -> str:
    """Colour of a style on a dark background, as ``#rrggbb``."""
    return f"#{_GLOW[style]}"
