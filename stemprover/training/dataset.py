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
from stemprover.errors import TrainingError
from stemprover.spectral.spec import SPEC

__all__ = ["Batch", "PairBatches"]

FRAMES = 256
SAMPLES = (FRAMES - 1) * SPEC.hop


@dataclasses.dataclass(frozen=True)
class Batch:
    """Segments of one audio channel each, 256 STFT frames long.

    Attributes
    ----------
    clean, degraded, siblings, other : Tensor
        Audio, shape ``[batch, samples]``: the target, the stem, mixture minus stem (zero where blind) and the stem's
        other channel.
    severity : Tensor
        Labelled severity of the worst artifact, shape ``[batch, n_bands, frames]``.
    stems, artifacts : tuple of str
        Stem class and strongest artifact of each item (``any`` for a clean one).
    overall : Tensor
        Mean severity where anything was labelled, shape ``[batch]``.
    """

    clean: Tensor
    degraded: Tensor
    siblings: Tensor
    other: Tensor
    severity: Tensor
    stems: tuple[str, ...]
    artifacts: tuple[str, ...]
    overall: Tensor


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

    def batch(self, index: int) -> Batch:
        """Return batch ``index``; the same index always gives the same batch of a finished folder."""
        rng = np.random.default_rng((self.seed, index))
        items = [self._item(rng) for _ in range(self.batch_size)]
        clean, degraded, siblings, other = (
            torch.stack(part) for part in zip(*(item[:4] for item in items), strict=True)
        )
        severity = torch.stack([item[4] for item in items])
        return Batch(
            clean,
            degraded,
            siblings,
            other,
            severity,
            tuple(item[5] for item in items),
            tuple(item[6] for item in items),
            _mean_where_positive(severity),
        )

    def _item(self, rng: np.random.Generator) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor, str, str]:
        pool, weights = self.pools[int(rng.random() < 0.75)]
        pair = pool[int(rng.choice(len(pool), p=weights))]
        decoded = self._decode(pair)
        start = int(rng.integers((pair.samples - SAMPLES) // SPEC.hop + 1))
        cut = decoded.audio[:, :, start * SPEC.hop : start * SPEC.hop + SAMPLES].astype(np.float32) / 32768.0
        channel = int(rng.integers(2))
        clean, degraded, mixture = cut
        severity = severity_map(decoded.labels, start)
        if rng.random() < self.rescale_share:
            scale = float(rng.uniform(0.1, 1.0))
            degraded = clean + scale * (degraded - clean)
            severity = np.where(severity > 0, np.clip(severity + 20.0 / 30.0 * np.log10(scale), 0.0, 1.0), 0.0)
        blind = not pair.has_siblings or rng.random() < self.blind_share
        siblings = np.zeros_like(clean) if blind else mixture - degraded
        other = degraded[1 - channel] if rng.random() < 0.8 else degraded[channel]
        audio = [torch.from_numpy(np.ascontiguousarray(a)) for a in (clean[channel], degraded[channel])]
        rest = [torch.from_numpy(np.ascontiguousarray(a)) for a in (siblings[channel], other)]
        severity_tensor = torch.from_numpy(severity.astype(np.float32))
        return (audio[0], audio[1], rest[0], rest[1], severity_tensor, pair.stem, _strongest(decoded.labels))

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


def _mean_where_positive(severity: Tensor) -> Tensor:
    positive = (severity > 0).float()
    return (severity * positive).sum((1, 2)) / positive.sum((1, 2)).clamp_min(1.0)
