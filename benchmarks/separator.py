"""How well networks of `train separator` take a whole song apart that they never heard.

    python benchmarks/separator.py --data DATA --song lithium stemprover/weights/separator runs/light/final

Random mixtures, which training validates on, are of other levels than songs, and mostly of songs that were trained on.
"""

from __future__ import annotations

import argparse
import tempfile
from pathlib import Path

import numpy as np
import torch

from stemprover.data.cuts import loudness
from stemprover.data.library import Library, open_library
from stemprover.evaluation import sdr, si_sdr
from stemprover.separation.inference import separate
from stemprover.separation.layout import STEMS
from stemprover.separation.trained import find_separators, load_network
from stemprover.spectral.spec import SPEC

SILENT = 3e-3  # root-mean-square; a stem that rests has no SDR
Scores = dict[str, list[tuple[float, float]]]


def main() -> None:
    """Print a line per network: SDR (and SI-SDR) of each stem, means over stretches in which it sounds."""
    options = _parser().parse_args()
    for folder in options.networks:
        heard = {name for one in find_separators(folder) for name in one.heard}
        if options.song in heard:
            raise SystemExit(f"{folder} heard {options.song}; name a song out of those that it was trained without")
    with tempfile.TemporaryDirectory() as cache:
        songs = stretches(open_library(options.data, Path(cache), "train"), options.song, options.seconds)
    for folder in options.networks:
        network = load_network(folder)
        scores: Scores = {name: [] for name in STEMS}
        for stems in songs:
            estimates = separate(network, torch.from_numpy(sum(stems.values()))).numpy()
            for name, estimate in zip(STEMS, estimates, strict=True):
                if loudness(stems[name]) > SILENT:
                    scores[name].append((sdr(stems[name], estimate), si_sdr(stems[name], estimate)))
        print(f"{folder}: {_line(scores)}")


def stretches(library: Library, song: str, seconds: float) -> list[dict[str, np.ndarray]]:
    """Cut a song into stretches of stems at their own levels, each ``[2, samples]``, but for its end."""
    samples = round(seconds * SPEC.sample_rate)
    tracks = library.songs[song]
    cut = []
    for start in range(0, max(track.last for track in tracks) - samples, samples):
        stems = {name: np.zeros((2, samples), np.float32) for name in STEMS}
        for track in tracks:
            stems[track.stem_class] += track.read(start, samples)
        cut.append(stems)
    return cut


def _line(scores: Scores) -> str:
    means = {name: np.mean(found, 0) for name, found in scores.items() if found}
    parts = [f"{name} {whole:.1f} ({scaled:.1f}) dB of {len(scores[name])}" for name, (whole, scaled) in means.items()]
    whole, scaled = np.mean(list(means.values()), 0)
    return f"{', '.join(parts)}; mean SDR {whole:.2f} dB, SI-SDR {scaled:.2f} dB"


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("networks", nargs="+", type=Path, metavar="FOLDER")
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--song", required=True)
    parser.add_argument("--seconds", type=float, default=20.0)
    return parser


if __name__ == "__main__":
    main()
