"""Features of detection cells: cues, their surroundings and what kind of stem it is.

One pass per block, all cells at once. Names, order and meaning of the features are part of every trained detector;
adding, removing or redefining one makes a new set and needs new models (:func:`feature_digest` binds the two).
"""

from __future__ import annotations

import dataclasses
import functools
import hashlib
from collections.abc import Mapping

import numpy as np
import torch
from torch import Tensor

from stemprover.detection.grid import block_spectrum
from stemprover.detection.sibling_cues import SIBLING_CUES, Voice, sibling_cues, similarity, voice
from stemprover.detection.stem_cues import (
    edge_cues,
    level_cues,
    phase_cues,
    stereo_cues,
    structure_cues,
    texture_cues,
)
from stemprover.detection.types import AnalysisBlock
from stemprover.spectral.bands import cell_band_edges_hz
from stemprover.spectral.spec import SPEC, SpectralSpec
from stemprover.stems.sets import DRUM_PARTS

__all__ = ["SOURCES", "CellFeatures", "cell_features", "feature_digest", "feature_names", "source_of"]

_REVISION = 1  # raise when a feature keeps its name but changes its meaning
_WEIGHT_EXPONENT = 0.15  # of power, for averages of phase cues

SOURCES = ("drums", "vocals", "bass", "other")
_HEARD_DB = -60.0
_CONTEXT = (
    "level_in_moment",
    "flatness",
    "flux",
    "fine_spread",
    "hole_share",
    "frequency_jitter",
    "stereo_coherence",
    "sibling_envelope_correlation",
    "sibling_fine_correlation",
    "sibling_coherence",
    "energy_under_sibling",
    "phase_lock",
)
_HABITS = (  # a separator treats a whole stem alike, so the block's average says what kind of stem this is
    "flatness",
    "fine_spread",
    "hole_share",
    "hole_depth",
    "peak_share",
    "grid_time_1",
    "grid_time_2",
    "grid_time_4",
    "grid_bins_1",
    "grid_bins_2",
    "grid_diagonal",
    "delay_jitter",
    "frequency_jitter",
    "frequency_deviation",
    "stereo_coherence",
    "stereo_phase_noise",
    "phase_lock",
    "sibling_fine_correlation",
)


@dataclasses.dataclass(frozen=True)
class CellFeatures:
    """What a classifier sees.

    Attributes
    ----------
    values : ndarray
        Float32, finite, shape ``[cells, n_cell_bands, len(feature_names())]``.
    affinity : Mapping[str, ndarray]
        By source class among the siblings (``SOURCES``; none if only a residual or nothing is known): how much the
        cell resembles that sibling, 0 to 1, shape ``[cells, n_cell_bands]``.
    """

    values: np.ndarray
    affinity: Mapping[str, np.ndarray]


def source_of(stem_class: str) -> str:
    """Return the source class of a stem class: parts of the kit are drums, what has no class of its own is other."""
    if stem_class in DRUM_PARTS:
        return "drums"
    return stem_class if stem_class in SOURCES else "other"


def _own_cues(spectrum: Tensor, stem: Voice, spec: SpectralSpec) -> dict[str, Tensor]:
    # Weights grow slowly with level: a cell's quiet bins are where masks and decoders betray themselves.
    weight = stem.power.pow(_WEIGHT_EXPONENT)
    return (
        level_cues(stem.power, spec)
        | texture_cues(stem.power, stem.level_db, spec)
        | structure_cues(stem.fine_db, spec)
        | phase_cues(torch.atan2(stem.imag, stem.real), weight, spec)
        | stereo_cues(spectrum[0], spectrum[1], spec)
        | edge_cues(stem.power, spec)
    )


