"""What arbiters learn from: separators' answers about music that they never heard, in products of bands and frames."""

from __future__ import annotations

import os
import platform
from collections.abc import Sequence
from pathlib import Path

import torch
from accelerate import PartialState
from safetensors.torch import save_file
from torch import Tensor

from stemprover.data.pairs import Pair, load
from stemprover.errors import TrainingError
from stemprover.plugins import folder_sha256
from stemprover.separation.inference import separate
from stemprover.separation.layout import KIT_STEMS, STEMS
from stemprover.separation.trained import TrainedSeparator, load_network
from stemprover.spectral.stft import stft
from stemprover.synthesis.arbiter import ARBITER_SPEC, products
from stemprover.synthesis.opinion import answer_of, has_opinion, told_by
from stemprover.training.loop import Log
from stemprover.training.notes import require_same

__all__ = ["SIGNALS", "answers_path", "has_answer", "make_answers", "require_known", "separator_for"]

SIGNALS = ("stem", "answer", "mixture", "clean")
"""Whose products are kept; see :func:`~stemprover.synthesis.arbiter.products`."""


def require_known(separators: Sequence[TrainedSeparator]) -> None:
    """Raise :class:`TrainingError` if a separator takes neither songs nor drum kits apart."""
    for separator in separators:
        if separator.stems not in (STEMS, KIT_STEMS):
            got = f"{separator.folder} for {', '.join(separator.stems)}"
            raise TrainingError(f"separators for {', '.join(STEMS)} or {', '.join(KIT_STEMS)}", got, "leave it out")


def has_answer(pair: Pair, alone: bool) -> bool:
    """Whether there is something to learn from a pair: beside others siblings, alone what has opinions alone."""
    return has_opinion(pair.stem, (pair.stem,)) if alone else pair.has_siblings


def separator_for(pair: Pair, separators: Sequence[TrainedSeparator]) -> TrainedSeparator | None:
    """Return the first separator that knows a pair's class and never heard any of its music."""
    return next((one for one in separators if told_by(pair.stem, one.stems) and not one.heard & pair.music), None)


def answers_path(folder: Path, pair: Pair) -> Path:
    """Where the products of a pair are kept, which another folder's pair of this number does not share."""
    return folder / f"{pair.id}-{pair.sha256['artifact'][:12]}.safetensors"


def make_answers(
    pairs: Sequence[Pair], separators: Sequence[TrainedSeparator], folder: Path, log: Log | None = None,
    alone: bool = False,
) -> None:  # fmt: skip
    """Keep the products of pairs in ``folder``; several processes share the work, and what is there is used.

    Parameters
    ----------
    pairs : sequence of Pair
        Each with a separator that never heard it.
    separators : sequence of TrainedSeparator
        Of each pair the one that :func:`separator_for` names is asked.
    folder : Path
        Holds one file per pair.
    log : callable, optional
        Told how many are done.
    alone : bool
        Whether separators hear the stems themselves, as if they were mixtures, and what is kept knows no others.

    Raises
    ------
    TrainingError
        If what the folder holds is by others, every separator has heard a pair, or its audio cannot be read.
    ModelError
        If a separator cannot be loaded.
    """
    state = PartialState(cpu=not torch.accelerator.is_available())
    folder.mkdir(parents=True, exist_ok=True)
    made_with = {f"separator {number}": folder_sha256(one.folder) for number, one in enumerate(separators, 1)}
    made_with |= {"spec": ARBITER_SPEC.digest(), **({"what separators hear": "stems alone"} if alone else {})}
    require_same(folder / "made_with.json", made_with, "--kept")
    for number in range(state.process_index, len(pairs), state.num_processes):
        path = answers_path(folder, pairs[number])
        if not path.is_file():
            # Several trainings may share the folder.
            partial = path.with_suffix(f".{platform.node()}.{os.getpid()}.partial")
            save_file({"products": _products(pairs[number], separators, state.device, alone)}, partial)
            partial.replace(path)
        if log is not None:
            log({"step": 0.0, "answered": number + 1.0})
    state.wait_for_everyone()


@torch.inference_mode()
def _products(pair: Pair, separators: Sequence[TrainedSeparator], device: torch.device, alone: bool) -> Tensor:
    """Of the signals of one pair, ``[10, n_bands, frames]``; a stem alone is its own mixture."""
    separator = separator_for(pair, separators)
    if separator is None:
        fix = "name others that trained without some of it"
        raise TrainingError("a separator that never heard a pair's music", f"none for pair {pair.id}", fix)
    audio = load(pair)
    heard = audio.artifact if alone else audio.mixture
    stem, mixture, clean = (torch.from_numpy(each).to(device) for each in (audio.artifact, heard, audio.clean))
    separated = separate(load_network(separator.folder, device), mixture)
    answer = answer_of(separated[None], mixture[None], separator.stems, pair.stem)[0]
    spectra = [stft(each[None], ARBITER_SPEC) for each in (stem, answer, mixture, clean)]
    return products(spectra)[0].cpu()
