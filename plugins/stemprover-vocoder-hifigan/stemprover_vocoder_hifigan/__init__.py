"""HiFi-GAN as a vocoder for StemProver. Importing this package imports neither torch nor transformers."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from stemprover_vocoder_hifigan.synthesis import HifiGanVocoder

__all__ = ["vocoder"]


def vocoder(source: str = "") -> HifiGanVocoder:
    """Build the vocoder; weights are read when it is first used.

    Parameters
    ----------
    source : str
        A folder, or a hub repository as ``owner/name`` or ``owner/name@revision``. By default what the environment
        variable ``STEMPROVER_HIFIGAN`` says.
    """
    from stemprover_vocoder_hifigan.synthesis import HifiGanVocoder

    return HifiGanVocoder(source)
