"""Training refiners: from a stem and its mixture to the stem as it should have been, in stereo."""

from __future__ import annotations

import dataclasses
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from stemprover.data.pairs import Pair, read_manifest
from stemprover.errors import TrainingError
from stemprover.separation.refiner import Refiner
from stemprover.spectral.spec import SPEC
from stemprover.spectral.stft import stft
from stemprover.training.dataset import chances, decoded_audio
from stemprover.training.losses import error_ratio, scaled_error_ratio
from stemprover.training.separation import COARSE, compressed, save_network
from stemprover.training.variation import AS_IT_IS, draw_variation

__all__ = ["RefiningTask", "Stems", "StereoPairs"]

_SECONDS = 3.0
_SWAPPED, _RESCALED = 0.5, 0.1
_MAGNITUDE, _HARM = 4.0, 1.0
_INSTRUMENTAL, _VOCALS = "instrumental", "vocals"


@dataclasses.dataclass(frozen=True)
class Stems:
    """Stems to be refined.

    Attributes
    ----------
    audio : Tensor
        Clean stem, stem and mixture, float32, shape ``[3, batch, 2, samples]``.
    index : Tensor
        Which of a refiner's stems each is, shape ``[batch]``.
    """

    audio: Tensor
    index: Tensor


def _chosen(pairs: Sequence[Pair], stems: Collection[str], without: Collection[str]) -> list[Pair]:
    """Pairs with siblings of these classes, and of instrumentals if voices are among them; no music of ``without``."""
    wanted = {*stems, _INSTRUMENTAL} if _VOCALS in stems else {*stems}
    return [
        pair for pair in pairs if pair.stem in wanted and pair.has_siblings and not pair.music.intersection(without)
    ]


class StereoPairs:
    """Draws batch ``i`` from ``(seed, i)`` alone, so that training resumes to the step.

    Of an instrumental, the voice that its separator must have found is refined.

    Parameters
    ----------
    folder : Path
        Pairs folder.
    split : str
        ``train`` or ``validation``.
    stems : sequence of str
        Those of the refiner, in order.
    batch_size, seed : int
        Items per batch; seed of the draw.
    varied_share, alone_share : float
        Share of items that :mod:`stemprover.training.variation` changes, and of stems that are their own mixture, as
        those that come alone are (instrumentals never).
    without : collection of str
        Songs, kits and solo recordings that no pair may hold.

    Raises
    ------
    TrainingError
        If no pair is left.

    Attributes
    ----------
    music : frozenset of str
        Songs, kits and solo recordings in the pairs.
    """

    def __init__(
        self,
        folder: Path,
        split: str,
        stems: Sequence[str],
        batch_size: int,
        seed: int,
        *,
        varied_share: float = 0.0,
        alone_share: float = 0.0,
        without: Collection[str] = (),
    ) -> None:
        self.pairs = _chosen(read_manifest(folder, split), stems, without)
        if not self.pairs:
            got = f"none with siblings and without {', '.join(without) or 'any music'}"
            fix = "make some with `stemprover data pairs`, or leave less out"
            raise TrainingError(f"{split} pairs of {', '.join(stems)} in {folder}", got, fix)
        self.folder, self.stems, self.batch_size, self.seed = folder, tuple(stems), batch_size, seed
        self.samples = round(_SECONDS * SPEC.sample_rate)
        self.varied_share, self.alone_share = varied_share, alone_share
        self._chances = chances(self.pairs)
        self.music = frozenset(name for pair in self.pairs for name in pair.music)

    def batch(self, index: int) -> Stems:
        """Return batch ``index``; the same index always gives the same batch of a finished folder."""
        rng = np.random.default_rng((self.seed, index))
        drawn = [self._item(rng) for _ in range(self.batch_size)]
        audio = np.stack([audio for audio, _ in drawn], 1)
        return Stems(torch.from_numpy(audio), torch.tensor([number for _, number in drawn]))

    def _item(self, rng: np.random.Generator) -> tuple[np.ndarray, int]:
        pair = self.pairs[int(rng.choice(len(self.pairs), p=self._chances))]
        variation = draw_variation(rng) if rng.random() < self.varied_share else AS_IT_IS
        length = min(variation.length(self.samples), pair.samples)
        start = int(rng.integers(pair.samples - length + 1))
        cut = decoded_audio(self.folder, pair)[:, :, start : start + length].astype(np.float32) / 32768.0
        clean, stem, mixture = variation.audio(cut, self.samples)
        if rng.random() < _RESCALED:
            stem = clean + np.float32(rng.uniform(0.1, 1.0)) * (stem - clean)
        if pair.stem == _INSTRUMENTAL:
            clean, stem = mixture - clean, mixture - stem
        elif rng.random() < self.alone_share:
            mixture = stem  # nothing more is known of a stem that comes alone
        audio = np.stack([clean, stem, mixture])
        if rng.random() < _SWAPPED:
            audio = audio[:, ::-1]
        number = self.stems.index(_VOCALS if pair.stem == _INSTRUMENTAL else pair.stem)
        return np.ascontiguousarray(audio, np.float32), number


