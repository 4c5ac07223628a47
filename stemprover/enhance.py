"""The main job: find what a separator left behind in stems and repair only that.

    analyse  ->  route  ->  segment  ->  restore, synthesise, gate, blend  ->  write

A repair is a difference signal, exactly zero outside the planned segments: what is not planned stays bit-identical.
"""

from __future__ import annotations

import contextlib
import dataclasses
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from stemprover.detection import Detection, Detector
from stemprover.enhanced import Enhanced, Settings
from stemprover.errors import OptionError
from stemprover.models import Models
from stemprover.networks import Networks
from stemprover.output import Rendered, render_set
from stemprover.planner import Planner
from stemprover.plugins import FileEvent, Plugin, installed
from stemprover.progress import Progress, Silent
from stemprover.render import Renderer, Stages
from stemprover.routing import AdapterChoice
from stemprover.stems import Stem, StemSet, find_offsets
from stemprover.synthesis.gate import Gate
from stemprover.synthesis.opinion import SecondOpinion, has_opinion

__all__ = ["AdapterChoice", "Enhanced", "Enhancer", "Settings"]

Source = StemSet | Stem | Path | str


class Enhancer(Planner):
    """Plans repairs and does them; one object holds the models for any number of files.

    Parameters
    ----------
    models : Models
        Base and vocoders.
    plugins : sequence of Plugin
        What is installed.
    detectors : sequence of Detector, optional
        Used instead of those of the plugins.
    gate : callable, optional
        Used instead of the released one, on the models' device; see :data:`~stemprover.synthesis.gate.Gate`.
    opinion : callable, optional
        Used instead of the released ones; see :meth:`~stemprover.models.Models.load_opinion`.
    """

    def __init__(
        self,
        models: Models,
        plugins: Sequence[Plugin],
        detectors: Sequence[Detector] | None = None,
        gate: Gate | None = None,
        opinion: Callable[[str, bool], SecondOpinion | None] | None = None,
    ) -> None:
        super().__init__(models, plugins, detectors)
        self._gate, self._opinion = gate, opinion

    @classmethod
    def from_pretrained(
        cls, base: str | Path | None = None, *, device: str = "auto", dtype: str = "float32", safe_mode: bool = False
    ) -> Enhancer:
        """Make an enhancer; weights are loaded when the first repair needs them.

        Parameters
        ----------
        base : str or Path, optional
            Diffusers folder or hub id of another base; the embedded one by default.
        device : str
            ``auto`` (cuda, else mps, else cpu), ``cpu``, ``cuda`` or ``mps``.
        dtype : str
            ``float32``, ``float16`` or ``bfloat16``; the networks' precision.
        safe_mode : bool
            Run no plugins.
        """
        models = Models(base, device, dtype)
        return cls(models, installed(safe_mode=safe_mode, base=models.identity))

    def with_gate(self, gate: Gate) -> Enhancer:
        """Return an enhancer with the same models, plugins and detectors and another gate."""
        return Enhancer(self.models, self.plugins, self._detectors, gate, self._opinion)

    def enhance(
        self,
        source: Source,
        settings: Settings | None = None,
        *,
        mixture: Path | str | None = None,
        output: Path | None = None,
        overwrite: bool = False,
        progress: Progress | None = None,
        plan_only: bool = False,
    ) -> Enhanced:
        """Repair one stem; with ``output`` it is written there, else its audio is kept in memory.

        Raises
        ------
        StemProverError
            Whatever is wrong with input, options, plugins or output; nothing is left half-written.
        """
        with _opened(source, mixture) as stems:
            if len(stems.stems) != 1:
                fix = "use enhance_set, which repairs them together"
                raise OptionError("one stem", f"{len(stems.stems)} stems", fix)
            outputs = None if output is None else (output,)
            return self.enhance_set(
                stems, settings, outputs=outputs, overwrite=overwrite, progress=progress, plan_only=plan_only
            )[0]

    def enhance_set(
        self,
        stems: StemSet,
        settings: Settings | None = None,
        *,
        outputs: Sequence[Path] | None = None,
        overwrite: bool = False,
        progress: Progress | None = None,
        plan_only: bool = False,
    ) -> tuple[Enhanced, ...]:
        """Repair the stems of a set, each with what the others know; ``outputs`` holds one path per stem."""
        settings, progress = settings or Settings(), progress or Silent()
        settings.validate(stems)
        begin = time.perf_counter()
        offsets = find_offsets(stems.stems, stems.mixture)
        spent = (time.perf_counter() - begin) / len(offsets)
        found = []
        for offset in offsets:
            one = self.plan(stems, offset.stem, settings, progress, plan_only)
            timings = {"align": spent, **one.timings_s}
            found.append(dataclasses.replace(one, late_samples=offset.samples, timings_s=timings))
        if plan_only:
            return tuple(found)
        renderers = [self._renderer(stems, one, progress) for one in found]
        begin = time.perf_counter()
        rendered = render_set(stems, renderers, outputs, overwrite, settings.mixture_consistent, progress)
        share = (time.perf_counter() - begin) / len(found)
        return tuple(
            self._finish(one, renderer, result, share)
            for one, renderer, result in zip(found, renderers, rendered, strict=True)
        )

    def _finish(self, one: Enhanced, renderer: Renderer, result: Rendered, spent_s: float) -> Enhanced:
        timings = {**one.timings_s, **renderer.timings, "total": sum(one.timings_s.values()) + spent_s}
        applied = tuple(sorted(renderer.applied, key=lambda each: each.segment.start_s))
        done = dataclasses.replace(one, timings_s=timings, output=result.path, native=result.native, applied=applied)
        self.runner.after_file(FileEvent(one.stem.name, str(result.path or ""), done.to_dict()))
        return dataclasses.replace(done, faults=tuple(self.runner.faults))

    def detect(
        self, source: Source, *, mixture: Path | str | None = None, progress: Progress | None = None
    ) -> tuple[Detection, ...]:
        """Say what is wrong with one stem, and where."""
        settings = Settings(auto_detect=True)
        return self.enhance(source, settings, mixture=mixture, progress=progress, plan_only=True).detections

    def _renderer(self, stems: StemSet, one: Enhanced, progress: Progress) -> Renderer:
        """Prepare the networks for a plan, before anything is written; an empty plan needs none."""
        settings = one.settings
        networks = Networks(self.models, self.plugins, self.runner, settings.vocoder, settings.steps)
        if one.plan.items:
            networks.load_vocoder()
            if self._gate is None:
                self.models.load_gate()
        opinion, own = None, one.stem.stem_class
        alone = stems.mixture is None and not stems.siblings(one.stem)
        company = (own,) if alone else [stem.stem_class for stem in stems.stems]
        if settings.second_opinion and one.plan.items and has_opinion(own, company):
            opinion = (self._opinion or self.models.load_opinion)(own, alone)
        gate = self._gate or self.models.gate
        stages = Stages(networks.restore, networks.synthesise, gate, opinion, self.models.device, settings.seed)
        return Renderer(stems, one.stem, one.plan.items, one.segments, stages, self.runner, progress)


@contextlib.contextmanager
def _opened(source: Source, mixture: Path | str | None) -> Iterator[StemSet]:
    """A stem set of whatever was handed in; files opened here are closed again."""
    if isinstance(source, (str, Path)):
        with StemSet.open(source, mixture=mixture) as stems:
            yield stems
        return
    stems = source if isinstance(source, StemSet) else StemSet((source,))
    if mixture is None:
        yield stems
        return
    with Stem.open(mixture, "generic") as opened:
        yield StemSet(stems.stems, opened)
