"""vocalbleed keeps what every adapter promises; the kit of the host tries it."""

from __future__ import annotations

from pathlib import Path

from stemprover.testing import LoraContract


class TestVocalbleedLora(LoraContract):
    """Gain is measured on the validation part of ``pairs/``, where that folder has been made."""

    plugin = "vocalbleed"
    pairs = Path(__file__).parent.parent / "pairs"
