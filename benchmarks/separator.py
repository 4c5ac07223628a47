"""How well networks of `train separator` take a whole song or drum kit apart that they never heard.

    python benchmarks/separator.py --data DATA --song lithium runs/light-a/final runs/light-b/final
    python benchmarks/separator.py --data DATA --song roots stemprover/weights/opinion_kit

Random mixtures, which training validates on, are of other levels than songs, and mostly of songs that were trained on.
Of kits that came with a separator's stems there is a line for these too.
"""

from __future__ import annotations

import argparse
import dataclasses
import tempfile
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import torch

from stemprover.data.cuts import loudness
from stemprover.data.library import Library, open_library
from stemprover.data.sources import Recording
from stemprover.evaluation import sdr, si_sdr
from stemprover.separation.inference import separate
from stemprover.separation.layout import STEMS
from stemprover.separation.trained import find_separators, load_network
from stemprover.spectral.spec import SPEC

SILENT = 3e-3  # root-mean-square; a stem that rests has no SDR
Scores = dict[str, list[tuple[float, float]]]
Stems = dict[str, np.ndarray]


def main() -> None:
    """Print a line per network: SDR (and SI-SDR) of each stem, means over stretches in which it sounds."""
    options = _parser().parse_args()
    for folder in options.networks:
        heard = {name for one in find_separators(folder) for name in one.heard}
        if options.song in heard:
            raise SystemExit(f"{folder} heard {options.song}; name a song out of those that it was trained without")
    with tempfile.TemporaryDirectory() as cache:
        cuts = stretches(open_library(options.data, Path(cache), "train"), options.song, options.seconds)
    for folder in options.networks:
        network = load_network(folder)
        scores: Scores = {}
        if not set(cuts[0].stems) <= set(network.stems):
            given, held = ", ".join(network.stems), ", ".join(cuts[0].stems)
            raise SystemExit(f"{folder} gives {given}, but {options.song} has {held}")
        for cut in cuts:
            found = separate(network, torch.from_numpy(cut.mixture)).numpy()
            _score(cut.stems, dict(zip(network.stems, found, strict=True)), scores)
        print(f"{folder}: {_line(scores)}")
    published: Scores = {}
    for cut in cuts:
        _score(cut.stems, cut.published, published)
    if published:
        print(f"published stems: {_line(published)}")


@dataclasses.dataclass(frozen=True, eq=False)
class Cut:
    """A stretch of music: its stems, what a separator hears, and a separator's stems that were published with it."""

    stems: Stems
    mixture: np.ndarray
    published: Stems


def stretches(library: Library, song: str, seconds: float) -> list[Cut]:
    """Cut a song or kit into stretches at their own levels, arrays of ``[2, samples]``, but for its end."""
    samples = round(seconds * SPEC.sample_rate)
    for kit in library.kits:
        if kit.name == song:  # coded stems do not add up to the coded mixture, which is what users have
            return [
                Cut(
                    _read(kit.references, start, samples),
                    kit.mix.read(start, samples),
                    _read(kit.estimates, start, samples),
                )
                for start in range(0, kit.mix.last - samples, samples)
            ]
    tracks = library.songs[song]
    cuts = []
    for start in range(0, max(track.last for track in tracks) - samples, samples):
        stems = {name: np.zeros((2, samples), np.float32) for name in STEMS}
        for track in tracks:
            stems[track.stem_class] += track.read(start, samples)
        cuts.append(Cut(stems, np.sum(list(stems.values()), 0), {}))
    return cuts


def _read(recordings: Mapping[str, Recording], start: int, samples: int) -> Stems:
    return {name: recording.read(start, samples) for name, recording in recordings.items()}


def _score(stems: Stems, estimates: Stems, scores: Scores) -> None:
    for name, estimate in estimates.items():
        if loudness(stems[name]) > SILENT:
            scores.setdefault(name, []).append((sdr(stems[name], estimate), si_sdr(stems[name], estimate)))


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
