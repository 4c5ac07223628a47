"""Fine-tuning HiFi-GAN on clean stems, for the plugin ``stemprover-vocoder-hifigan``.

The plugin's own loader and front end are used, so that what is trained is what will run.
"""

from __future__ import annotations

import importlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from stemprover.data.pairs import MANIFEST
from stemprover.errors import TrainingError
from stemprover.spectral.spec import SPEC
from stemprover.stems import AudioFormat, Stem, resample
from stemprover.training.dataset import SAMPLES, Batch, PairBatches
from stemprover.training.listening import Heard
from stemprover.training.loop import Batches, Log, fit, read_recipe

__all__ = ["CleanAudio", "HifiGanTask", "spectral_distance", "train_hifigan"]

_RECIPE = Path(__file__).parent / "recipes" / "hifigan.yaml"
_RESOLUTIONS = ((512, 128), (1024, 256), (2048, 512))
_CROP = 32_768
_SUFFIXES = (".wav", ".flac", ".aif", ".aiff", ".ogg")


class CleanAudio:
    """Draws segments from a folder of clean stems; batch ``i`` depends on ``(seed, i)`` alone.

    Parameters
    ----------
    folder : Path
        Searched for audio files at any depth.
    batch_size, seed : int
        Items per batch; seed of the draw.

    Raises
    ------
    TrainingError
        If there is no audio file.
    """

    def __init__(self, folder: Path, batch_size: int, seed: int) -> None:
        self._paths = sorted(path for path in folder.rglob("*") if path.suffix.lower() in _SUFFIXES)
        if not self._paths:
            raise TrainingError("clean stems", f"no audio file in {folder}", f"use {', '.join(_SUFFIXES)} files")
        self._batch_size, self._seed = batch_size, seed

    def batch(self, index: int) -> Batch:
        """Return batch ``index``: clean segments, which stand for the degraded ones, too."""
        rng = np.random.default_rng((self._seed, index))
        clean = torch.stack([self._segment(rng) for _ in range(self._batch_size)])
        silence = torch.zeros_like(clean)
        names = ("generic",) * self._batch_size
        severity = torch.zeros(self._batch_size, SPEC.n_bands, SAMPLES // SPEC.hop + 1)
        nowhere = torch.zeros(self._batch_size)
        return Batch(clean, clean, silence, clean, silence, severity, severity, names, names, nowhere)

    def _segment(self, rng: np.random.Generator) -> Tensor:
        with Stem.open(self._paths[rng.integers(len(self._paths))]) as stem:
            form: AudioFormat = stem.format
            length = -(-SAMPLES * form.sample_rate // SPEC.sample_rate)
            start = int(rng.integers(max(1, form.samples - length)))
            audio = stem.read(start, start + length)[rng.integers(form.channels)]
        return torch.from_numpy(resample(audio[None], form.sample_rate, SPEC.sample_rate)[0, :SAMPLES]).float()


class HifiGanTask:
    """Mel and multi-resolution STFT loss of resynthesised clean stems (a task of :func:`stemprover.training.loop.fit`).

    Parameters
    ----------
    source : str
        Checkpoint to start from: folder, or hub repository as the plugin takes it.

    Raises
    ------
    TrainingError
        If the plugin is not installed.
    ModelError
        If the checkpoint cannot be loaded.
    """

    def __init__(self, source: str) -> None:
        try:
            self._plugin: Any = importlib.import_module("stemprover_vocoder_hifigan.generator")
            self._mel: Any = importlib.import_module("stemprover_vocoder_hifigan.mel")
        except ModuleNotFoundError as error:
            raise TrainingError(
                "the plugin stemprover-vocoder-hifigan", str(error), "pip install stemprover-vocoder-hifigan"
            ) from error
        self.generator: Any = self._plugin.load_generator(source)

    def trainable(self) -> nn.Module:
        """The generator."""
        module: nn.Module = self.generator.network.train()
        return module

    def loss(self, batch: Batch, generator: torch.Generator) -> tuple[Tensor, Mapping[str, float]]:
        """Return the sum of both distances on a random crop of each batch."""
        start = int(torch.randint(batch.clean.shape[-1] - _CROP, (1,), generator=generator))
        mel, spectral = self._distances(batch.clean[:, start : start + _CROP])
        return mel + spectral, {"mel": mel.item(), "spectral": spectral.item()}

    def validate(self, batch: Batch) -> Mapping[str, float]:
        """Both distances on the first crop."""
        mel, spectral = self._distances(batch.clean[:, :_CROP])
        return {"mel": mel.item(), "spectral": spectral.item()}

    def listen(self, batch: Batch) -> Heard:
        """First crops, resynthesised."""
        audio = self._at_its_rate(batch.clean[:, :_CROP])
        with torch.autocast(audio.device.type, enabled=False):
            return Heard({"resynthesised": self.generator(audio), "clean": audio}, self.generator.mel.sample_rate)

    def save(self, folder: Path) -> None:
        """Write a checkpoint folder that the plugin loads."""
        self._plugin.save_generator(self.generator, folder)

    def _distances(self, clean: Tensor) -> tuple[Tensor, Tensor]:
        spec, audio = self.generator.mel, self._at_its_rate(clean)
        with torch.autocast(audio.device.type, enabled=False):
            made = self.generator(audio)
            mel = functional.l1_loss(self._mel.log_mel(made, spec), self._mel.log_mel(audio, spec))
            return mel, spectral_distance(made, audio)

    def _at_its_rate(self, clean: Tensor) -> Tensor:
        """Audio at the generator's sample rate."""
        rows = resample(clean.double().cpu().numpy(), SPEC.sample_rate, self.generator.mel.sample_rate)
        return torch.from_numpy(rows).float().to(next(self.generator.parameters()).device)


def spectral_distance(estimate: Tensor, target: Tensor) -> Tensor:
    """Spectral convergence plus L1 of log magnitudes at three STFT sizes, averaged; ``[batch, samples]`` to a scalar.

    The loss of Parallel WaveGAN (Yamamoto, Song and Kim, 2020). It is blind to phase, as a mel vocoder must be.
    """
    total = torch.zeros((), device=target.device)
    for n_fft, hop in _RESOLUTIONS:
        window = torch.hann_window(n_fft, device=target.device)
        have, want = (
            torch.stft(audio, n_fft, hop, window=window, return_complex=True).abs().clamp_min(1e-5)
            for audio in (estimate, target)
        )
        total = total + (have - want).norm() / want.norm().clamp_min(1.0) + (have.log() - want.log()).abs().mean()
    return total / len(_RESOLUTIONS)


def train_hifigan(
    data: Path, out: Path, start: str, recipe: Path = _RECIPE, log: Log | None = None,
    overrides: Mapping[str, Any] | None = None,
) -> Path:  # fmt: skip
    """Fine-tune a HiFi-GAN checkpoint on clean stems; a run that was interrupted goes on where it stopped.

    Parameters
    ----------
    data : Path
        Pairs folder, of which only the clean stems are heard, or any folder of clean audio files.
    start : str
        Checkpoint folder or hub repository.

    Returns
    -------
    Path
        Checkpoint folder in the layout of ``save_pretrained``.
    """
    numbers = read_recipe(recipe, overrides)
    torch.manual_seed(numbers.seed)
    task = HifiGanTask(start)
    validation: Batches[Batch] | None = None
    if (data / MANIFEST).is_file():
        train: Batches[Batch] = PairBatches(data, "train", numbers.batch_size, numbers.seed)
        validation = PairBatches(data, "validation", 8, 1234)
    else:
        train = CleanAudio(data, numbers.batch_size, numbers.seed)
    return fit(task, train, validation, numbers, out, log)