def _surroundings(cues: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Values of the neighbours in time and band, medians in the band, and means over the audible part of the block."""
    result = {}
    for name in _CONTEXT:
        value = cues[name]
        result[f"{name}@before"] = torch.cat([value[:1], value[:-1]])
        result[f"{name}@after"] = torch.cat([value[1:], value[-1:]])
        result[f"{name}@below"] = torch.cat([value[:, :1], value[:, :-1]], 1)
        result[f"{name}@above"] = torch.cat([value[:, 1:], value[:, -1:]], 1)
        result[f"{name}@median"] = value.median(0, keepdim=True).values.expand_as(value)
    heard = (cues["level_in_block"] > _HEARD_DB).float()
    share = heard.sum().clamp(min=1)
    for name in _HABITS:
        value = cues[name]
        result[f"{name}@band"] = ((value * heard).sum(0) / heard.sum(0).clamp(min=1)).expand_as(value)
        result[f"{name}@block"] = ((value * heard).sum() / share).expand_as(value)
    return result


def _identity(block: AnalysisBlock, like: Tensor) -> dict[str, Tensor]:
    kind = block.stem_class if block.stem_class in {*SOURCES, "generic"} else source_of(block.stem_class)
    bands = torch.arange(like.shape[1], device=like.device, dtype=like.dtype)
    flags = {f"is_{name}": float(kind == name) for name in (*SOURCES, "generic")}
    flags |= {"has_siblings": float(bool(block.siblings)), "is_stereo": float(block.audio.shape[0] > 1)}
    return {"band": bands.expand_as(like)} | {name: torch.full_like(like, value) for name, value in flags.items()}


def _residual(block: AnalysisBlock) -> Tensor | None:
    """Sum of all siblings with the stem's number of channels, or None if the stem came alone."""
    channels = block.audio.shape[0]
    parts = [part if part.shape[0] == channels else part.mean(0, keepdim=True) for part in block.siblings.values()]
    return torch.stack([part.expand(channels, -1) for part in parts]).sum(0) if parts else None


def _affinity(stem: Voice, siblings: Mapping[str, Voice], spec: SpectralSpec) -> dict[str, np.ndarray]:
    result = {}
    for name, sibling in siblings.items():
        cues = similarity(stem, sibling, spec)
        alike = torch.stack([cues[cue].clamp(0, 1) for cue in SIBLING_CUES[:3]]).mean(0)
        result[name] = alike.cpu().numpy()
    return result


def _named_siblings(block: AnalysisBlock, spec: SpectralSpec) -> dict[str, Voice]:
    """Siblings by source class, those of one class summed; ``residual`` is no class."""
    sums: dict[str, Tensor] = {}
    for name, audio in block.siblings.items():
        if name != "residual":
            source, mono = source_of(name), audio.mean(0, keepdim=True)
            sums[source] = sums[source] + mono if source in sums else mono
    return {name: voice(block_spectrum(audio, spec), spec) for name, audio in sums.items()}


def _all_cues(block: AnalysisBlock, spec: SpectralSpec) -> tuple[dict[str, Tensor], dict[str, np.ndarray]]:
    spectrum = block_spectrum(block.audio, spec)
    stem, residual = voice(spectrum, spec), _residual(block)
    cues = _own_cues(spectrum, stem, spec)
    if residual is None:
        cues |= dict.fromkeys(SIBLING_CUES, torch.zeros_like(cues["flatness"]))
        named: dict[str, Voice] = {}
    else:
        cues |= sibling_cues(stem, voice(block_spectrum(residual, spec), spec), spec)
        named = _named_siblings(block, spec)
    cues |= _surroundings(cues) | _identity(block, cues["flatness"])
    return cues, _affinity(stem, named, spec)


@torch.no_grad()
def cell_features(block: AnalysisBlock, spec: SpectralSpec = SPEC) -> CellFeatures:
    """Compute all features of a block.

    Parameters
    ----------
    block : AnalysisBlock
        Any length; a last cell that the audio does not fill is padded with silence.

    Returns
    -------
    CellFeatures
        Finite for every input, including silence and mono.
    """
    cues, affinity = _all_cues(block, spec)
    values = torch.stack([cues[name] for name in feature_names(spec)], -1).nan_to_num(0.0, 0.0, 0.0)
    return CellFeatures(values.float().cpu().numpy(), affinity)


@functools.lru_cache(maxsize=1)
def feature_names(spec: SpectralSpec = SPEC) -> tuple[str, ...]:
    """Return the names of the features in the order of :attr:`CellFeatures.values`."""
    silence = torch.zeros(1, spec.cell_frames * spec.hop)
    return tuple(_all_cues(AnalysisBlock(silence, {}, "generic"), spec)[0])


def feature_digest(spec: SpectralSpec = SPEC) -> str:
    """Return ``sha256:<hex>`` of the feature set and the grid that it is measured on; a model is valid for one."""
    grid = (spec.sample_rate, spec.n_fft, spec.hop, spec.cell_frames)
    edges = [f"{edge:.1f}" for edge in cell_band_edges_hz(spec)]
    text = "\n".join([str(_REVISION), *map(str, grid), *edges, *feature_names(spec)])
    return "sha256:" + hashlib.sha256(text.encode()).hexdigest()
