"""What the detectors find in pairs: repairs are trained on the regions that they will be given.

``detections.jsonl`` lies beside the manifest and holds one line per pair: its id, what is found in the stem alone
(``blind``) and what is found with the siblings.
"""

from __future__ import annotations

import dataclasses
import functools
import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import numpy as np
from torch import Tensor

from stemprover.data.pairs import Pair, load, read_manifest
from stemprover.data.workers import in_processes
from stemprover.detection import Detection
from stemprover.enhance import Enhancer
from stemprover.spectral.spec import SPEC
from stemprover.stems import Stem, StemSet
from stemprover.synthesis.blend import region_map

__all__ = ["DETECTIONS", "Found", "detect_pairs", "maps_of", "read_detections", "strongest"]

DETECTIONS = "detections.jsonl"


@dataclasses.dataclass(frozen=True, slots=True)
class Found:
    """What is found in one pair, by whether the detectors saw the siblings."""

    blind: tuple[Detection, ...]
    siblings: tuple[Detection, ...]


def detect_pairs(folder: Path, progress: Callable[[int], None] | None = None, jobs: int = 1) -> int:
    """Run the installed detectors on the pairs of a folder that have no line yet; returns how many were done.

    Parameters
    ----------
    folder : Path
        A pairs folder.
    progress : callable, optional
        Called with 1 after each pair.
    jobs : int
        Parallel processes; what is found does not depend on it, the order of the lines does.

    Raises
    ------
    TrainingError, OptionError
        If the folder holds no pairs, or no detectors are installed.
    """
    _enhancer.cache_clear()  # other detectors may be installed since
    known = read_detections(folder)
    missing = [pair for pair in read_manifest(folder) if pair.id not in known]
    with (folder / DETECTIONS).open("a", encoding="utf-8") as file:
        for pair, found in in_processes(_detect, missing, jobs):
            file.write(json.dumps({"id": pair.id, **dataclasses.asdict(found)}) + "\n")
            file.flush()
            if progress is not None:
                progress(1)
    return len(missing)


@functools.lru_cache(maxsize=1)
def _enhancer() -> Enhancer:
    return Enhancer.from_pretrained(device="cpu")


def _detect(pairs: Sequence[Pair]) -> list[tuple[Pair, Found]]:
    enhancer, found = _enhancer(), []
    for pair in pairs:
        audio = load(pair)
        stem = Stem.from_array(audio.artifact, pair.sample_rate, pair.stem)
        mixture = Stem.from_array(audio.mixture, pair.sample_rate)
        found.append((pair, Found(enhancer.detect(stem), enhancer.detect(StemSet((stem,), mixture)))))
    return found


def read_detections(folder: Path) -> dict[str, Found]:
    """Read what was found, by pair; empty if :func:`detect_pairs` has not run."""
    path = folder / DETECTIONS
    lines = path.read_text(encoding="utf-8").rpartition("\n")[0].splitlines() if path.is_file() else []
    rows = [json.loads(line) for line in lines]
    return {row["id"]: Found(_detections(row["blind"]), _detections(row["siblings"])) for row in rows}


def _detections(rows: Sequence[Mapping[str, object]]) -> tuple[Detection, ...]:
    return tuple(Detection(**row) for row in rows)  # type: ignore[arg-type]


def maps_of(found: Sequence[Detection], start_frame: int, frames: int) -> tuple[Tensor, Tensor]:
    """Draw severity and region of detections, each ``[n_bands, frames]``, as the renderer does."""
    offset = start_frame / SPEC.frame_rate
    places = [(one.start_s - offset, one.end_s - offset, one.low_hz, one.high_hz) for one in found]
    severity = region_map([(*place, one.severity) for place, one in zip(places, found, strict=True)], frames)
    return severity, region_map([(*place, 1.0) for place in places], frames)


def strongest(found: Sequence[Detection], start_frame: int, frames: int) -> Detection | None:
    """The detection that most of a window is about, as the renderer chooses it."""
    first, last = start_frame / SPEC.frame_rate, (start_frame + frames) / SPEC.frame_rate
    inside = [one for one in found if one.start_s < last and one.end_s > first]
    weights = [one.severity * one.confidence * (one.end_s - one.start_s) for one in inside]
    return inside[int(np.argmax(weights))] if inside else None
