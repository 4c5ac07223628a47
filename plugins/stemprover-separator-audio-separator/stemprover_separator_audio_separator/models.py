"""Which of audio-separator's models are offered, and what their outputs hold."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping

__all__ = ["MODELS", "Model"]


@dataclasses.dataclass(frozen=True, slots=True)
class Model:
    """One model.

    Attributes
    ----------
    file : str
        What audio-separator calls it.
    outputs : Mapping[str, str]
        Stem class by audio-separator's label for an output. Several labels may stand for one stem where models of one
        kind are labelled differently.
    """

    file: str
    outputs: Mapping[str, str]

    @property
    def stems(self) -> tuple[str, ...]:
        """Stem classes, each once."""
        return tuple(dict.fromkeys(self.outputs.values()))


_FOUR = {"Drums": "drums", "Bass": "bass", "Other": "other", "Vocals": "vocals"}
_SIX = {**_FOUR, "Guitar": "guitar", "Piano": "piano"}
_TWO = {"Vocals": "vocals", "Instrumental": "instrumental", "Other": "instrumental"}

MODELS: Mapping[str, Model] = {
    "htdemucs": Model("htdemucs.yaml", _FOUR),
    "htdemucs_ft": Model("htdemucs_ft.yaml", _FOUR),
    "htdemucs_6s": Model("htdemucs_6s.yaml", _SIX),
    "hdemucs_mmi": Model("hdemucs_mmi.yaml", _FOUR),
    "bs_roformer": Model("model_bs_roformer_ep_317_sdr_12.9755.ckpt", _TWO),
    "mel_roformer": Model("vocals_mel_band_roformer.ckpt", _TWO),
    "mdx_inst_hq3": Model("UVR-MDX-NET-Inst_HQ_3.onnx", _TWO),
}
"""By the separator's name."""
