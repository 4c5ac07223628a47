"""The contract of vocoders."""

from __future__ import annotations

import dataclasses
from typing import ClassVar

import numpy as np
import torch
from torch import Tensor

from stemprover.detection import AnalysisBlock, CellScores, Detector, n_cells
from stemprover.enhance import Enhancer, Settings
from stemprover.spectral.bands import band_magnitude
from stemprover.spectral.spec import SPEC
from stemprover.spectral.stft import power, stft
from stemprover.synthesis.base import Vocoder, VocoderInput
from stemprover.testing.repairs import RepairContract, models_of
from stemprover.testing.signals import music

__all__ = ["VocoderContract"]

_SAMPLES = 33_075
_TOLERANCE = 1e-4


class VocoderContract(RepairContract):
    """A vocoder turns restored magnitudes into audio that fits the input to the sample.

    It is tried by itself and through the host's whole way (:class:`stemprover.testing.repairs.RepairContract`).

    Attributes
    ----------
    option : str
        What follows the plugin's name in ``--vocoder NAME:OPTION``, for example a folder with weights.
    max_level_db : float
        By how much the level may change when the magnitude does not.
    """

    kind: ClassVar[str] = "vocoder"
    option: ClassVar[str] = ""
    max_level_db: ClassVar[float] = 3.0

    def settings(self, strength: float = 1.0, seed: int = 0) -> Settings:
        """Return settings that repair everything by the base alone and this vocoder."""
        name = f"{self.plugin}:{self.option}" if self.option else self.plugin
        alone = Settings(auto_detect=True, generic=True, quality="fast", second_opinion=False)
        return dataclasses.replace(alone, strength=strength, seed=seed, vocoder=name)

    def enhancer(self) -> Enhancer:
        """Return an enhancer that finds something to repair everywhere and knows this plugin only."""
        return Enhancer(models_of(self.base), self.plugins(), detectors=(_Everything(),))

    def vocoder(self) -> Vocoder:
        """Return the vocoder as the host builds it."""
        return models_of(self.base).vocoder(self.settings().vocoder, self.plugins(), self.runner())

    def test_output_fits_the_input_to_the_sample(self) -> None:
        """Float32 audio of the asked length, finite, for any length."""
        for samples in (SPEC.n_fft, 5_001, _SAMPLES):
            made = self.vocoder().synthesise(_request(_audio()[:, :samples]))
            assert made.shape == (2, samples)
            assert made.dtype == torch.float32
            assert made.isfinite().all()

    def test_silence_gives_silence(self) -> None:
        """Nothing in, nothing out."""
        assert not self.vocoder().synthesise(_request(torch.zeros(1, _SAMPLES))).any()

    def test_repeated_it_gives_the_same(self) -> None:
        """It draws no random numbers of its own."""
        vocoder, request = self.vocoder(), _request(_audio())
        assert torch.equal(vocoder.synthesise(request), vocoder.synthesise(request))

    def test_alone_and_in_a_batch_it_does_the_same(self) -> None:
        """Items of a batch do not influence each other."""
        vocoder = self.vocoder()
        together = vocoder.synthesise(_request(_audio()))
        for place in range(2):
            alone = vocoder.synthesise(_request(_audio()[place : place + 1]))
            assert torch.allclose(alone[0], together[place], atol=_TOLERANCE, rtol=0.0)

    def test_an_unchanged_magnitude_keeps_its_level(self) -> None:
        """Where stage 1 changed nothing, the result is as loud as the input."""
        audio = _audio()
        made = self.vocoder().synthesise(_request(audio))
        change = 10.0 * torch.log10(made.square().mean(-1) / audio.square().mean(-1))
        assert (change.abs() <= self.max_level_db).all(), f"changed by {change.tolist()} dB"


class _Everything(Detector):
    """Flags every cell."""

    artifacts: tuple[str, ...] = ("phasiness",)

    def score(self, block: AnalysisBlock) -> dict[str, CellScores]:
        flagged = np.full((n_cells(block.audio.shape[-1]), SPEC.n_cell_bands), 0.99, np.float32)
        return {"phasiness": CellScores(flagged, 0.6 * flagged)}


def _audio() -> Tensor:
    return torch.from_numpy(music(_SAMPLES / 44_100)).float()


def _request(stem: Tensor) -> VocoderInput:
    spectrum = stft(stem)
    magnitude = band_magnitude(power(spectrum))
    return VocoderInput(spectrum, None, magnitude, magnitude, stem.shape[-1])
