"""One function per training: ``stemprover train base|controlnet|lora|vocoder|gate|separator|arbiter``."""

from __future__ import annotations

import copy
import dataclasses
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import nn

from stemprover.data.library import open_libraries
from stemprover.data.pairs import read_manifest
from stemprover.enhance import Enhancer
from stemprover.errors import OptionError, TrainingError
from stemprover.plugins import base_identity
from stemprover.restoration.lora import default_targets, inject, learn_only, load_adapter, save_adapter
from stemprover.restoration.model import RestorationModel
from stemprover.restoration.weights import forget_origin, load_base, save_base
from stemprover.separation.layout import STEMS
from stemprover.separation.trained import ARCHITECTURES, find_separators
from stemprover.synthesis.arbiter import Arbiter
from stemprover.synthesis.embedded import EmbeddedVocoder
from stemprover.synthesis.gate import DOUBT, RepairGate
from stemprover.training.answers import has_answer, make_answers, require_known, separator_for
from stemprover.training.arbiters import classes_of, find_arbiters
from stemprover.training.arbitration import ArbitrationTask, KnownAnswers
from stemprover.training.dataset import PairBatches
from stemprover.training.gate import GateTask, Outcome, Outcomes
from stemprover.training.gate_draws import draw_pairs
from stemprover.training.gate_kept import make_outcomes
from stemprover.training.gate_opinions import Opinions
from stemprover.training.gate_repairs import Repairs
from stemprover.training.loop import Log, Recipe, fit, read_recipe
from stemprover.training.mixes import RandomMixes, fitting, material, without
from stemprover.training.notes import heard_so_far, require_same
from stemprover.training.restoration import RestorationTask, new_model
from stemprover.training.separation import SeparationTask
from stemprover.training.vocoder import VocoderTask

__all__ = [
    "RECIPES",
    "fit_gate",
    "train_arbiter",
    "train_base",
    "train_controlnet",
    "train_gate",
    "train_lora",
    "train_separator",
    "train_vocoder",
]

RECIPES = Path(__file__).parent / "recipes"
_VARIED = 0.8


def _batches(pairs: Path, recipe: Recipe, artifact: str | None = None) -> tuple[PairBatches, PairBatches]:
    """Training draws, and a fixed validation draw that every run shares."""
    train = PairBatches(pairs, "train", recipe.batch_size, recipe.seed, varied_share=_VARIED, artifact=artifact)
    return train, PairBatches(pairs, "validation", 8, 1234, artifact=artifact)


def _learn_only(model: nn.Module, parts: tuple[nn.Module, ...]) -> None:
    model.requires_grad_(False)
    for part in parts:
        part.requires_grad_(True)


def train_base(
    pairs: Path, out: Path, start: Path | None = None, recipe: Path = RECIPES / "base.yaml", log: Log | None = None,
    overrides: Mapping[str, Any] | None = None,
) -> Path:  # fmt: skip
    """Train UNet, ControlNet and conditioner together on everything, from nothing or from the base in ``start``."""
    numbers = read_recipe(recipe, overrides)
    torch.manual_seed(numbers.seed)
    model = new_model() if start is None else load_base(start)
    task = RestorationTask(model, None, lambda folder: save_base(model, folder))
    return fit(task, *_batches(pairs, numbers), numbers, out, log)


def train_controlnet(
    pairs: Path, out: Path, base: Path, recipe: Path = RECIPES / "controlnet.yaml", log: Log | None = None,
    overrides: Mapping[str, Any] | None = None,
) -> Path:  # fmt: skip
    """Train the ControlNet further with the UNet frozen; returns a pipeline folder."""
    numbers = read_recipe(recipe, overrides)
    model = load_base(base)
    _learn_only(model, (model.controlnet,))
    task = RestorationTask(model, None, lambda folder: save_base(model, folder))
    return fit(task, *_batches(pairs, numbers), numbers, out, log)


