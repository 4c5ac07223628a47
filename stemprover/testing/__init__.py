"""The conformance kit: what a plugin must keep, as tests that its author subclasses.

    from stemprover.testing import LoraContract

    class TestDrumbleed(LoraContract):
        plugin = "drumbleed"
        pairs = Path(__file__).parent.parent / "pairs"

Run ``pytest``. With ``--stemprover-write-metrics`` what was measured on the pairs goes into the plugin's manifest and
model card. The host wheel brings the pytest plugin along; nothing of it is imported outside pytest.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from stemprover.testing.detector import DetectorContract
    from stemprover.testing.lora import LoraContract
    from stemprover.testing.pairs import AudioPair, read_audio_pairs
    from stemprover.testing.separator import SeparatorContract
    from stemprover.testing.vocoder import VocoderContract

__all__ = [
    "AudioPair",
    "DetectorContract",
    "LoraContract",
    "SeparatorContract",
    "VocoderContract",
    "read_audio_pairs",
]

_HOMES = {
    "AudioPair": "pairs",
    "DetectorContract": "detector",
    "LoraContract": "lora",
    "SeparatorContract": "separator",
    "VocoderContract": "vocoder",
    "read_audio_pairs": "pairs",
}


def __getattr__(name: str) -> object:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(f"{__name__}.{_HOMES[name]}"), name)
