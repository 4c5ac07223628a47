"""Both stages of one run, with what happens when a plugin's part of them fails.

Audio is written from what works: an adapter whose answer cannot be used leaves its segments as they are, a vocoder of a
plugin that fails is replaced by the host's own. Both are reported and not used again in this run.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

from stemprover.errors import AdapterError
from stemprover.models import Models
from stemprover.plugins import EMBEDDED, Plugin, PluginRunner
from stemprover.restoration.control import Condition
from stemprover.routing import GENERIC
from stemprover.synthesis.base import Vocoder, VocoderInput

__all__ = ["Networks"]

_OWN = tuple(plugin.name for plugin in EMBEDDED if plugin.kind == "vocoder")


class Networks:
    """Stage 1 and stage 2 of a run.

    Parameters
    ----------
    models : Models
        Holds the weights.
    plugins, runner : sequence of Plugin, PluginRunner
        What is installed, and who calls it.
    vocoder : str
        The vocoder that the user chose.
    steps : int
        Sampling steps.
    """

    def __init__(
        self, models: Models, plugins: Sequence[Plugin], runner: PluginRunner, vocoder: str, steps: int
    ) -> None:
        self.models, self.plugins, self.runner, self.steps = models, plugins, runner, steps
        self._name = vocoder

    def load_vocoder(self) -> Vocoder:
        """Return the vocoder that the user chose.

        Raises
        ------
        PluginError, ModelError
            It cannot be used or started.
        """
        return self.models.vocoder(self._name, self.plugins, self.runner)

    def restore(self, condition: Condition, scales: Mapping[str, float], seeds: Sequence[int]) -> Tensor:
        """Stage 1 with adapters: images ``[batch, n_bands, frames]``; those of the input if the adapters failed."""
        working = {name: scale for name, scale in scales.items() if not self.runner.failed(name)}
        untouched = condition.image.squeeze(1)
        if not working:
            return untouched
        try:
            restored = self.models.restore(condition, working, seeds, self.steps)
        except AdapterError as error:
            return self._without(working, error, untouched)
        if torch.isfinite(restored).all():
            return restored
        fix = "its segments were left as they are"
        return self._without(working, AdapterError("finite images", "NaN or infinity", fix), untouched)

    def _without(self, scales: Mapping[str, float], error: AdapterError, untouched: Tensor) -> Tensor:
        for name in [name for name in scales if name != GENERIC] or [GENERIC]:
            self.runner.report(name, error)
        return untouched

    def synthesise(self, request: VocoderInput) -> Tensor:
        """Stage 2: the complex spectrum ``[batch, n_bins, frames]`` of the repaired stem."""
        chosen = self.load_vocoder()
        if self._name in _OWN:
            return self.models.synthesise(chosen, request)
        answer = self.runner.guard(chosen, lambda: self._checked(chosen, request))
        if answer is not None:
            return answer
        return self.models.synthesise(self.models.vocoder(_OWN[0], self.plugins, self.runner), request)

    @torch.inference_mode()
    def _checked(self, vocoder: Vocoder, request: VocoderInput) -> Tensor:
        """A plugin's answer, if it can be used; runs in the plugins' thread, where torch's modes are set anew."""
        spectrum = self.models.synthesise(vocoder, request)
        if spectrum.shape != request.spectrum.shape:
            shapes = f"{tuple(spectrum.shape)}, not {tuple(request.spectrum.shape)}"
            raise ValueError(f"a spectrum of shape {shapes}")
        if not torch.isfinite(torch.view_as_real(spectrum)).all():
            raise ValueError("NaN or infinity in the audio")
        return spectrum
