"""StemProver with one part taken away, on a part of the material; weights are not trained again for it."""

from __future__ import annotations

import contextlib
import dataclasses
from collections.abc import Iterator, Sequence
from unittest.mock import patch

import torch
from quality_runs import ALL, BLIND, OURS, SIBLINGS, Around, Bench, Method
from quality_sets import KITS, SONG, SYNTHETIC, Item, cut

from stemprover.restoration.lora_layers import adapted
from stemprover.restoration.model import Residuals

__all__ = ["ABLATIONS", "ablation_items", "ablations", "truncated"]

RANKS = (4, 1)
_SECONDS = 6.0
_EVERY = 5  # one in five of the synthetic items
ABLATIONS = {
    "no siblings": "each stem alone",
    "no ControlNet": "its residuals are left out",
    "no phase-aware gating": "the zero convolutions see a coherence of 0.5 everywhere",
    "no detector": "everything is repaired, as bleed of severity 0.5",
    "no gate": "every repair is applied as it is; the second opinion keeps its gate",
    "no gate, half": "half of every repair is applied; the second opinion keeps its gate",
    "no second opinion": "networks, vocoder and their gate only",
    "1 step": "quality fast",
    "16 steps": "quality best",
    **{f"LoRA rank {rank}": "the adapters' nearest of this rank (they have more)" for rank in RANKS},
}
"""What each one means."""


def ablation_items(items: Sequence[Item]) -> list[Item]:
    """Choose one piece per set, rather one separated by a network that training never met, and cut it."""
    song = sorted((item for item in items if item.group == SONG), key=lambda item: (item.seen != "no", _informed(item)))
    kits = [item for item in items if item.group == KITS]
    synthetic = [item for item in items if item.group == SYNTHETIC][::_EVERY]
    return [*(cut(item, _SECONDS) for item in (*song[:1], *kits[:1])), *synthetic]


def _informed(item: Item) -> bool:
    return len(item.estimates) < 4


def ablations(bench: Bench) -> Iterator[Method]:
    """Yield StemProver as shipped and with each part taken away."""
    yield bench.method(OURS, SIBLINGS, ALL)
    yield bench.method("no siblings", BLIND, ALL)
    yield bench.method("no ControlNet", SIBLINGS, ALL, around=_without_controlnet(bench))
    yield bench.method("no phase-aware gating", SIBLINGS, ALL, around=_without_gating(bench))
    yield bench.everything("no detector", SIBLINGS, ALL)
    yield bench.without_gate(1.0).method("no gate", SIBLINGS, ALL)
    yield bench.without_gate(0.5).method("no gate, half", SIBLINGS, ALL)
    yield bench.method("no second opinion", SIBLINGS, ALL, second_opinion=False)
    yield bench.method("1 step", SIBLINGS, ALL, quality="fast")
    yield bench.method("16 steps", SIBLINGS, ALL, quality="best")
    for rank in RANKS if bench.adapters else ():
        yield bench.method(f"LoRA rank {rank}", SIBLINGS, ALL, around=_lower_rank(bench, rank))


def _without_controlnet(bench: Bench) -> Around:
    return lambda: patch.object(bench.enhancer.models.pipeline, "_residuals", lambda *_: None)


def _without_gating(bench: Bench) -> Around:
    pipeline = bench.enhancer.models.pipeline

    def ungated(condition, tokens, _key) -> Residuals:  # type: ignore[no-untyped-def]
        flat = dataclasses.replace(condition, coherence=torch.full_like(condition.coherence, 0.5))
        residuals: Residuals = pipeline.model.residuals(flat, tokens)
        return residuals

    return lambda: patch.object(pipeline, "_residuals", ungated)


def _lower_rank(bench: Bench, rank: int) -> Around:
    @contextlib.contextmanager
    def lowered() -> Iterator[None]:
        models = bench.enhancer.models
        models.load_adapters(bench.adapters, bench.enhancer.plugins)
        models._fuse({})
        try:
            with truncated(models.pipeline.model, rank):
                yield
                models._fuse({})
        finally:
            models.pipeline.cache._entries.clear()  # its keys name adapters, not their weights

    return lowered


@contextlib.contextmanager
@torch.no_grad()
def truncated(model: torch.nn.Module, rank: int) -> Iterator[None]:
    """Put the nearest update of a lower rank in the place of every adapter's (Eckart and Young, 1936)."""
    layers = list(adapted(model).values())
    pairs = [(layer.lora_A[name].weight, layer.lora_B[name].weight) for layer in layers for name in layer.lora_A]
    kept = [(down.data.clone(), up.data.clone()) for down, up in pairs]
    try:
        for down, up in pairs:
            _truncate(down, up, rank)
        yield
    finally:
        for (down, up), (first, second) in zip(pairs, kept, strict=True):
            down.data, up.data = first, second


def _truncate(down: torch.Tensor, up: torch.Tensor, rank: int) -> None:
    """Change ``up @ down`` to its best approximation of a rank; both keep their shapes, the rest is zero."""
    q_up, r_up = torch.linalg.qr(up.flatten(1))
    q_down, r_down = torch.linalg.qr(down.flatten(1).T)
    left, size, right = torch.linalg.svd(r_up @ r_down.T)
    size = torch.where(torch.arange(size.numel()) < rank, size, 0.0)
    full = down.shape[0]
    new_up, new_down = torch.zeros_like(up.flatten(1)), torch.zeros_like(down.flatten(1))
    count = min(size.numel(), full)
    new_up[:, :count] = (q_up @ left[:, : size.numel()] * size)[:, :count]
    new_down[:count] = (right[: size.numel()] @ q_down.T)[:count]
    up.data, down.data = new_up.reshape(up.shape), new_down.reshape(down.shape)
