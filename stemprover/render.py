"""The second pass over a stem: repair the planned segments and give back difference signals, block by block."""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Callable, Iterator, Mapping, Sequence

import numpy as np
import torch
from torch import Tensor

from stemprover.analysis import read_sum_of_siblings
from stemprover.plugins import PluginRunner, SegmentEvent
from stemprover.progress import Progress
from stemprover.restoration.control import Condition, control_image, phase_coherence
from stemprover.restoration.preprocess import Preprocessing
from stemprover.routing import Applied, PlanItem
from stemprover.spectral.codec import from_image
from stemprover.spectral.overlap import OverlapAdd
from stemprover.spectral.phase import BandFeatures, band_features
from stemprover.spectral.segments import Segment
from stemprover.spectral.spatial import spatial_features, swapped
from stemprover.spectral.spec import SPEC
from stemprover.spectral.stft import istft, stft
from stemprover.stems import Stem, StemSet
from stemprover.synthesis.base import VocoderInput
from stemprover.synthesis.blend import change_of, region_map, silence_gate
from stemprover.synthesis.gate import Gate
from stemprover.synthesis.judged import judged, led_towards
from stemprover.synthesis.opinion import Heard, SecondOpinion
from stemprover.timebase import Timebase
from stemprover.windows import FRAMES, WINDOW, Window, window_start

__all__ = ["Renderer", "Stages"]

_GROUP = 4  # segments at a time; spectra of eight are over 32 MB, which the C library asks the system for each time
_SILENCE_S = 0.05
"""Digital silence of this length stays silent; shorter gaps may be filled."""


@dataclasses.dataclass(frozen=True)
class Stages:
    """The networks of a run.

    Attributes
    ----------
    restore : callable
        Stage 1: condition, adapter scales and seeds to restored images ``[batch, n_bands, frames]``.
    synthesise : callable
        Stage 2: to the complex spectrum ``[batch, n_bins, frames]`` of the repaired stem.
    gate : callable
        Evidence of each repair to the share of it that each band gets, ``[batch, n_bands]``.
    opinion : SecondOpinion, optional
        Another network's idea of the stem, applied to what repairs have left.
    device : torch.device
        Where they run.
    seed : int
        Seed of the run; each segment derives its own from its position.
    """

    restore: Callable[[Condition, Mapping[str, float], Sequence[int]], Tensor]
    synthesise: Callable[[VocoderInput], Tensor]
    gate: Gate
    opinion: SecondOpinion | None
    device: torch.device
    seed: int


