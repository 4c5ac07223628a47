"""Training in several processes, and on any device."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator, Sequence
from typing import Any, Generic, TypeVar, cast

import torch
from accelerate import Accelerator
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset

from stemprover.errors import StemProverError, TrainingError

__all__ = ["any_of", "in_order", "on_device", "share_gradients"]

_Batch = TypeVar("_Batch")


class _Numbered(Dataset[_Batch | StemProverError], Generic[_Batch]):
    """Batches by number."""

    def __init__(self, batch: Callable[[int], _Batch]) -> None:
        self._batch = batch

    def __getitem__(self, number: int) -> _Batch | StemProverError:
        try:
            return self._batch(number)
        except StemProverError as error:  # raised in a worker, it would come back as a RuntimeError
            return error


def in_order(batch: Callable[[int], _Batch], numbers: Sequence[int], workers: int) -> Iterator[_Batch]:
    """Draw batches by number one after the other, ahead of their use in ``workers`` processes; 0 draws them here.

    Raises
    ------
    TrainingError
        If a worker was ended from outside. Errors of this tree are raised as ``batch`` raised them.
    """
    own = torch.Generator()  # else asking for batches would change the training's random state
    loader = DataLoader(_Numbered(batch), batch_size=None, sampler=numbers, num_workers=workers, generator=own)
    try:
        for drawn in loader:
            if isinstance(drawn, StemProverError):
                raise drawn
            yield drawn
    except RuntimeError as error:
        if "exited unexpectedly" not in str(error):
            raise
        fix = "take fewer --workers, or give them more memory and shared memory"
        raise TrainingError(f"{workers} processes that draw batches", str(error), fix) from error


def on_device(batch: _Batch, device: torch.device) -> _Batch:
    """Move a batch, a tensor or a dataclass with tensors."""
    if isinstance(batch, Tensor):
        return cast("_Batch", batch.to(device))
    known: Any = batch
    held = {field.name: getattr(batch, field.name) for field in dataclasses.fields(known)}
    moved = {name: value.to(device) for name, value in held.items() if isinstance(value, Tensor)}
    return cast("_Batch", dataclasses.replace(known, **moved))


def share_gradients(accelerator: Accelerator, parameters: Sequence[nn.Parameter]) -> None:
    """Average the gradients over the processes, as one message: together they take the step of one large batch.

    Accelerate would do it in a wrapper's ``forward``, which tasks that call parts of their model go past. A parameter
    that no process used counts as one with a gradient of zero; statistics of batch norms stay each process's own.
    """
    if accelerator.num_processes == 1:
        return
    for parameter in parameters:
        if parameter.grad is None:
            parameter.grad = torch.zeros_like(parameter)
    gradients = [parameter.grad for parameter in parameters if parameter.grad is not None]
    message = accelerator.reduce(torch.cat([gradient.flatten() for gradient in gradients]), "mean")
    for gradient, mean in zip(gradients, message.split([g.numel() for g in gradients]), strict=True):
        gradient.copy_(mean.view_as(gradient))


def any_of(accelerator: Accelerator, here: bool) -> bool:
    """Whether it is so in any process: their clocks differ, and all must do the same."""
    return bool(accelerator.reduce(torch.tensor(float(here), device=accelerator.device), "sum") > 0)
