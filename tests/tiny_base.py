"""A base with tiny seeded networks that do change what they are used on, and detectors that say what a test wants."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pytest
import torch

from stemprover.detection import AnalysisBlock, CellScores
from stemprover.enhance import Enhancer
from stemprover.models import Models
from stemprover.plugins import installed
from stemprover.restoration.conditioning import TokenConditioner
from stemprover.restoration.control import Condition, control_image, phase_coherence
from stemprover.restoration.controlnet import RestorationControlNet
from stemprover.restoration.model import RestorationModel
from stemprover.restoration.unet import RestorationUNet
from stemprover.restoration.weights import save_base
from stemprover.spectral.bands import cell_band_edges_hz
from stemprover.spectral.phase import band_features
from stemprover.spectral.spatial import spatial_features
from stemprover.spectral.spec import SPEC
from stemprover.spectral.stft import stft
from stemprover.synthesis.gate import constant_gate

__all__ = ["FlagBand", "tiny_base", "tiny_condition", "tiny_enhancer", "tiny_model"]

CELL = SPEC.cell_frames * SPEC.hop


def tiny_model(strength: float = 1.0) -> RestorationModel:
    """Three levels of 16 channels; ``strength`` scales the output convolution, zero as in a fresh base."""
    torch.manual_seed(7)
    widths = (16, 16, 16)
    model = RestorationModel(
        RestorationUNet(block_out_channels=widths, norm_num_groups=8),
        RestorationControlNet(block_out_channels=widths, norm_num_groups=8),
        TokenConditioner(),
    ).eval()
    if strength:
        with torch.no_grad():
            model.unet.conv_out.weight.normal_(0.0, 0.05 * strength)
            model.unet.conv_out.bias.normal_(0.0, 0.2 * strength)
            for module in (*model.controlnet.controlnet_down_blocks, model.controlnet.controlnet_mid_block):
                module.conv.weight.normal_(0.0, 0.1)
    return model


@pytest.fixture(name="base", scope="session")
def tiny_base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A pipeline folder of :func:`tiny_model`."""
    folder = tmp_path_factory.mktemp("base") / "tiny"
    save_base(tiny_model(), folder, "tiny")
    return folder


def tiny_condition(batch: int, frames: int = 32) -> Condition:
    """Condition of noise bursts with siblings."""
    generator = torch.Generator().manual_seed(5)
    samples = (frames - 1) * SPEC.hop
    audio = 0.1 * torch.randn(2, batch, samples, generator=generator)
    audio[:, :, : samples // 2] *= 0.1
    stem, siblings = stft(audio[0]), stft(audio[0] * 0.2 + audio[1])
    features = band_features(stem, siblings)
    spatial = spatial_features(stem, siblings, None, None, features)
    severity = torch.full((batch,), 0.6)
    control = control_image(features, spatial, severity[:, None, None].expand_as(features.image))
    names = ["vocals"] * batch, ["bleed/drums"] * batch
    return Condition(features.image.unsqueeze(1), control, phase_coherence(features), *names, severity)


@dataclasses.dataclass(frozen=True)
class FlagBand:
    """Detector that flags, between two frequencies, every cell whose RMS exceeds ``above``."""

    artifact: str = "bleed/drums"
    low_hz: float = 0.0
    high_hz: float = 22_050.0
    above: float = 0.05
    severity: float = 0.6
    artifacts: tuple[str, ...] = ("bleed/drums",)

    def score(self, block: AnalysisBlock) -> Mapping[str, CellScores]:
        """Score every cell."""
        cells = -(-block.audio.shape[-1] // CELL)
        padded = np.pad(block.audio.numpy(), ((0, 0), (0, cells * CELL - block.audio.shape[-1])))
        level = np.sqrt(np.mean(padded.reshape(padded.shape[0], cells, CELL) ** 2, axis=(0, 2)))
        edges = cell_band_edges_hz()
        inside = (edges[1:] > self.low_hz) & (edges[:-1] < self.high_hz)
        flagged = ((level > self.above)[:, None] & inside).astype(np.float32)
        return {self.artifact: CellScores(0.98 * flagged, self.severity * flagged)}


def tiny_enhancer(base: Path, *detectors: FlagBand) -> Enhancer:
    """An enhancer on the CPU with the tiny base, the host's own plugins and these detectors.

    Half of every repair is let through: the released gate leaves out what a base of random weights does.
    """
    models = Models(base, "cpu", "float32")
    plugins = installed(safe_mode=True, base=models.identity)
    return Enhancer(models, plugins, detectors=detectors or (FlagBand(),), gate=constant_gate(0.5))