class Renderer:
    """Repairs one stem.

    Parameters
    ----------
    stems, stem : StemSet, Stem
        The stem and what it came with.
    items : sequence of PlanItem
        What to repair.
    segments : sequence of Segment
        Where; together they cover all items.
    stages : Stages
        The networks.
    runner : PluginRunner
        Preprocessors, and observers that are told before and after each segment.
    progress : Progress
        Told about finished segments.

    Attributes
    ----------
    timings : dict
        Seconds spent in each stage so far.
    applied : list of Applied
        What the gates left of the changes of finished segments.
    """

    def __init__(
        self,
        stems: StemSet,
        stem: Stem,
        items: Sequence[PlanItem],
        segments: Sequence[Segment],
        stages: Stages,
        runner: PluginRunner,
        progress: Progress,
    ) -> None:
        self.stems, self.stem, self.items, self.segments = stems, stem, tuple(items), tuple(segments)
        self.stages, self.runner, self.progress = stages, runner, progress
        self.timebase = Timebase(stem.format.sample_rate)
        self._view = Preprocessing(runner)
        self._silence = max(1, round(stem.format.sample_rate * _SILENCE_S))
        self.timings = {"restore": 0.0, "synthesise": 0.0, "opinion": 0.0}
        self.applied: list[Applied] = []

    def blocks(self, size: int) -> Iterator[np.ndarray]:
        """Yield the difference, exactly zero outside segments, as float64 ``[channels, n]``, ``n`` at most ``size``."""
        total, rate = self.stem.format.samples, self.stem.format.sample_rate
        sum_of_repairs = OverlapAdd(self.stem.format.channels)
        groups = iter([self.segments[i : i + _GROUP] for i in range(0, len(self.segments), _GROUP)])
        pending = next(groups, None)
        self.progress.start("restore", len(self.segments))
        for start in range(0, total, size):
            stop = min(start + size, total)
            while pending is not None and pending[0].at(rate, total).start < stop:
                for segment, difference in zip(pending, self._repair(pending), strict=True):
                    sum_of_repairs.add(segment.at(rate, total), difference)
                self.progress.advance("restore", len(pending))
                pending = next(groups, None)
            yield sum_of_repairs.take(stop)
        self.progress.finish("restore")

    @torch.inference_mode()
    def _repair(self, segments: Sequence[Segment]) -> list[np.ndarray]:
        """Repair a group of segments, batched by adapter set; returns differences at the file's rate."""
        windows = [self._window(segment) for segment in segments]
        for window in windows:
            self.runner.before_segment(self._event(window, window.stem))
        batches: dict[tuple[tuple[tuple[str, float], ...], int], list[int]] = {}
        for index, window in enumerate(windows):
            batches.setdefault((tuple(sorted(window.scales.items())), window.twin), []).append(index)
        done: dict[int, np.ndarray] = {}
        for (scales, twin), indices in batches.items():
            chosen = [windows[index] for index in indices]
            for index, window, repaired in zip(indices, chosen, self._run(chosen, dict(scales), twin), strict=True):
                self.runner.after_segment(self._event(window, window.stem + repaired))
                done[index] = self._cut(window, repaired)
        return [done[index] for index in range(len(windows))]

    def _window(self, segment: Segment) -> Window:
        start = window_start(segment, self.stem.format.samples / self.stem.format.sample_rate)
        stop = start + WINDOW
        items = tuple(i for i in self.items if i.start_s < segment.stop_s and i.end_s > segment.start_s)
        siblings = read_sum_of_siblings(self.stems, self.stem, self.timebase, start, stop)
        stem = self.timebase.read(self.stem, start, stop)
        seen = None if siblings is None else self._view(siblings)
        return Window(segment, start, items, stem, self._view(stem), seen)

    def _run(self, windows: Sequence[Window], scales: Mapping[str, float], twin: int) -> Tensor:
        """Stages 1 and 2 and blending of windows with the same adapters: ``[windows, channels, samples]``.

        Of ``twin`` channels one is repaired and the other follows: some processors round equal rows of a batch apart.
        """
        channels = 1 if twin else self.stem.format.channels
        stem = stft(torch.cat([window.view[:channels] for window in windows]).to(self.stages.device))
        siblings = None
        if windows[0].siblings is not None:
            beside = [window.siblings[:channels] for window in windows if window.siblings is not None]
            siblings = stft(torch.cat(beside).to(self.stages.device))
        features = band_features(stem, siblings)
        condition = self._condition(windows, stem, siblings, features, twin)
        seeds = [_segment_seed(self.stages.seed, window.start) for window in windows for _ in range(channels)]
        begin = time.perf_counter()
        restored = self.stages.restore(condition, scales, seeds)
        middle = time.perf_counter()
        magnitude = from_image(restored, features.level)
        request = VocoderInput(stem, siblings, features.magnitude, magnitude, WINDOW, features)
        repaired = self.stages.synthesise(request)
        end = time.perf_counter()
        self.timings["restore"] += middle - begin
        self.timings["synthesise"] += end - middle
        wet = self._maps(windows, lambda _window, _item: 1.0).repeat_interleave(channels, 0)
        change = change_of(stem, repaired, wet)
        shares, kept = judged(self.stages.gate, change, stem, siblings, features, channels)
        believed: list[float | None] = [None] * len(windows)
        change = change * shares
        opinion, begin = self.stages.opinion, time.perf_counter()
        if opinion is not None and (heard := self._heard(opinion, windows, channels)) is not None:
            answer, gate = heard
            change, taken = led_towards(change, answer, wet, gate, stem, siblings, features, channels)
            kept, believed = 1.0 - (1.0 - kept) * (1.0 - taken), taken.tolist()
            self.timings["opinion"] += time.perf_counter() - begin
        self.applied += map(Applied, (window.segment for window in windows), kept.tolist(), believed)
        wanted = torch.tensor([window.wanted for window in windows], device=change.device)
        difference = istft(change * wanted.repeat_interleave(channels)[:, None, None], WINDOW).cpu()
        difference = torch.unflatten(difference, 0, (len(windows), channels))
        return torch.cat([difference, twin * difference], 1) if twin else difference

    def _heard(self, opinion: SecondOpinion, windows: Sequence[Window], channels: int) -> Heard | None:
        """The stem as another network hears it, in the mixture or, if it came alone, by itself."""
        stems = torch.stack([window.view[:channels] for window in windows]).to(self.stages.device)
        beside = [window.siblings for window in windows if window.siblings is not None]
        if not beside:
            return opinion.of(stems, None, self.stem.stem_class)
        siblings = torch.stack([audio[:channels] for audio in beside]).to(self.stages.device)
        return opinion.of(stems, stems + siblings, self.stem.stem_class)

    def _maps(self, windows: Sequence[Window], value: Callable[[Window, PlanItem], float]) -> Tensor:
        maps = torch.stack([region_map(window.regions(value), FRAMES) for window in windows])
        return maps.to(self.stages.device)

    def _condition(
        self, windows: Sequence[Window], stem: Tensor, siblings: Tensor | None, features: BandFeatures, twin: int
    ) -> Condition:
        channels = len(stem) // len(windows)
        other = siblings_other = None
        if twin:
            other, siblings_other = twin * stem, None if siblings is None else twin * siblings
        elif channels == 2:
            other, siblings_other = swapped(stem), swapped(siblings)
        spatial = spatial_features(stem, siblings, other, siblings_other, features)
        severity = self._maps(windows, lambda _, item: item.severity).repeat_interleave(channels, 0)
        strongest = [max(window.items, key=_weight) for window in windows for _ in range(channels)]
        return Condition(
            features.image.unsqueeze(1),
            control_image(features, spatial, severity),
            phase_coherence(features),
            [self.stem.stem_class] * len(strongest),
            [item.artifact for item in strongest],
            torch.tensor([item.severity for item in strongest], device=self.stages.device),
        )

    def _event(self, window: Window, audio: Tensor) -> SegmentEvent:
        """What observers are told; the audio is cut to the segment and read-only."""
        offset = window.start / SPEC.sample_rate
        first, last = (round((t - offset) * SPEC.sample_rate) for t in (window.segment.start_s, window.segment.stop_s))
        samples = audio[:, max(first, 0) : last].numpy().copy()
        samples.flags.writeable = False
        artifacts = tuple(sorted({item.artifact for item in window.items}))
        where = (window.segment.start_s, window.segment.stop_s)
        return SegmentEvent(self.stem.name, self.stem.stem_class, *where, samples, artifacts)

    def _cut(self, window: Window, repaired: Tensor) -> np.ndarray:
        """The segment's part of a window's difference, at the file's rate."""
        where = window.segment.at(self.stem.format.sample_rate, self.stem.format.samples)
        difference = self.timebase.back(repaired, window.start, where.start, where.stop)
        around = self.stem.read(where.start - self._silence, where.stop + self._silence)
        kept: np.ndarray = difference * silence_gate(around, self._silence)[:, self._silence : -self._silence]
        return kept


def _weight(item: PlanItem) -> float:
    """How much of a segment an item is about."""
    return item.severity * item.confidence * (item.end_s - item.start_s)


def _segment_seed(seed: int, start: int) -> int:
    """A seed that depends on the segment's position only, not on how segments are grouped."""
    return (seed * 1_000_003 + start) & 0x7FFF_FFFF
