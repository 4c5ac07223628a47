"""What to do to one stem: what is wrong with it, which adapters help, and where to cut."""

from __future__ import annotations

import time
from collections.abc import Sequence

from stemprover.analysis import Analysis, analyse
from stemprover.detection import Detector
from stemprover.enhanced import Enhanced, Settings
from stemprover.errors import OptionError, PluginError
from stemprover.models import Models
from stemprover.plugins import Plugin, PluginRunner
from stemprover.plugins.loader import why_none
from stemprover.progress import Progress
from stemprover.routing import Plan, route
from stemprover.spectral.envelope import onset_strength
from stemprover.spectral.segments import Segment, plan_segments
from stemprover.spectral.spec import SPEC
from stemprover.stems import Stem, StemSet
from stemprover.windows import CONTEXT_S, MAX_SEGMENT_S

__all__ = ["Planner"]


class Planner:
    """Plans repairs; it builds detectors once, and remembers which adapters cannot be loaded.

    Parameters
    ----------
    models : Models
        Where adapters are loaded.
    plugins : sequence of Plugin
        What is installed.
    detectors : sequence of Detector, optional
        Used instead of those of the plugins.
    """

    def __init__(self, models: Models, plugins: Sequence[Plugin], detectors: Sequence[Detector] | None = None) -> None:
        self.models = models
        self.plugins = tuple(plugins)
        self.runner = PluginRunner(self.plugins)
        self._detectors = None if detectors is None else tuple(detectors)
        self._unusable: list[str] = []

    def plan(self, stems: StemSet, stem: Stem, settings: Settings, progress: Progress, plan_only: bool) -> Enhanced:
        """Analyse one stem and choose; with ``plan_only`` no adapter is loaded."""
        begin = time.perf_counter()
        detectors = self.load_detectors() if settings.auto_detect else ()
        analysis = analyse(stems, stem, detectors, progress, self.runner)
        if settings.auto_detect:
            self.load_detectors()  # an answer that no detector gave is none
        plan = self._route(stem, analysis, settings, plan_only)
        timings = {"detect": time.perf_counter() - begin}
        segments = _segments(plan, analysis)
        found = {one.artifact for one in analysis.detections}
        meanings = {kind.name: kind.summary for kind in self.runner.artifact_types() if kind.name in found}
        return Enhanced(
            stem,
            settings,
            plan,
            analysis.detections,
            analysis.lanes,
            segments,
            timings,
            faults=tuple(self.runner.faults),
            meanings=meanings,
        )

    def _route(self, stem: Stem, analysis: Analysis, settings: Settings, plan_only: bool) -> Plan:
        """Choose adapters, and others for those that cannot be loaded."""
        while True:
            plan = route(
                analysis.detections,
                self.plugins,
                stem_class=stem.stem_class,
                duration_s=stem.format.samples / stem.format.sample_rate,
                nyquist_hz=stem.format.sample_rate / 2,
                auto_detect=settings.auto_detect,
                adapters=settings.adapters,
                without=(*settings.without, *self._unusable),
                strength=settings.strength,
                generic=settings.generic,
            )
            if plan_only or self._load_adapters(plan, settings):
                return plan

    def _load_adapters(self, plan: Plan, settings: Settings) -> bool:
        """Load what a plan needs; one that the user did not ask for and that cannot be loaded is reported instead."""
        named = {choice.name for choice in settings.adapters}
        before = len(self._unusable)
        for name in sorted({item.adapter for item in plan.items}):
            try:
                self.models.load_adapters([name], self.plugins)
            except PluginError as error:
                if name in named:
                    raise
                self.runner.report(name, error)
                self._unusable.append(name)
        return len(self._unusable) == before

    def load_detectors(self) -> tuple[Detector, ...]:
        """Build the detectors of the plugins once; return those that have not failed so far.

        Raises
        ------
        OptionError
            If there are none.
        """
        if self._detectors is None:
            self._detectors = tuple(self.runner.detectors().values())
        working = tuple(detector for detector in self._detectors if self.runner.works(detector))
        if not working:
            reasons = why_none("detector", self.plugins, self.runner.faults)
            fix = "name adapters with --adapter" if reasons else "run 'stemprover plugins install detectors'"
            raise OptionError("a detector for --auto-detect", reasons or "none installed", fix)
        return working


def _segments(plan: Plan, analysis: Analysis) -> tuple[Segment, ...]:
    """Cut what is planned into segments at quiet or transient points."""
    regions = [(item.start_s, item.end_s) for item in plan.items]
    onsets = onset_strength(analysis.envelope)
    return plan_segments(
        analysis.envelope,
        onsets,
        regions,
        hop_s=1.0 / SPEC.frame_rate,
        max_s=MAX_SEGMENT_S,
        longer_at_ends_s=CONTEXT_S,
    )
