"""The networks of a run, loaded when they are first needed and kept for all files."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import torch
from torch import Tensor

from stemprover.errors import ModelError, OptionError
from stemprover.plugins import (
    BaseIdentity,
    Plugin,
    PluginRunner,
    adapter_folder,
    base_identity,
    find,
    load,
    require_usable,
)
from stemprover.routing import GENERIC
from stemprover.separation.layout import KIT_STEMS, STEMS
from stemprover.synthesis.base import Vocoder, VocoderInput

if TYPE_CHECKING:
    from stemprover.restoration.control import Condition
    from stemprover.restoration.lora import AdapterInfo, Fused
    from stemprover.restoration.pipeline import StemRestorationPipeline
    from stemprover.synthesis.gate import RepairGate
    from stemprover.synthesis.opinion import SecondOpinion

__all__ = [
    "EMBEDDED_GATE",
    "EMBEDDED_JUDGES",
    "EMBEDDED_VOCODER",
    "JudgeFolders",
    "Judged",
    "Models",
    "pick_device",
]

_WEIGHTS = Path(__file__).parent / "weights"
EMBEDDED_VOCODER, EMBEDDED_GATE = _WEIGHTS / "vocoder", _WEIGHTS / "gate"


class Judged(NamedTuple):
    """Which stems a judge is for: the classes that its separator knows, alone or beside others."""

    stems: tuple[str, ...]
    alone: bool = False


class JudgeFolders(NamedTuple):
    """Folders of a separator, an arbiter (without one, answers are taken as they are) and a gate."""

    separator: Path
    arbiter: Path | None
    gate: Path

    @property
    def there(self) -> tuple[Path, ...]:
        """Those that hold weights."""
        return tuple(folder for folder in self if folder is not None)


EMBEDDED_JUDGES: Mapping[Judged, JudgeFolders] = {
    Judged(STEMS): JudgeFolders(_WEIGHTS / "opinion", None, _WEIGHTS / "opinion_gate"),
    Judged(KIT_STEMS): JudgeFolders(_WEIGHTS / "opinion_kit", None, _WEIGHTS / "opinion_kit_gate"),
}
"""Networks of second opinions."""
_LOADING = threading.RLock()
"""Loading swaps parts of torch for the whole process, so that only one thread may do it; running needs no lock."""
_DTYPES = {"float32": torch.float32, "float16": torch.float16, "bfloat16": torch.bfloat16}


def pick_device(name: str) -> torch.device:
    """Return the device of a name; ``auto`` is cuda, else mps, else cpu.

    Raises
    ------
    OptionError
        If it is not there.
    """
    there = {"cpu": True, "cuda": torch.cuda.is_available(), "mps": torch.backends.mps.is_available()}
    if name == "auto":
        return torch.device(next(kind for kind in ("cuda", "mps", "cpu") if there[kind]))
    if not there.get(name, False):
        usable = ", ".join(kind for kind, ok in there.items() if ok)
        raise OptionError(f"a device of this machine ({usable})", name, "use --device auto")
    return torch.device(name)


class Models:
    """Base, adapters, vocoders, gates and the second opinion.

    Parameters
    ----------
    base : str or Path, optional
        Diffusers folder or hub id; the embedded base by default.
    device, dtype : str
        Where and in which precision the networks run; everything else is float32.

    Attributes
    ----------
    identity : BaseIdentity
        What adapters must be bound to.
    """

    def __init__(self, base: str | Path | None, device: str, dtype: str) -> None:
        if dtype not in _DTYPES:
            raise OptionError(f"a dtype ({', '.join(_DTYPES)})", dtype, "use --dtype float32")
        self.base, self.device, self.dtype = base, pick_device(device), _DTYPES[dtype]
        self.identity = base_identity() if base is None else _identity_of(base)
        self._pipeline: StemRestorationPipeline | None = None
        self._adapters: dict[str, AdapterInfo] = {}
        self._folders: dict[str, Path] = {}
        self._vocoders: dict[str, Vocoder] = {}
        self._gate: RepairGate | None = None
        self._opinions: dict[Judged, SecondOpinion] = {}
        self._fused: Fused | None = None
        self._in_use: dict[str, float] | None = None

    @property
    def pipeline(self) -> StemRestorationPipeline:
        """Stage 1, loaded on first use."""
        if self._pipeline is None:
            from stemprover.restoration.weights import load_pipeline

            # The first to ask may be a repair in inference mode; weights made there could never take an adapter.
            with _LOADING, torch.inference_mode(False):
                self._pipeline = load_pipeline(self.base).to(self.device)
        return self._pipeline

    def load_adapters(self, names: Iterable[str], plugins: Sequence[Plugin]) -> None:
        """Verify and load the adapters of a plan, before anything is written.

        Raises
        ------
        PluginError, AdapterError, BaseMismatchError
            If one cannot be used, was changed after its release or does not fit.
        """
        for name in sorted(set(names) - {GENERIC} - set(self._adapters)):
            from stemprover.restoration.lora import load_adapter

            self._fuse({})  # adapters are added to plain weights only
            plugin = find(name, plugins)
            folder = adapter_folder(plugin, self.identity)
            bound_to = plugin.manifest.base.sha256 if plugin.manifest and plugin.manifest.base else None
            with _LOADING:
                self._adapters[name] = load_adapter(
                    self.pipeline.model,
                    folder,
                    name,
                    base_sha256=self.identity.sha256,
                    expected_base_sha256=bound_to,
                )

    def restore(self, condition: Condition, scales: Mapping[str, float], seeds: Sequence[int], steps: int) -> Tensor:
        """Stage 1 with these adapters; restored images, float32 ``[batch, n_bands, frames]``."""
        if self._adapters:
            self._fuse({name: scale for name, scale in scales.items() if name != GENERIC and scale != 0.0})
        touching = [f"{n}:{s}" for n, s in sorted(scales.items()) if n in self._adapters]
        key = ",".join(name for name in touching if self._adapters[name.partition(":")[0]].touches_controlnet)
        with self._precision():
            return self.pipeline(condition, steps, seeds, key).float()

    def _fuse(self, scales: Mapping[str, float]) -> None:
        """Put exactly these adapters into the weights: unfused, they would double the cost of every forward."""
        from stemprover.restoration.lora import merge, unmerge, use_adapters

        if scales == self._in_use:
            return
        model = self.pipeline.model
        if self._fused is not None:
            unmerge(model, self._fused)
        self._fused = self._in_use = None  # as it is should merging fail
        self._fused = merge(model, scales) if scales else None
        if not scales:
            use_adapters(model, {})
        self._in_use = dict(scales)

    def synthesise(self, vocoder: Vocoder, request: VocoderInput) -> Tensor:
        """Stage 2: the complex spectrum ``[batch, n_bins, frames]`` of the repaired stem."""
        from stemprover.spectral.stft import stft

        with self._precision():
            mix = getattr(vocoder, "mix", None)
            if mix is not None:  # a vocoder that thinks in spectra is spared the way through audio and back
                spectrum: Tensor = mix(request)
                return spectrum
            return stft(vocoder.synthesise(request).float().to(request.spectrum.device))

    def gate(self, seen: Tensor) -> Tensor:
        """Share of each repair that each band gets, ``[batch, n_bands]``, from the evidence of it."""
        shares: Tensor = self.load_gate()(seen)
        return shares

    def load_gate(self) -> RepairGate:
        """Return the gate, loaded on first use.

        Raises
        ------
        ModelError
            If it is missing or of another spectral spec.
        """
        from stemprover.synthesis.gate import load_gate

        with _LOADING, torch.inference_mode(False):
            if self._gate is None:
                self._gate = load_gate(EMBEDDED_GATE).to(self.device)
        return self._gate

    def load_opinion(self, stem_class: str, alone: bool) -> SecondOpinion | None:
        """Return who is asked about stems of a class, loaded on first use; None if nobody knows it.

        Raises
        ------
        ModelError
            If a network is missing or of another version.
        """
        from stemprover.separation.trained import load_network
        from stemprover.synthesis.arbiter import load_arbiter
        from stemprover.synthesis.gate import load_gate
        from stemprover.synthesis.opinion import Judge, SecondOpinion, take_answer, told_by

        known = (one for one in EMBEDDED_JUDGES if one.alone is alone and told_by(stem_class, one.stems))
        if (judged := next(known, None)) is None:
            return None
        with _LOADING, torch.inference_mode(False):
            if judged not in self._opinions:
                folders = EMBEDDED_JUDGES[judged]
                settle = take_answer
                if folders.arbiter is not None:
                    settle = load_arbiter(folders.arbiter, alone).to(self.device).settle
                gate = load_gate(folders.gate).to(self.device)
                judge = Judge(load_network(folders.separator, self.device), settle, gate)
                self._opinions[judged] = SecondOpinion(judged.stems, judge)
            return self._opinions[judged]

    def vocoder(self, name: str, plugins: Sequence[Plugin], runner: PluginRunner) -> Vocoder:
        """Return a vocoder by name.

        Raises
        ------
        PluginNotFoundError, PluginError, OptionError
            If there is none of this name, it cannot be used or it is no vocoder.
        """
        if name not in self._vocoders:
            with _LOADING:
                self._vocoders[name] = self._make_vocoder(name, plugins, runner)
        return self._vocoders[name]

    def check_vocoder(self, name: str, plugins: Sequence[Plugin]) -> Plugin:
        """Return the plugin of a vocoder; raises as :meth:`vocoder` does, but loads nothing."""
        plugin = find(name.partition(":")[0], plugins)
        if plugin.kind != "vocoder":
            raise OptionError("a vocoder", f"{plugin.name}, a {plugin.kind}", "see 'stemprover plugins list'")
        return require_usable(plugin, self.identity)

    def _make_vocoder(self, name: str, plugins: Sequence[Plugin], runner: PluginRunner) -> Vocoder:
        plugin = self.check_vocoder(name, plugins)
        if name == "embedded":
            from stemprover.synthesis.embedded import load_embedded

            embedded: Vocoder = load_embedded(EMBEDDED_VOCODER).to(self.device)
            return embedded
        if name in ("griffin-lim", "input-phase"):
            from stemprover.synthesis.reference import GriffinLimVocoder, InputPhaseVocoder

            return GriffinLimVocoder() if name == "griffin-lim" else InputPhaseVocoder()
        option = name.partition(":")[2]
        made = runner.make(plugin, lambda: load(plugin)(option)) if option else runner.vocoders().get(plugin.name)
        if not isinstance(made, Vocoder):
            reason = "; ".join(f.reason for f in runner.faults if f.name == plugin.name) or "no vocoder"
            raise ModelError(f"vocoder {plugin.name} to start", reason, f"see 'stemprover plugins info {plugin.name}'")
        return made

    def _precision(self) -> contextlib.AbstractContextManager[object]:
        if self.dtype == torch.float32:
            return contextlib.nullcontext()
        return torch.autocast(self.device.type, self.dtype)


def _identity_of(base: str | Path) -> BaseIdentity:
    """Identity of a user's base: folder name and hash of its files; no adapter fits a base on the hub."""
    from stemprover.plugins import folder_sha256

    folder = Path(base)
    return BaseIdentity(folder.name, folder_sha256(folder)) if folder.is_dir() else BaseIdentity(str(base), "")
