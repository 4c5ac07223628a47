"""What networks of second opinions make of stems whose music they never heard, before any gate has its say.

    python benchmarks/opinions.py --pairs runs/pairs runs/separator_a/final runs/refiner_a/final
    python benchmarks/opinions.py --pairs runs/pairs --alone runs/refiner_a/final

Prints, for each network, the mean gain of SI-SDR in dB and the share of pairs made worse by more than 0.1 dB when half
or all of a stem is replaced by what the network hears, by stem class, separator and SI-SDR before. With ``--alone``
nothing but the stem is known. Networks are compared on pairs that none of them heard any music of.
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
from stemprover.separation.refiner import listener
from stemprover.separation.trained import TrainedSeparator, find_network, load_network
from stemprover.spectral.stft import istft
from stemprover.synthesis.gate import constant_gate
from stemprover.synthesis.opinion import OPINIONS, Judge, SecondOpinion

SHARES = (0.5, 1.0)
LEAST_DB, MOST_DB = -20.0, 40.0  # beyond them nobody hears a difference


def unknown(pairs: Sequence[Pair], networks: Sequence[TrainedSeparator], alone: bool) -> Iterator[Pair]:
    """Pairs of the networks' classes with music that none of them heard; no instrumentals ``alone``, unlike voices."""
    heard = frozenset[str]().union(*(network.heard for network in networks))
    with_rest = "vocals" in networks[0].stems and not alone
    stems = {*networks[0].stems, *(("instrumental",) if with_rest else ())}.intersection(OPINIONS)
    for pair in pairs:
        if pair.has_siblings and pair.stem in stems and not heard & pair.music:
            yield pair


@torch.inference_mode()
def gains(network: TrainedSeparator, pair: Pair, audio: PairAudio, alone: bool) -> list[float]:
    """Gain of SI-SDR for each of ``SHARES``."""
    stem, mixture = (torch.from_numpy(one)[None].float() for one in (audio.artifact, audio.mixture))
    opinion = SecondOpinion({network.stems: Judge(listener(load_network(network.folder)), constant_gate(1.0))})
    heard = opinion.of(stem, stem if alone else mixture, pair.stem)
    assert heard is not None
    change = istft(heard.spectrum, stem.shape[-1]).numpy() - audio.artifact
    before, *after = (limited(audio.clean, audio.artifact + share * change) for share in (0.0, *SHARES))
    return [one - before for one in after]


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
    parser.add_argument("networks", type=Path, nargs="+")
    parser.add_argument("--pairs", type=Path, required=True)
    parser.add_argument("--split", default="train", help="networks that never heard them learnt nothing from them")
    parser.add_argument("--alone", action="store_true")
    parser.add_argument("--count", type=int, default=200)
    parser.add_argument("--seed", type=int, default=5)
    chosen = parser.parse_args()
    networks = [find_network(folder) for folder in chosen.networks]
    if len({network.stems for network in networks}) > 1:
        parser.error("name networks of songs, or networks of kits")
    pairs = list(unknown(read_manifest(chosen.pairs, chosen.split), networks, chosen.alone))
    if not pairs:
        parser.error(f"no pair in {chosen.pairs} holds only music that none of them heard")
    random.Random(chosen.seed).shuffle(pairs)
    tables: dict[str, list[list[float]]] = collections.defaultdict(list)
    for pair in pairs[: chosen.count]:
        audio = load(pair)
        if np.square(audio.clean).mean() < 1e-6:
            continue
        row = [gain for network in networks for gain in gains(network, pair, audio, chosen.alone)]
        for group in groups(pair, audio):
            tables[group].append(row)
    names = [f"{folder} {share:g}" for folder in chosen.networks for share in SHARES]
    for group, rows in sorted(tables.items()):
        show(group, np.array(rows), "pairs", names)


if __name__ == "__main__":
    main()
