"""What second opinions make of stems whose music nobody asked has heard, before any gate has its say.

    python benchmarks/opinions.py --pairs runs/pairs --arbiters runs/arbiters runs/judges

Prints the mean gain of SI-SDR in dB and the share of pairs made worse by more than 0.1 dB when half or all of a stem is
replaced by what a separator says, and by what an arbiter settles between the two, by stem class, separator and SI-SDR
before. Of each pair the first separator and the first arbiter are asked that never heard any of its music; where
arbiters are for stems that come alone, separators hear the stems themselves.
"""

from __future__ import annotations

import argparse
import collections
import random
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import torch
from gate import show

from stemprover.data.pairs import Pair, PairAudio, load, read_manifest
from stemprover.evaluation import si_sdr
from stemprover.separation.trained import TrainedSeparator, find_separators, load_network
from stemprover.synthesis.opinion import answer_of
from stemprover.training.answers import has_answer, separator_for
from stemprover.training.arbiters import TrainedArbiter, arbiter_for, find_arbiters, loaded

SHARES = (0.5, 1.0)
LEAST_DB, MOST_DB = -20.0, 40.0  # beyond them nobody hears a difference
Asked = tuple[Pair, TrainedSeparator, TrainedArbiter]


def unknown(
    pairs: Sequence[Pair], separators: Sequence[TrainedSeparator], arbiters: Sequence[TrainedArbiter]
) -> Iterator[Asked]:
    """Pairs, and who is asked about them."""
    for pair in pairs:
        separator, arbiter = separator_for(pair, separators), arbiter_for(pair, arbiters)
        if separator is not None and arbiter is not None and has_answer(pair, arbiter.alone):
            yield pair, separator, arbiter


@torch.inference_mode()
def gains(asked: Asked, audio: PairAudio) -> list[float]:
    """Gain of SI-SDR for each of ``SHARES``, of the answer and of what is settled."""
    pair, separator, arbiter = asked
    heard = audio.artifact if arbiter.alone else audio.mixture
    stem, mixture = (torch.from_numpy(one)[None].float() for one in (audio.artifact, heard))
    answer = answer_of(load_network(separator.folder)(mixture), mixture, separator.stems, pair.stem)
    settled = loaded(arbiter.folder, torch.device("cpu"), arbiter.alone).settle(stem, answer, mixture, pair.stem)
    changes = [each[0].numpy() - audio.artifact for each in (answer, settled)]
    before = limited(audio.clean, audio.artifact)
    return [limited(audio.clean, audio.artifact + share * each) - before for each in changes for share in SHARES]


def limited(clean: np.ndarray, stem: np.ndarray) -> float:
    """SI-SDR between ``LEAST_DB`` and ``MOST_DB``."""
    return min(max(si_sdr(clean, stem), LEAST_DB), MOST_DB)


def groups(pair: Pair, audio: PairAudio) -> tuple[str, ...]:
    """Tables that a pair belongs to."""
    if pair.sdr_db is None:
        return ("clean",)
    before = limited(audio.clean, audio.artifact)
    level = "below 0 dB" if before < 0 else "0 to 8 dB" if before < 8 else "over 8 dB"
    return "all but clean", f"before: {level}", f"stem: {pair.stem}", f"separator: {pair.separator}"


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("separators", type=Path)
    parser.add_argument("--arbiters", type=Path, required=True)
    parser.add_argument("--pairs", type=Path, required=True)
    parser.add_argument("--split", default="train", help="networks that never heard them learnt nothing from them")
    parser.add_argument("--count", type=int, default=200)
    parser.add_argument("--seed", type=int, default=5)
    chosen = parser.parse_args()
    pairs = read_manifest(chosen.pairs, chosen.split)
    everyone = list(unknown(pairs, find_separators(chosen.separators), find_arbiters(chosen.arbiters)))
    if not everyone:
        parser.error(f"no pair in {chosen.pairs} holds only music that a separator and an arbiter never heard")
    random.Random(chosen.seed).shuffle(everyone)
    tables: dict[str, list[list[float]]] = collections.defaultdict(list)
    for asked in everyone[: chosen.count]:
        audio = load(asked[0])
        if np.square(audio.clean).mean() < 1e-6:
            continue
        row = gains(asked, audio)
        for group in groups(asked[0], audio):
            tables[group].append(row)
    names = [f"{name} {share:g}" for name in ("answer", "settled") for share in SHARES]
    for group, rows in sorted(tables.items()):
        show(group, np.array(rows), "pairs", names)


if __name__ == "__main__":
    main()
