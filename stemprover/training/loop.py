"""The one training loop: accelerate, EMA, a step-exact resume, TensorBoard and a JSON-lines log."""

from __future__ import annotations

import contextlib
import dataclasses
import json
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, Protocol, TypeVar

import torch
import yaml
from accelerate import Accelerator
from diffusers.training_utils import EMAModel
from torch import Tensor, nn

from stemprover.errors import TrainingError

__all__ = ["Batches", "Log", "Recipe", "Task", "fit", "read_recipe"]

Log = Callable[[Mapping[str, float]], None]
_Drawn = TypeVar("_Drawn", covariant=True)
_Taken = TypeVar("_Taken", contravariant=True)
_Batch = TypeVar("_Batch")


@dataclasses.dataclass(frozen=True)
class Recipe:
    """Numbers of one run; a YAML file with the same keys.

    Attributes
    ----------
    steps, batch_size : int
        Optimiser steps and items per step.
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
    out.mkdir(parents=True, exist_ok=True)
    torch.manual_seed(recipe.seed)
    torch.set_flush_denormal(True)  # fading tails hold denormal numbers, with which a step takes ten times as long
    accelerator = Accelerator(
        mixed_precision=recipe.precision,
        cpu=not torch.accelerator.is_available(),  # without it, processes on CPUs would not find each other
        log_with="tensorboard",
        project_dir=str(out),
    )
    accelerator.init_trackers("logs")
    model = task.trainable().to(accelerator.device)
    parameters = [p for p in model.parameters() if p.requires_grad]
    # Tasks call parts of the model, past the wrapper that would share gradients between processes; so it is not
    # prepared, and _share does it.
    optimiser = accelerator.prepare(
        torch.optim.AdamW(parameters, recipe.learning_rate, (0.9, 0.99), weight_decay=recipe.weight_decay, fused=True)
    )
    average = EMAModel(parameters, decay=recipe.ema, use_ema_warmup=True, power=0.75)
    average.to(accelerator.device)
    accelerator.register_for_checkpointing(model, average)
    last_save = time.monotonic()
    for step in range(_resume(accelerator, out), recipe.steps):
        draw = step * accelerator.num_processes + accelerator.process_index
        generator = torch.Generator().manual_seed((recipe.seed << 32) + draw)
        with accelerator.autocast():
            loss, figures = task.loss(_on(accelerator.device, train.batch(draw)), generator)
        if not torch.isfinite(loss):
            raise TrainingError("a finite loss", f"{loss.item()} at step {step}", "lower the learning rate")
        accelerator.backward(loss)
        _share(accelerator, parameters)
        accelerator.clip_grad_norm_(parameters, recipe.clip_norm)
        for group in optimiser.param_groups:
            group["lr"] = recipe.learning_rate * _rate(step, recipe)
        optimiser.step()
        optimiser.zero_grad()
        average.step(parameters)
        _record(accelerator, out, {"step": step, "loss": loss.item(), **figures}, log, every=20)
        done = step + 1
        if validation is not None and (done % recipe.validate_every == 0 or done == recipe.steps):
            here = (_on(accelerator.device, validation.batch(k)) for k in range(recipe.validation_batches))
            figures = _validate(task, here, average, parameters)
            _record(accelerator, out, {"step": done, **figures}, log)
        if done == round(recipe.early * recipe.steps) and accelerator.is_main_process:
            with _averaged(average, parameters):
                task.save(out / "early")
        if done == recipe.steps or _any(accelerator, time.monotonic() - last_save > 60 * recipe.checkpoint_minutes):
            _checkpoint(accelerator, out, done)
            last_save = time.monotonic()
    average.copy_to(parameters)
    if accelerator.is_main_process:
        task.save(out / "final")
    accelerator.end_training()
    return out / "final"


def _on(device: torch.device, batch: _Batch) -> _Batch:
    """A batch, a tensor or a dataclass with tensors, on the device that trains."""
    if isinstance(batch, Tensor):
        return batch.to(device)
    held = {field.name: getattr(batch, field.name) for field in dataclasses.fields(batch)}
    return dataclasses.replace(batch, **{name: one.to(device) for name, one in held.items() if isinstance(one, Tensor)})


def _share(accelerator: Accelerator, parameters: list[nn.Parameter]) -> None:
    """Average the gradients over the processes, as one message."""
    if accelerator.num_processes == 1:
        return
    for parameter in parameters:
        if parameter.grad is None:  # what this process's items did not use, another's may have
            parameter.grad = torch.zeros_like(parameter)
    gradients = [parameter.grad for parameter in parameters if parameter.grad is not None]
    message = accelerator.reduce(torch.cat([gradient.flatten() for gradient in gradients]), "mean")
    for gradient, mean in zip(gradients, message.split([g.numel() for g in gradients]), strict=True):
        gradient.copy_(mean.view_as(gradient))


def _any(accelerator: Accelerator, here: bool) -> bool:
    """Whether it is so in any process: their clocks differ, and all must do the same."""
    return bool(accelerator.reduce(torch.tensor(float(here), device=accelerator.device), "sum") > 0)


def _validate(
    task: Task[_Batch], batches: Iterable[_Batch], average: EMAModel, parameters: list[nn.Parameter]
) -> dict[str, float]:
    """Average the validation figures of some batches under the averaged weights."""
    with _averaged(average, parameters), torch.no_grad():
        rows = [task.validate(batch) for batch in batches]
    return {f"val/{name}": sum(row[name] for row in rows) / len(rows) for name in rows[0]}


@contextlib.contextmanager
def _averaged(average: EMAModel, parameters: list[nn.Parameter]) -> Iterator[None]:
    """Put the averaged weights in place for a while."""
    average.store(parameters)
    average.copy_to(parameters)
    yield
    average.restore(parameters)


def _resume(accelerator: Accelerator, out: Path) -> int:
    folder = out / "checkpoint"
    if not (folder / "step.json").is_file():
        return 0
    accelerator.load_state(str(folder))
    return int(json.loads((folder / "step.json").read_text())["step"])


def _checkpoint(accelerator: Accelerator, out: Path, step: int) -> None:
    """Write beside the old checkpoint, then swap: a kill in between leaves the old one."""
    fresh, current, old = out / "checkpoint.new", out / "checkpoint", out / "checkpoint.old"
    accelerator.save_state(str(fresh), safe_serialization=True)
    accelerator.wait_for_everyone()
    if not accelerator.is_main_process:
        return
    (fresh / "step.json").write_text(json.dumps({"step": step}))
    if current.exists():
        current.replace(old)
    fresh.replace(current)
    _remove(old)


def _remove(folder: Path) -> None:
    if folder.exists():
        for path in sorted(folder.rglob("*"), reverse=True):
            path.rmdir() if path.is_dir() else path.unlink()
        folder.rmdir()


def _record(accelerator: Any, out: Path, figures: Mapping[str, float], log: Log | None, every: int = 1) -> None:
    if int(figures["step"]) % every or not accelerator.is_main_process:
        return
    accelerator.log({k: v for k, v in figures.items() if k != "step"}, step=int(figures["step"]))
    with (out / "log.jsonl").open("a", encoding="utf-8") as file:
        file.write(json.dumps({k: round(float(v), 6) for k, v in figures.items()}) + "\n")
    if log is not None:
        log(figures)
