"""Real-time factors by stage, and the share of time inside network forwards."""

from __future__ import annotations

import contextlib
import dataclasses
import time
from collections.abc import Iterator, Sequence
from typing import Any

import everything
from looped import looped_set
from torch import nn

from stemprover.enhance import Enhancer, Settings
from stemprover.models import Models
from stemprover.plugins import PluginRunner, installed
from stemprover.restoration.cache import ControlCache

__all__ = ["Case", "Timing", "measure", "new_enhancer"]


@dataclasses.dataclass(frozen=True)
class Case:
    """One run: a quality, and whether every segment is repaired or nothing is found."""

    quality: str
    repair: bool
    vocoder: str = "embedded"

    @property
    def settings(self) -> Settings:
        """Settings of the run; the base stands in for adapters that are not installed."""
        return Settings(auto_detect=True, generic=self.repair, quality=self.quality, vocoder=self.vocoder)


@dataclasses.dataclass(frozen=True)
class Timing:
    """Seconds of one run.

    Attributes
    ----------
    audio, repaired : float
        Length of the audio, and of what was planned to be repaired: what the gate leaves out takes as long.
    total, detect, restore, synthesise : float
        Wall time, altogether and by stage.
    networks : float
        Wall time inside the forwards of conditioner, ControlNet and UNet.
    vocoder : float
        Wall time inside the vocoder's forward; its head, which mixes spectra with what the forward predicts, makes up
        the rest of ``synthesise``.
    cpu : float
        CPU time of the process, over all cores; on a busy machine it says more than wall time.
    """

    audio: float
    repaired: float
    total: float
    detect: float
    restore: float
    synthesise: float
    networks: float
    vocoder: float
    cpu: float

    @property
    def rest(self) -> float:
        """Reading, features, conditioning, the second opinion, blending and writing."""
        return self.total - self.detect - self.restore - self.synthesise


def new_enhancer(repair: bool, base: str | None = None) -> Enhancer:
    """Return an enhancer with the installed detectors; with ``repair`` also adapters and the one that flags all.

    Without adapters and without ``generic`` nothing is planned, whatever the detectors find: that is what a stem
    costs in which nothing is found.
    """
    models = Models(base, "cpu", "float32")
    plugins = installed(base=models.identity)
    if repair:
        return Enhancer(models, (*plugins, everything.PLUGIN))
    return Enhancer(models, tuple(plugin for plugin in plugins if plugin.kind != "lora"))


def measure(enhancer: Enhancer, case: Case, seconds: float) -> Timing:
    """Run once to warm up (weights, detectors, caches) and once against the clock, audio in memory."""
    with looped_set(6.0) as short:
        enhancer.enhance(short, case.settings)
    if case.repair:
        enhancer.models.pipeline.cache = ControlCache()  # the clock sees no segment twice
    networks, vocoder = _modules(enhancer, case) if case.repair else ((), ())
    with looped_set(seconds) as stems, _forward_timer(networks) as in_networks, _forward_timer(vocoder) as in_vocoder:
        begin, cpu = time.perf_counter(), time.process_time()
        done = enhancer.enhance(stems, case.settings)
        total, cpu = time.perf_counter() - begin, time.process_time() - cpu
    detect, restore, synthesise = (done.timings_s.get(stage, 0.0) for stage in ("detect", "restore", "synthesise"))
    return Timing(seconds, done.planned_s, total, detect, restore, synthesise, in_networks[0], in_vocoder[0], cpu)


def _modules(enhancer: Enhancer, case: Case) -> tuple[Sequence[nn.Module], Sequence[nn.Module]]:
    pipeline = enhancer.models.pipeline
    vocoder: Any = enhancer.models.vocoder(case.vocoder, enhancer.plugins, PluginRunner(()))
    networks = (pipeline.unet, pipeline.controlnet, pipeline.conditioner)
    return networks, (vocoder,) if isinstance(vocoder, nn.Module) else ()


@contextlib.contextmanager
def _forward_timer(modules: Sequence[nn.Module]) -> Iterator[list[float]]:
    """Add up the time between the beginning and the end of these modules' forwards; none is inside another."""
    spent, began = [0.0], [0.0]

    def before(*_: object) -> None:
        began[0] = time.perf_counter()

    def after(*_: object) -> None:
        spent[0] += time.perf_counter() - began[0]

    with contextlib.ExitStack() as stack:
        for module in modules:
            for handle in (module.register_forward_pre_hook(before), module.register_forward_hook(after)):
                stack.callback(handle.remove)
        yield spent
