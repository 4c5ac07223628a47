"""Batches of training segments from a pairs folder."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import torch
from safetensors.numpy import load_file
from torch import Tensor

from stemprover.data.pairs import Pair, load, read_manifest
from stemprover.detection import Detection
from stemprover.errors import TrainingError
from stemprover.spectral.spec import SPEC
from stemprover.training.detected import maps_of, read_detections, strongest
from stemprover.training.variation import AS_IT_IS, Variation, draw_variation

__all__ = ["Batch", "PairBatches"]

FRAMES = 256
SAMPLES = (FRAMES - 1) * SPEC.hop


@dataclasses.dataclass(frozen=True)
class Batch:
    """Segments of one audio channel each, 256 STFT frames long.

    Attributes
    ----------
    clean, degraded, siblings, other, siblings_other : Tensor
        Audio, shape ``[batch, samples]``: the target, the stem, mixture minus stem (zero where blind), and the other
        channel of stem and siblings.
    severity, region : Tensor
        Severity of the worst artifact, and where a repair is applied (0 to 1), shape ``[batch, n_bands, frames]``.
    stems, artifacts : tuple of str
        Stem class and strongest artifact of each item (``any`` for a clean one).
    overall : Tensor
        Severity of the strongest artifact, shape ``[batch]``.
    """

    clean: Tensor
    degraded: Tensor
    siblings: Tensor
    other: Tensor
    siblings_other: Tensor
    severity: Tensor
    region: Tensor
    stems: tuple[str, ...]
    artifacts: tuple[str, ...]
    overall: Tensor


@dataclasses.dataclass(frozen=True)
class _Item:
    audio: tuple[Tensor, ...]  # clean, degraded, siblings, other, siblings_other
    where: _Where
    stem: str


@dataclasses.dataclass(frozen=True)
class _Where:
    """What a model is told to repair in one item."""

    severity: Tensor
    region: Tensor
    artifact: str
    overall: float


@dataclasses.dataclass(frozen=True)
class _Decoded:
    audio: np.ndarray  # int16 [3, 2, samples]: clean, artifact, mixture (memory map)
    labels: dict[str, np.ndarray]


class PairBatches:
    """Draws batch ``i`` from ``(seed, i)`` alone, so that training resumes to the step.

    Parameters
    ----------
    folder : Path
        Pairs folder; decoded audio is kept beside it in ``.decoded`` and shared by all runs.
    split : str
        ``train`` or ``validation``.
    batch_size, seed : int
        Items per batch; seed of the draw.
    blind_share : float
        Share of items whose siblings are hidden.
    rescale_share : float
        Share of items whose error is scaled down by up to 20 dB (covers good separators).
    detected_share, flat_share : float
        Share of items that are told what the detectors found, and share of "repair everything"; the rest, and every
        item in a folder on which ``data detect`` has not run, is told the labels.
    varied_share : float
        Share of items that :mod:`stemprover.training.variation` changes; none in validation, which is to stay the same.
    artifact : str, optional
        Draw three of four items among pairs that have this artifact or one below it.
    keep : callable, optional
        Predicate on pairs (to hold a separator family out).
    """

    def __init__(
        self,
        folder: Path,
        split: str,
        batch_size: int,
        seed: int,
        *,
        blind_share: float = 0.25,
        rescale_share: float = 0.1,
        detected_share: float = 0.65,
        flat_share: float = 0.2,
        varied_share: float = 0.0,
        artifact: str | None = None,
        keep: Callable[[Pair], bool] | None = None,
    ) -> None:
        pairs = [pair for pair in read_manifest(folder, split) if keep is None or keep(pair)]
        if not pairs:
            raise TrainingError(f"{split} pairs in {folder}", "none", "build them with `stemprover data pairs`")
        chosen = [pair for pair in pairs if artifact and _has(pair, artifact)] or pairs
        self.pools = tuple((pool, _weights(pool)) for pool in (pairs, chosen))
        self.folder, self.batch_size, self.seed = folder, batch_size, seed
        self.blind_share, self.rescale_share = blind_share, rescale_share
        self.detected_share, self.flat_share = detected_share, flat_share
        self.varied_share = varied_share
        self.found = read_detections(folder)

    def batch(self, index: int) -> Batch:
        """Return batch ``index``; the same index always gives the same batch of a finished folder."""
        rng = np.random.default_rng((self.seed, index))
        items = [self._item(rng) for _ in range(self.batch_size)]
        clean, degraded, siblings, other, siblings_other = (
            torch.stack(part) for part in zip(*(item.audio for item in items), strict=True)
        )
        return Batch(
            clean,
            degraded,
            siblings,
            other,
            siblings_other,
            torch.stack([item.where.severity for item in items]),
            torch.stack([item.where.region for item in items]),
            tuple(item.stem for item in items),
            tuple(item.where.artifact for item in items),
            torch.tensor([item.where.overall for item in items]),
        )

    def _item(self, rng: np.random.Generator) -> _Item:
        pool, weights = self.pools[int(rng.random() < 0.75)]
        pair = pool[int(rng.choice(len(pool), p=weights))]
        decoded = self._decode(pair)
        variation = draw_variation(rng) if self.varied_share and rng.random() < self.varied_share else AS_IT_IS
        length = min(variation.length(SAMPLES), pair.samples)
        start = int(rng.integers((pair.samples - length) // SPEC.hop + 1))
        cut = decoded.audio[:, :, start * SPEC.hop : start * SPEC.hop + length].astype(np.float32) / 32768.0
        cut = variation.audio(cut, SAMPLES)
        channel = int(rng.integers(2))
        clean, degraded, mixture = cut
        scale = float(rng.uniform(0.1, 1.0)) if rng.random() < self.rescale_share else 1.0
        degraded = clean + np.float32(scale) * (degraded - clean)
        blind = not pair.has_siblings or rng.random() < self.blind_share
        siblings = np.zeros_like(clean) if blind else mixture - degraded
        other = 1 - channel if rng.random() < 0.8 else channel  # a mono stem is one whose channels are equal
        audio = (clean[channel], degraded[channel], siblings[channel], degraded[other], siblings[other])
        tensors = tuple(torch.from_numpy(np.ascontiguousarray(part)) for part in audio)
        source = rng.random()
        known = self.found.get(pair.id) if scale == 1.0 and source < self.detected_share else None
        found = () if known is None else known.blind if blind else known.siblings
        where = _detected(found, start, variation) or self._labelled(decoded, start, scale, source, variation)
        return _Item(tensors, where, pair.stem)

    def _labelled(self, decoded: _Decoded, start: int, scale: float, source: float, variation: Variation) -> _Where:
        """What the labels say, or everything."""
        worst = severity_map(decoded.labels, start, variation.length(FRAMES))
        severity = torch.from_numpy(variation.map(worst, FRAMES))
        if source >= 1.0 - self.flat_share or not severity.any():
            flat = torch.ones(SPEC.n_bands, FRAMES)
            return _Where(0.5 * flat, flat, _strongest(decoded.labels), 0.5)
        present = (severity > 0).float()
        severity = (severity + present * (20.0 / 30.0 * float(np.log10(scale)))).clamp(0.0, 1.0)
        overall = float((severity * present).sum() / present.sum().clamp_min(1.0))
        return _Where(severity, present, _strongest(decoded.labels), overall)

    def _decode(self, pair: Pair) -> _Decoded:
        path = self.folder / ".decoded" / f"{pair.id}-{pair.sha256['artifact'][:12]}.npy"
        if not path.is_file():
            path.parent.mkdir(exist_ok=True)
            audio = load(pair)
            stacked = np.stack([audio.clean, audio.artifact, audio.mixture])
            partial = path.with_suffix(f".{np.random.default_rng().integers(1 << 30)}.partial.npy")
            np.save(partial, np.clip(np.round(stacked * 32768.0), -32768, 32767).astype(np.int16))
            partial.replace(path)
        return _Decoded(np.load(path, mmap_mode="r"), load_file(pair.path("labels")))


def _detected(found: Sequence[Detection], start: int, variation: Variation) -> _Where | None:
    """What was found in the segment, if anything was."""
    found = variation.detections(found)
    start = round(start / variation.speed)
    worst = strongest(found, start, FRAMES)
    return None if worst is None else _Where(*maps_of(found, start, FRAMES), worst.artifact, worst.severity)


def severity_map(labels: dict[str, np.ndarray], start_frame: int, frames: int = FRAMES) -> np.ndarray:
    """Spread the worst label of each cell over image bands and frames, shape ``[n_bands, frames]``."""
    if not labels:
        return np.zeros((SPEC.n_bands, frames), np.float32)
    worst = np.max(np.stack(list(labels.values())), axis=0)
    spread = np.repeat(np.repeat(worst, SPEC.cell_frames, 0), SPEC.cell_bands, 1).T
    short = start_frame + frames - spread.shape[1]
    if short > 0:
        spread = np.pad(spread, ((0, 0), (0, short)), mode="edge")
    return spread[:, start_frame : start_frame + frames]


def _strongest(labels: dict[str, np.ndarray]) -> str:
    totals = {name: float(values.sum()) for name, values in labels.items() if values.size and values.max() > 0}
    return max(totals, key=lambda name: totals[name]) if totals else "any"


def _weights(pairs: Sequence[Pair]) -> np.ndarray:
    """Chance of each pair: separators' stems are mostly at 0 to 15 dB SDR, and clean ones must not be forgotten."""
    chances = np.array([0.3 if pair.sdr_db is None else 0.1 + pair.severity for pair in pairs])
    total: np.ndarray = chances / chances.sum()
    return total


def _has(pair: Pair, artifact: str) -> bool:
    return any(name == artifact or name.startswith(artifact + "/") for name in pair.artifacts)
