"""The one training loop: accelerate, EMA, a step-exact resume, TensorBoard and a JSON-lines log."""

from __future__ import annotations

import contextlib
import dataclasses
import json
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, Generic, Protocol, TypeVar

import torch
import yaml
from accelerate import Accelerator
from accelerate.utils import gather_object
from diffusers.training_utils import EMAModel
from torch import Tensor, nn

from stemprover.errors import TrainingError
from stemprover.training.checkpoint import load_checkpoint, save_checkpoint
from stemprover.training.listening import Listening, show
from stemprover.training.processes import any_of, in_order, on_device, share_gradients

__all__ = ["Batches", "Log", "Recipe", "Task", "fit", "read_recipe"]

Log = Callable[[Mapping[str, float]], None]
_Drawn = TypeVar("_Drawn", covariant=True)
_Taken = TypeVar("_Taken", contravariant=True)
_Batch = TypeVar("_Batch")
_LOG_EVERY = 20


@dataclasses.dataclass(frozen=True)
class Recipe:
    """Numbers of one run; a YAML file with the same keys.

    Attributes
    ----------
    steps, batch_size : int
        Optimiser steps, and items per step and process.
    learning_rate, decay_share : float
        Peak rate after 100 steps of warm-up; the last ``decay_share`` of the steps falls linearly to zero.
    weight_decay, clip_norm, ema : float
        AdamW weight decay, gradient norm limit, decay of the averaged weights that are released.
    seed : int
        Seed of weights, draws and noise.
    precision : str
        ``no``, ``bf16`` or ``fp16`` (accelerate).
    checkpoint_minutes : float
        How often state is saved.
    validate_every, validation_batches : int
        Steps between validations, and how many fixed batches each takes.
    early : float
        Share of the steps after which the weights are also saved, in ``out/early``; 0 for never.
    workers : int
        Processes that draw batches ahead of the training: otherwise a GPU waits for its data. 0 draws them in between.
    """

    steps: int
    batch_size: int = 8
    learning_rate: float = 5e-4
    decay_share: float = 0.3
    weight_decay: float = 0.01
    clip_norm: float = 1.0
    ema: float = 0.998
    seed: int = 0
    precision: str = "bf16"
    checkpoint_minutes: float = 4.0
    validate_every: int = 500
    validation_batches: int = 8
    early: float = 0.0
    workers: int = 0


class Batches(Protocol[_Drawn]):
    """Training data: the same index always gives the same batch."""

    def batch(self, index: int) -> _Drawn:
        """Return one batch."""


class Task(Protocol[_Taken]):
    """What differs between trainings."""

    def trainable(self) -> nn.Module:
        """Return the module whose parameters that require gradients are trained."""

    def loss(self, batch: _Taken, generator: torch.Generator) -> tuple[Tensor, Mapping[str, float]]:
        """Return a scalar loss and figures to log."""

    def validate(self, batch: _Taken) -> Mapping[str, float]:
        """Return figures of a validation batch."""

    def save(self, folder: Path) -> None:
        """Write the released form of the current weights."""


def read_recipe(path: Path, overrides: Mapping[str, Any] | None = None) -> Recipe:
    """Read a recipe; ``overrides`` with a value of None are ignored."""
    try:
        values = yaml.safe_load(path.read_text(encoding="utf-8")) or {}
        return Recipe(**(values | {k: v for k, v in (overrides or {}).items() if v is not None}))
    except (OSError, TypeError, yaml.YAMLError) as error:
        names = ", ".join(field.name for field in dataclasses.fields(Recipe))
        raise TrainingError(f"a recipe with {names}", f"{path}: {error}", "correct the file") from error


def _rate(step: int, recipe: Recipe) -> float:
    """Warm-up, plateau, linear decay: a run can be prolonged from any plateau checkpoint."""
    decay = max(1, round(recipe.decay_share * recipe.steps))
    return min(1.0, (step + 1) / 100, (recipe.steps - step) / decay)


@contextlib.contextmanager
def _no_denormals() -> Iterator[None]:
    """Set denormal numbers to zero: fading tails hold them, and with them a step takes ten times as long."""
    torch.set_flush_denormal(True)
    try:
        yield
    finally:
        torch.set_flush_denormal(False)


@_no_denormals()
def fit(
    task: Task[_Batch],
    train: Batches[_Batch],
    validation: Batches[_Batch] | None,
    recipe: Recipe,
    out: Path,
    log: Log | None = None,
) -> Path:
    """Train to ``recipe.steps``, resuming from ``out/checkpoint`` if there is one, and save the averaged weights.

    Returns
    -------
    Path
        ``out/final``, the folder that ``task.save`` wrote.
    """
    run = _Run(task, recipe, out, log)
    last_save = time.monotonic()
    for step, batch in run.drawn(run.resume(), train):
        run.step(step, batch)
        done = step + 1
        if validation is not None and (done % recipe.validate_every == 0 or done == recipe.steps):
            run.validate(done, validation)
        if done == round(recipe.early * recipe.steps):
            run.save(out / "early")
        late = time.monotonic() - last_save > 60 * recipe.checkpoint_minutes
        if done == recipe.steps or any_of(run.accelerator, late):
            save_checkpoint(run.accelerator, run.model, out, done)
            last_save = time.monotonic()
    run.save(out / "final")
    run.accelerator.end_training()
    return out / "final"