def train_lora(
    pairs: Path, out: Path, base: Path, artifact: str, rank: int | None = None, alpha: float | None = None,
    start: Path | None = None,
    recipe: Path = RECIPES / "lora.yaml", log: Log | None = None, overrides: Mapping[str, Any] | None = None,
) -> Path:  # fmt: skip
    """Train one adapter for one artifact, from nothing or from the adapter in ``start``, whose rank and alpha it keeps.

    Without ``start``, rank and alpha are 8 each if nothing is said.

    Returns
    -------
    Path
        A PEFT folder.

    Raises
    ------
    OptionError
        If rank or alpha are given beside ``start``.
    """
    from peft import LoraConfig

    if start is not None and (rank, alpha) != (None, None):
        got = " and ".join(name for name, value in (("--rank", rank), ("--alpha", alpha)) if value is not None)
        raise OptionError("--start by itself: the adapter's own rank and alpha are kept", got, f"leave out {got}")
    rank, alpha = 8 if rank is None else rank, 8.0 if alpha is None else alpha
    numbers = read_recipe(recipe, overrides)
    torch.manual_seed(numbers.seed)
    model = load_base(base)
    identity = base_identity(base / "base.json").sha256
    if start is None:
        inject(model, "new", LoraConfig(r=rank, lora_alpha=alpha, target_modules=default_targets(model)))
    else:
        load_adapter(model, start, "new", base_sha256=identity)
        learn_only(model, "new")
    facts = {
        "artifact": artifact,
        "base_sha256": identity,
        "recipe": json.dumps({name: each for name, each in dataclasses.asdict(numbers).items() if name != "workers"}),
    }
    task = RestorationTask(model, artifact, lambda folder: save_adapter(model, folder, "new", facts))
    return fit(task, *_batches(pairs, numbers, artifact), numbers, out, log)


def train_vocoder(
    pairs: Path, out: Path, base: Path | None = None, start: Path | None = None,
    recipe: Path = RECIPES / "vocoder.yaml", log: Log | None = None, overrides: Mapping[str, Any] | None = None,
) -> Path:  # fmt: skip
    """Train the embedded vocoder, on simulated magnitudes or on a base's; ``start`` continues from a vocoder folder."""
    numbers = read_recipe(recipe, overrides)
    torch.manual_seed(numbers.seed)
    vocoder = EmbeddedVocoder.from_pretrained(start) if start is not None else EmbeddedVocoder()
    stage1: RestorationModel | None = None
    if base is not None:
        stage1 = load_base(base)
        stage1.requires_grad_(False)
    task = VocoderTask(vocoder, stage1, lambda folder: _save(copy.deepcopy(vocoder).half(), folder))
    return fit(task, *_batches(pairs, numbers), numbers, out, log)


def _save(network: EmbeddedVocoder | RepairGate, folder: Path) -> None:
    network.save_pretrained(folder)
    forget_origin(folder)


