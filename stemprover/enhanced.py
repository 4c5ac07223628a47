"""What goes into a run besides audio, and what comes out."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from stemprover import __version__
from stemprover.consistency import require_cover
from stemprover.detection.types import Detection
from stemprover.errors import OptionError, StemSetError
from stemprover.plugins.loader import Fault
from stemprover.routing import AdapterChoice, Applied, Plan
from stemprover.spectral.segments import Segment
from stemprover.stems import Stem, StemSet

__all__ = ["QUALITY_STEPS", "Enhanced", "Settings"]

QUALITY_STEPS: Mapping[str, int] = {"fast": 1, "balanced": 4, "best": 16}
"""Sampling steps of stage 1 by quality."""


@dataclasses.dataclass(frozen=True, slots=True)
class Settings:
    """How stems are repaired.

    Attributes
    ----------
    auto_detect : bool
        Find artifacts and choose adapters for them.
    adapters : tuple of AdapterChoice
        Adapters to use for what they claim; without ``auto_detect``, on the whole file.
    without : tuple of str
        Adapters never to use.
    quality : str
        ``fast``, ``balanced`` or ``best``.
    strength : float
        Wet/dry of all repairs, 0 (identity) to 1; at 1 as much of what the networks predict is applied as the gate
        expects to help.
    seed : int
        Seed of the sampling noise.
    generic : bool
        Let the base alone try what no adapter repairs.
    mixture_consistent : bool
        Make the stems of a set that hold each part of the song once sum to the mixture.
    vocoder : str
        ``embedded``, ``griffin-lim``, ``input-phase`` or a plugin's.
    second_opinion : bool
        Let another separator's idea of the stem take part, where siblings or the mixture are known.
    """

    auto_detect: bool = False
    adapters: tuple[AdapterChoice, ...] = ()
    without: tuple[str, ...] = ()
    quality: str = "balanced"
    strength: float = 1.0
    seed: int = 0
    generic: bool = False
    mixture_consistent: bool = False
    vocoder: str = "embedded"
    second_opinion: bool = True

    @property
    def steps(self) -> int:
        """Sampling steps."""
        return QUALITY_STEPS[self.quality]

    def check(self) -> None:
        """Check values, whatever the stems are.

        Raises
        ------
        OptionError
        """
        if not self.auto_detect and not self.adapters:
            fix = "add --auto-detect to find artifacts, or name adapters, for example --adapter drumbleed"
            raise OptionError("--auto-detect or --adapter NAME", "neither", fix)
        if self.quality not in QUALITY_STEPS:
            raise OptionError(f"a quality ({', '.join(QUALITY_STEPS)})", self.quality, "use for example balanced")
        if not (math.isfinite(self.strength) and 0.0 <= self.strength <= 1.0):
            raise OptionError("a strength from 0 to 1", f"{self.strength}", "use for example --strength 0.7")

    def validate(self, stems: StemSet) -> None:
        """Check values, and whether they suit the stems.

        Raises
        ------
        OptionError, StemSetError
        """
        self.check()
        if self.mixture_consistent and (stems.mixture is None or len(stems.stems) < 2):
            got = f"{len(stems.stems)} stem(s) {'with' if stems.mixture else 'without'} a mixture"
            fix = "hand in the folder of all stems and the mixture (mix.wav in it, or --mixture)"
            raise OptionError("a set of stems and its mixture for --mixture-consistent", got, fix)
        counts = {stem.format.channels for stem in (*stems.stems, *([stems.mixture] if stems.mixture else []))}
        if self.mixture_consistent and len(counts) > 1:
            got = " and ".join(str(count) for count in sorted(counts))
            fix = "leave --mixture-consistent out"
            raise StemSetError("stems and mixture with the same channels to sum up", got, fix)
        if self.mixture_consistent:
            require_cover(stems)


@dataclasses.dataclass(frozen=True)
class Enhanced:
    """One stem after a run.

    Attributes
    ----------
    stem : Stem
        The input.
    settings : Settings
    plan : Plan
        What was (or, with ``plan_only``, would be) done.
    detections : tuple of Detection
    lanes : Mapping[str, ndarray]
        Highest probability over bands per detection cell, by artifact.
    segments : tuple of Segment
        The stretches that were planned to be repaired; everything else is bit-identical to the input.
    applied : tuple of Applied
        The same once they were repaired, and what the gates left of each change.
    timings_s : Mapping[str, float]
        Seconds per stage and in total.
    output : Path or None
        The file that was written.
    native : ndarray or None
        Result in the input's sample format, ``[channels, samples]``, when no file was written.
    faults : tuple of Fault
        Plugins that failed and were left out.
    meanings : Mapping[str, str]
        What the artifacts are that plugins added and that were found here.
    late_samples : int
        By how many samples the stem is late against the mixture or most of its siblings; negative when early.
    """

    stem: Stem
    settings: Settings
    plan: Plan
    detections: tuple[Detection, ...]
    lanes: Mapping[str, np.ndarray]
    segments: tuple[Segment, ...]
    timings_s: Mapping[str, float]
    output: Path | None = None
    native: np.ndarray | None = dataclasses.field(default=None, repr=False)
    faults: tuple[Fault, ...] = ()
    meanings: Mapping[str, str] = dataclasses.field(default_factory=dict)
    late_samples: int = 0
    applied: tuple[Applied, ...] = ()

    @property
    def sample_rate(self) -> int:
        """Sample rate in Hz, the input's."""
        return self.stem.format.sample_rate

    @property
    def audio(self) -> np.ndarray:
        """The result in full-scale units, float64 ``[channels, samples]``; read from the file if one was written.

        Raises
        ------
        OptionError
            After ``plan_only``.
        """
        if self.output is not None:
            with Stem.open(self.output) as written:
                return written.read(0, written.format.samples)
        if self.native is None:
            raise OptionError("a run that renders audio", "plan_only", "run it without plan_only")
        return self.native / 2.0**31 if self.native.dtype == np.int32 else self.native.astype(np.float64)

    @property
    def planned_s(self) -> float:
        """Seconds of audio inside segments that were planned to be repaired."""
        return _covered_s(self.segments)

    @property
    def repaired_s(self) -> float:
        """Seconds of audio inside repaired segments: those of which the gate let something through.

        After ``plan_only`` those that are planned.
        """
        return _covered_s([one.segment for one in self.applied if one.share > 0.0]) if self.applied else self.planned_s

    @property
    def report(self) -> dict[str, Any]:
        """What was found and done, as in the JSON report; :meth:`to_dict`."""
        return self.to_dict()

    def to_dict(self) -> dict[str, Any]:
        """Return the JSON object of ``stemprover enhance --json``."""
        form = self.stem.format
        keys = ("start_s", "end_s", "artifact", "adapter", "strength", "low_hz", "high_hz")
        settings = dataclasses.asdict(self.settings)
        settings["adapters"] = [f"{choice.name}:{choice.strength:g}" for choice in self.settings.adapters]
        return {
            "version": __version__,
            "input": str(self.stem.path or self.stem.name),
            "output": None if self.output is None else str(self.output),
            "sample_rate": form.sample_rate,
            "channels": form.channels,
            "samples": form.samples,
            "late_samples": self.late_samples,
            "moved_samples": self.stem.offset,
            "duration_s": form.samples / form.sample_rate,
            "detections": [_rounded(dataclasses.asdict(found)) for found in self.detections],
            "artifact_types": dict(self.meanings),
            "plan": [_rounded({key: getattr(item, key) for key in keys}) for item in self.plan.items],
            "unrepaired": [_rounded(dataclasses.asdict(found)) for found in self.plan.unrepaired],
            "applied": [_told(one) for one in self.applied],
            "repaired_s": round(self.repaired_s, 6),
            "timings_s": {stage: round(spent, 4) for stage, spent in self.timings_s.items()},
            "settings": settings | {"stem": self.stem.stem_class},
            "faults": [dataclasses.asdict(fault) for fault in self.faults],
        }


def _told(one: Applied) -> dict[str, Any]:
    where = {"start_s": one.segment.start_s, "end_s": one.segment.stop_s}
    return _rounded({**where, "share": one.share, "opinion": one.opinion})


def _covered_s(segments: Sequence[Segment]) -> float:
    """Seconds inside segments in the order of their beginnings; where two overlap, once."""
    total, reach = 0.0, 0.0
    for segment in segments:
        total += max(0.0, segment.stop_s - max(segment.start_s, reach))
        reach = max(reach, segment.stop_s)
    return total


def _rounded(fields: dict[str, Any]) -> dict[str, Any]:
    """Floats with six decimals: JSON for people."""
    return {key: round(value, 6) if isinstance(value, float) else value for key, value in fields.items()}
