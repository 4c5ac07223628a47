"""bleed keeps what every adapter promises; the kit of the host tries it."""

from __future__ import annotations

from pathlib import Path

from stemprover.testing import LoraContract


class TestBleedLora(LoraContract):
    """Gain is measured on the validation part of ``pairs/``, where that folder has been made."""

    plugin = "bleed"
    pairs = Path(__file__).parent.parent / "pairs"