def train_gate(
    pairs: Path, out: Path, count: int = 1800, harm: float = 28.0, recipe: Path = RECIPES / "gate.yaml",
    opinions: Path | None = None, arbiters: Path | None = None, doubt: float = DOUBT, log: Log | None = None,
    overrides: Mapping[str, Any] | None = None, *, alone: bool = False,
) -> Path:  # fmt: skip
    """Train the gate on repairs of ``count`` training pairs by everything that is installed; returns its folder.

    With ``opinions``, a folder of separators, it learns on their second opinions instead, as the arbiters below
    ``arbiters`` settle them, on stems that come alone if ``alone``. See :class:`~stemprover.synthesis.gate.RepairGate`
    for ``doubt``.

    Raises
    ------
    OptionError
        If there are arbiters or stems alone without opinions.
    ModelError
        If there are no separators in ``opinions``, or no arbiters in ``arbiters``.
    """
    if opinions is None and (arbiters is not None or alone):
        option = "--alone" if arbiters is None else "--arbiters"
        raise OptionError(f"{option} beside --opinions", "no --opinions", "name the separators too")
    numbers = read_recipe(recipe, overrides)
    enhancer = Enhancer.from_pretrained(device="auto")
    judged = None
    if opinions is not None:
        settling = () if arbiters is None else find_arbiters(arbiters)
        judged = Opinions(enhancer, find_separators(opinions), settling, alone)
    parts = {}
    for split, size in (("train", count), ("validation", max(1, count // 4))):
        draws = draw_pairs(read_manifest(pairs, split), size, numbers.seed, alone)
        if judged is None:
            parts[split] = make_outcomes(Repairs(enhancer), draws, out / "repairs" / split, log)
        else:
            fit_draws = [draw for draw in draws if judged.fits(draw)]
            parts[split] = make_outcomes(judged, fit_draws, out / "opinions" / split, log)
    return fit_gate(parts["train"], parts["validation"], harm, numbers, out, log, doubt)


def fit_gate(
    known: Outcome, judged: Outcome, harm: float, numbers: Recipe, out: Path, log: Log | None = None,
    doubt: float = DOUBT,
) -> Path:  # fmt: skip
    """Train a gate on ``known`` repairs, validate it on ``judged`` ones; returns its folder."""
    torch.manual_seed(numbers.seed)
    gate = RepairGate(doubt=doubt)
    gate.measure(known.seen)
    task = GateTask(gate, harm, lambda folder: _save(gate, folder))
    batches = Outcomes(known, numbers.batch_size, numbers.seed), Outcomes(judged, len(judged.seen), 0)
    return fit(task, *batches, numbers, out, log)


def train_separator(
    architecture: str, data: Sequence[Path], out: Path, held_out: Sequence[str] = (), cache: Path | None = None,
    recipe: Path = RECIPES / "separator.yaml", log: Log | None = None, overrides: Mapping[str, Any] | None = None,
    stems: tuple[str, ...] = STEMS,
) -> Path:  # fmt: skip
    """Train one of ``ARCHITECTURES`` without the songs and kits ``held_out`` (patterns); returns its folder.

    ``stems`` are those of songs or of drum kits (``STEMS`` and ``KIT_STEMS`` of :mod:`stemprover.separation.layout`).

    ``cache`` keeps decoded recordings, in ``out/cache`` by default; a pairs folder's can be shared.
    """
    numbers = read_recipe(recipe, overrides)
    torch.manual_seed(numbers.seed)
    model = ARCHITECTURES[architecture](stems=stems)
    train, validation = (
        without(open_libraries(data, cache or out / "cache", split), held_out) for split in ("train", "validation")
    )
    task = SeparationTask(model, heard_so_far(out, material(train)))
    mixes = RandomMixes(train, numbers.batch_size, numbers.seed, stems, _VARIED)
    return fit(task, mixes, RandomMixes(validation, 4, 1234, stems), numbers, out, log)


def train_arbiter(
    pairs: Path, out: Path, opinions: Path, held_out: Sequence[str] = (), kept: Path | None = None,
    recipe: Path = RECIPES / "arbiter.yaml", log: Log | None = None, overrides: Mapping[str, Any] | None = None,
    *, alone: bool = False,
) -> Path:  # fmt: skip
    """Train an arbiter between stems and the answers of separators in ``opinions``; returns its folder.

    Of each pair a separator is asked that never heard any of its music; all must take the same apart, songs or kits.
    Pairs with music of ``held_out`` (patterns) are left out. ``kept`` holds what is known of answers, ``out/answers``
    by default; several trainings can share it. With ``alone`` it is for stems that come alone: separators hear the
    stems themselves.

    Raises
    ------
    TrainingError
        If separators are for different stems, no pair is left, or a pattern fits nothing: a misspelt name would let the
        song into the training.
    ModelError
        If there are no separators in ``opinions``.
    """
    numbers = read_recipe(recipe, overrides)
    torch.manual_seed(numbers.seed)
    separators = find_separators(opinions)
    require_known(separators)
    if len({one.stems for one in separators}) > 1:
        got = "; ".join(sorted({", ".join(one.stems) for one in separators}))
        raise TrainingError("separators that take the same apart", got, "name a folder of some of them")
    everything = read_manifest(pairs)
    left_out = fitting(frozenset().union(*(pair.music for pair in everything)), held_out)
    model = Arbiter(classes_of(separators[0].stems), alone=alone)
    chosen = {
        split: [
            pair for pair in everything
            if pair.split == split and pair.stem in model.classes and has_answer(pair, alone)
            and not pair.music & left_out and separator_for(pair, separators) is not None
        ]
        for split in ("train", "validation")
    }  # fmt: skip
    for split, found in chosen.items():
        if not found:
            expected = f"{split} pairs in {pairs}{'' if alone else ' with siblings'}, of {', '.join(model.classes)}"
            got = f"none whose music a separator in {opinions} never heard, without {', '.join(held_out) or 'nothing'}"
            raise TrainingError(expected, got, "name separators that trained without some of it, or leave less out")
    folder = kept or out / "answers"
    make_answers([*chosen["train"], *chosen["validation"]], separators, folder, log, alone)
    require_same(out / "made_with.json", {"stems": "alone" if alone else "beside others"})
    drawn = KnownAnswers(
        chosen["train"], folder, model.classes, numbers.batch_size, numbers.seed,
        varied=True, cleaner=not alone,  # a cleaner stem alone would have another answer
    )  # fmt: skip
    validation = KnownAnswers(chosen["validation"], folder, model.classes, 32, 1234)
    task = ArbitrationTask(model, heard_so_far(out, drawn.music))
    return fit(task, drawn, validation, numbers, out, log)