class RefiningTask:
    """Errors of stems after and before, as ratios, and errors of compressed magnitudes.

    Parameters
    ----------
    model : Refiner
    heard : collection of str
        Songs, kits and solo recordings that it or the separator that it began as trained on.
    """

    def __init__(self, model: Refiner, heard: Collection[str]) -> None:
        self.model, self.heard = model, frozenset(heard)

    def trainable(self) -> Refiner:
        """The refiner."""
        return self.model

    def loss(self, batch: Stems, generator: torch.Generator) -> tuple[Tensor, Mapping[str, float]]:
        """Half of it is SDR and half SI-SDR; decibels that are lost weigh twice."""
        del generator  # the draw of the pairs is all the chance there is
        clean, stem, mixture = batch.audio
        refined = self.model(stem, mixture, batch.index)
        with torch.autocast(clean.device.type, enabled=False):
            ratio = torch.stack(_ratios(refined, clean, stem)).mean(0)
            loudest = torch.maximum(mixture.square().mean((1, 2)), clean.square().mean((1, 2)))
            level = loudest.sqrt()[:, None, None] + 1e-6  # a stem that comes alone may have lost all of its music
            magnitude = (compressed((refined / level)[:, None]) - compressed((clean / level)[:, None])).abs().mean()
        loss = (ratio + _HARM * ratio.relu()).mean() + _MAGNITUDE * magnitude
        return loss, {"gain_db": -10.0 * ratio.mean().item(), "magnitude": magnitude.item()}

    def validate(self, batch: Stems) -> Mapping[str, float]:
        """Gains of SDR and SI-SDR in dB with all of the change, and the share that loses more than 0.1 dB.

        Each with the mixture, and as if the stems had come alone (``alone_...``).
        """
        self.model.eval()
        clean, stem, mixture = batch.audio
        figures = {}
        for name, known in (("", mixture), ("alone_", stem)):
            gain, scaled = (-10.0 * ratio for ratio in _ratios(self.model(stem, known, batch.index), clean, stem))
            figures[f"{name}gain_db"] = gain.mean().item()
            figures[f"{name}si_gain_db"] = scaled.mean().item()
            figures[f"{name}harmed"] = (scaled < -0.1).float().mean().item()
        self.model.train()
        return figures

    def save(self, folder: Path) -> None:
        """Write weights in half precision, configuration and what was heard."""
        save_network(self.model, self.heard, folder)


def _ratios(refined: Tensor, clean: Tensor, stem: Tensor) -> tuple[Tensor, Tensor]:
    """Minus the gains of SDR and SI-SDR, in bels, both channels of a stem together; ``[batch]`` each."""
    after, truth, before = (torch.cat(stft(audio, COARSE).unbind(1), -1) for audio in (refined, clean, stem))
    return error_ratio(after, truth, before), scaled_error_ratio(after, truth, before)
