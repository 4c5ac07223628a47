"""Cells of training pairs as tables: features, severities and sources, one row per cell."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable, Sequence

import numpy as np
import torch

from stemprover.data.pairs import Pair, PairAudio, load
from stemprover.data.workers import in_processes
from stemprover.detection.features import SOURCES, cell_features
from stemprover.detection.grid import block_levels
from stemprover.detection.thresholds import ThresholdRule, audible_cells
from stemprover.detection.types import AnalysisBlock
from stemprover.spectral.spec import SPEC

__all__ = ["DETECTED", "Excerpt", "excerpts_of", "rows", "severities", "source_rows"]

DETECTED = ("bleed", "phasiness", "hf-distortion")
_CELL = SPEC.cell_frames * SPEC.hop
_BLIND_SHARE, _GENERIC_SHARE, _MONO_SHARE = 0.35, 0.2, 0.1


@dataclasses.dataclass(frozen=True, eq=False)
class Excerpt:
    """One rendering of a pair (damaged or clean) as a detector sees it.

    Attributes
    ----------
    features : ndarray
        Float32, shape ``[cells, n_cell_bands, features]``.
    levels_db : ndarray
        Shape ``[cells, n_cell_bands]``.
    severity : ndarray
        Truth by artifact in the order of ``DETECTED``, shape ``[len(DETECTED), cells, n_cell_bands]``.
    source : ndarray
        Severity of bleed by source in the order of ``SOURCES``, shape ``[len(SOURCES), cells, n_cell_bands]``.
    pair : Pair
        Where it comes from.
    clean, blind : bool
        Whether it is the clean rendering, and whether the siblings were hidden.
    """

    features: np.ndarray
    levels_db: np.ndarray
    severity: np.ndarray
    source: np.ndarray
    pair: Pair
    clean: bool
    blind: bool


def _labels(audio: PairAudio, names: Sequence[str], cells: int, clean: bool) -> np.ndarray:
    shape = (len(names), cells, SPEC.n_cell_bands)
    result = np.zeros(shape, np.float32)
    for number, name in enumerate(names):
        if not clean and name in audio.labels:
            result[number] = audio.labels[name][:cells]
    return result


def _excerpt(pair: Pair, audio: PairAudio, clean: bool, rng: np.random.Generator) -> Excerpt:
    cells = pair.samples // _CELL  # whole cells only: what the padding of a cut cell holds is nobody's fault
    length = cells * _CELL
    stem = torch.from_numpy((audio.clean if clean else audio.artifact)[:, :length].copy())
    residual = torch.from_numpy(audio.mixture[:, :length].copy()) - stem
    blind = not pair.has_siblings or rng.random() < _BLIND_SHARE
    if rng.random() < _MONO_SHARE:
        stem, residual = stem.mean(0, keepdim=True), residual.mean(0, keepdim=True)
    kind = "generic" if rng.random() < _GENERIC_SHARE else pair.stem
    block = AnalysisBlock(stem, {} if blind else {"residual": residual}, kind)
    return Excerpt(
        cell_features(block).values,
        block_levels(block),
        _labels(audio, DETECTED, cells, clean),
        _labels(audio, [f"bleed/{source}" for source in SOURCES], cells, clean),
        pair,
        clean,
        blind,
    )


def excerpts_of(
    pairs: Sequence[Pair], clean_share: float, seed: int, report: Callable[[int], None], jobs: int = 1
) -> list[Excerpt]:
    """Render every pair damaged, and a share of them clean as well.

    Parameters
    ----------
    pairs : sequence of Pair
        With whole-cell length of at least one cell.
    clean_share : float
        Share of the pairs that is rendered clean as well, 0 to 1.
    seed : int
        Decides what is hidden, mixed to mono or rendered clean; the same for the same pair in every run.
    report : callable
        Gets the number of pairs done.
    jobs : int
        Parallel processes. The result depends on it in the last digits of floats only: each has one thread.
    """
    work = functools.partial(_excerpts_of_some, clean_share=clean_share, seed=seed)
    done = {}
    for pair_id, excerpts in in_processes(work, pairs, jobs):
        done[pair_id] = excerpts
        report(len(done))
    return [excerpt for pair in pairs for excerpt in done[pair.id]]


def _excerpts_of_some(pairs: Sequence[Pair], clean_share: float, seed: int) -> list[tuple[str, list[Excerpt]]]:
    result = []
    for pair in pairs:
        rng = np.random.default_rng([seed, *pair.id.encode()])
        audio = load(pair)
        excerpts = [_excerpt(pair, audio, clean=False, rng=rng)]
        if rng.random() < clean_share:
            excerpts.append(_excerpt(pair, audio, clean=True, rng=rng))
        result.append((pair.id, excerpts))
    return result


def severities(excerpts: Sequence[Excerpt], artifact: str, rule: ThresholdRule) -> np.ndarray:
    """True severities of all audible cells: ``[rows]``."""
    number = DETECTED.index(artifact)
    return np.concatenate([item.severity[number][audible_cells(item.levels_db, rule)] for item in excerpts])


def rows(excerpts: Sequence[Excerpt], artifact: str, rule: ThresholdRule) -> tuple[np.ndarray, np.ndarray]:
    """Features and true severities of all audible cells: ``[rows, features]`` and ``[rows]``."""
    features = np.concatenate([item.features[audible_cells(item.levels_db, rule)] for item in excerpts])
    return features, severities(excerpts, artifact, rule)


def source_rows(excerpts: Sequence[Excerpt], least: float) -> tuple[np.ndarray, np.ndarray]:
    """Features and loudest source of all cells with bleed of at least ``least``: ``[rows, features]``, ``[rows]``."""
    masks = [item.source.max(0) >= least for item in excerpts]
    features = np.concatenate([item.features[mask] for item, mask in zip(excerpts, masks, strict=True)])
    source = np.concatenate([item.source.argmax(0)[mask] for item, mask in zip(excerpts, masks, strict=True)])
    return features, source
