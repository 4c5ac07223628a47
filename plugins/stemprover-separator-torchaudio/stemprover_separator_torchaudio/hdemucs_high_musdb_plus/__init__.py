"""The separator ``hdemucs_high_musdb_plus``: ``torchaudio.pipelines.HDEMUCS_HIGH_MUSDB_PLUS``."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from stemprover_separator_torchaudio.hdemucs import HybridDemucs

__all__ = ["separator"]


def separator() -> HybridDemucs:
    """Build the separator; torchaudio is imported and weights are fetched when it is first used."""
    from stemprover_separator_torchaudio.hdemucs import HybridDemucs

    return HybridDemucs("hdemucs_high_musdb_plus")