class _Run(Generic[_Batch]):
    """What a training run holds besides its task."""

    def __init__(self, task: Task[_Batch], recipe: Recipe, out: Path, log: Log | None) -> None:
        out.mkdir(parents=True, exist_ok=True)
        torch.manual_seed(recipe.seed)
        self.task, self.recipe, self.out, self.log = task, recipe, out, log
        self.accelerator = Accelerator(
            mixed_precision=recipe.precision,
            cpu=not torch.accelerator.is_available(),  # without it, processes on CPUs would not find each other
            log_with="tensorboard",
            project_dir=str(out),
        )
        self.accelerator.init_trackers("logs")
        self.model = task.trainable().to(self.accelerator.device)
        self.parameters = [p for p in self.model.parameters() if p.requires_grad]
        self.optimiser = self.accelerator.prepare(
            torch.optim.AdamW(
                self.parameters, recipe.learning_rate, (0.9, 0.99), weight_decay=recipe.weight_decay, fused=True
            )
        )
        self.average = EMAModel(self.parameters, decay=recipe.ema, use_ema_warmup=True, power=0.75)
        self.accelerator.register_for_checkpointing(self.average)

    def resume(self) -> int:
        """Take up the checkpoint, if there is one; returns the step to go on with."""
        start = load_checkpoint(self.accelerator, self.model, self.out)
        self.average.to(self.accelerator.device)  # a checkpoint is read to the CPU
        return start

    def drawn(self, start: int, batches: Batches[_Batch]) -> Iterator[tuple[int, _Batch]]:
        """Steps from ``start`` on with their batches; each process draws others."""
        steps = range(start, self.recipe.steps)
        draws = [self._draw(step) for step in steps]
        return zip(steps, in_order(batches.batch, draws, self.recipe.workers), strict=True)

    def _draw(self, step: int) -> int:
        processes: int = self.accelerator.num_processes
        return step * processes + int(self.accelerator.process_index)

    def step(self, number: int, batch: _Batch) -> None:
        """Take one optimiser step."""
        generator = torch.Generator().manual_seed((self.recipe.seed << 32) + self._draw(number))
        with self.accelerator.autocast():
            loss, figures = self.task.loss(on_device(batch, self.accelerator.device), generator)
        if not torch.isfinite(loss):
            raise TrainingError("a finite loss", f"{loss.item()} at step {number}", "lower the learning rate")
        self.accelerator.backward(loss)
        share_gradients(self.accelerator, self.parameters)
        self.accelerator.clip_grad_norm_(self.parameters, self.recipe.clip_norm)
        for group in self.optimiser.param_groups:
            group["lr"] = self.recipe.learning_rate * _rate(number, self.recipe)
        self.optimiser.step()
        self.optimiser.zero_grad()
        self.average.step(self.parameters)
        if number % _LOG_EVERY == 0:
            self._record({"step": number, "loss": loss.item(), **figures})

    def validate(self, done: int, batches: Batches[_Batch]) -> None:
        """Record mean figures of the first batches under the averaged weights; the processes share them out.

        Some of the first batch can be listened to.
        """
        with self._averaged(), torch.no_grad():
            mine = range(self.accelerator.process_index, self.recipe.validation_batches, self.accelerator.num_processes)
            rows = [self.task.validate(on_device(batches.batch(k), self.accelerator.device)) for k in mine]
            if self.accelerator.is_main_process and isinstance(self.task, Listening):
                heard = self.task.listen(on_device(batches.batch(0), self.accelerator.device))
                for tracker in self.accelerator.trackers:  # none where TensorBoard is not installed
                    show(tracker.tracker, done, heard)
        rows = gather_object(rows)
        self._record({"step": done, **{f"val/{name}": sum(r[name] for r in rows) / len(rows) for name in rows[0]}})

    def save(self, folder: Path) -> None:
        """Write the released form of the averaged weights, once."""
        if self.accelerator.is_main_process:
            with self._averaged():
                self.task.save(folder)
        self.accelerator.wait_for_everyone()

    @contextlib.contextmanager
    def _averaged(self) -> Iterator[None]:
        """Put the averaged weights in place for a while."""
        self.average.store(self.parameters)
        self.average.copy_to(self.parameters)
        yield
        self.average.restore(self.parameters)

    def _record(self, figures: Mapping[str, float]) -> None:
        if not self.accelerator.is_main_process:
            return
        self.accelerator.log({k: v for k, v in figures.items() if k != "step"}, step=int(figures["step"]))
        with (self.out / "log.jsonl").open("a", encoding="utf-8") as file:
            file.write(json.dumps({k: round(float(v), 6) for k, v in figures.items()}) + "\n")
        if self.log is not None:
            self.log(figures)
