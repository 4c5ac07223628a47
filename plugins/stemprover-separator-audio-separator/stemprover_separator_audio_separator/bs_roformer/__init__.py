"""The separator ``bs_roformer``."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from stemprover_separator_audio_separator.separator import AudioSeparator

__all__ = ["separator"]


def separator() -> AudioSeparator:
    """Build the separator; audio-separator is imported and the model fetched when it is first used."""
    from stemprover_separator_audio_separator.separator import AudioSeparator

    return AudioSeparator("bs_roformer")
