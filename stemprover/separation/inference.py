"""Running a separator over audio of any length."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

__all__ = ["CHUNK", "OVERLAP", "separate"]

_GRID = 16_384  # a multiple of every network's hops and strides: chunks then begin where the whole's frames do
CHUNK = 27 * _GRID
OVERLAP = 3 * _GRID


@torch.no_grad()
def separate(network: Callable[[Tensor], Tensor], audio: Tensor, chunk: int = CHUNK, overlap: int = OVERLAP) -> Tensor:
    """Separate chunk by chunk, crossfading where they overlap; memory beside the result does not grow with the length.

    Parameters
    ----------
    network : callable
        ``[batch, 2, samples] -> [batch, stems, 2, samples]``.
    audio : Tensor
        Float32, shape ``[2, samples]``.
    chunk, overlap : int
        Samples per call, and samples that two neighbours share.

    Returns
    -------
    Tensor
        Float32, shape ``[stems, 2, samples]``; silence stays silent.
    """
    samples = audio.shape[-1]
    if samples <= chunk:
        whole: Tensor = network(audio[None])[0]
        return whole
    result: Tensor | None = None
    # Where the two answers agree their sum must be that answer: weights that add up to one.
    rising = torch.sin(torch.pi / 2 * (torch.arange(overlap) + 0.5) / overlap).square().to(audio)
    for start in range(0, samples - overlap, chunk - overlap):
        stop = min(start + chunk, samples)
        part = network(audio[None, :, start:stop])[0]
        if result is None:
            result = part.new_zeros(part.shape[0], 2, samples)
        if start > 0:
            part[..., :overlap] *= rising
        if stop < samples:
            part[..., -overlap:] *= rising.flip(0)
        result[..., start:stop] += part
    assert result is not None
    return result
