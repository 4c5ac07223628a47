"""Call the hooks of code plugins, each on its own: one that fails is named, skipped and reported; the rest go on."""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Iterable, Mapping
from types import ModuleType
from typing import Any

import pluggy

from stemprover.errors import StemProverError
from stemprover.plugins.discovery import Plugin
from stemprover.plugins.fields import printable
from stemprover.plugins.hooks import ArtifactType, FileEvent, HookSpecs, SegmentEvent, hookimpl
from stemprover.plugins.loader import Fault, is_factory, load

__all__ = ["PluginRunner"]

_HOOK_OF_KIND = {"detector": "detectors", "vocoder": "vocoders", "separator": "separators", "metric": "metrics"}


class PluginRunner:
    """The code plugins of one run.

    Parameters
    ----------
    plugins : Iterable of Plugin
        Those with status ``ok`` and an entry are loaded, in order; all others are left alone.

    Attributes
    ----------
    faults : list of Fault
        Plugins that failed at import, at registration or in a hook. A plugin that failed once is not called again.
    """

    def __init__(self, plugins: Iterable[Plugin]) -> None:
        self.faults: list[Fault] = []
        self._manager = pluggy.PluginManager("stemprover")
        self._manager.add_hookspecs(HookSpecs)
        for plugin in reversed(tuple(plugins)):  # pluggy calls last what was registered first
            if plugin.status == "ok" and plugin.manifest is not None and plugin.manifest.entry:
                self._register(plugin)

    def artifact_types(self) -> tuple[ArtifactType, ...]:
        """Return the artifact types that plugins add."""
        answers = self._call("artifact_types", {})
        return tuple(kind for _, kinds in answers for kind in kinds if isinstance(kind, ArtifactType))

    def detectors(self) -> dict[str, Any]:
        """Build the detectors of all plugins, by name."""
        return self._build("detectors")

    def vocoders(self) -> dict[str, Any]:
        """Build the vocoders of all plugins, by name."""
        return self._build("vocoders")

    def separators(self) -> dict[str, Any]:
        """Build the separators of all plugins, by name."""
        return self._build("separators")

    def metrics(self) -> dict[str, Any]:
        """Build the metrics of all plugins, by name."""
        return self._build("metrics")

    def before_segment(self, event: SegmentEvent) -> None:
        """Tell observers that a segment is about to be repaired."""
        self._call("before_segment", {"event": event})

    def after_segment(self, event: SegmentEvent) -> None:
        """Tell observers that a segment was repaired."""
        self._call("after_segment", {"event": event})

    def after_file(self, event: FileEvent) -> None:
        """Tell observers that a file is finished."""
        self._call("after_file", {"event": event})

    def _register(self, plugin: Plugin) -> None:
        try:
            self._manager.register(_carrier(plugin, load(plugin)), name=plugin.name)
            self._manager.check_pending()
        except StemProverError as error:
            self.faults.append(Fault(plugin.name, str(error)))
        except (Exception, SystemExit) as error:  # pluggy checks names and arguments of the hooks
            self._drop(plugin.name, error)

    def _call(self, hook: str, arguments: Mapping[str, Any]) -> list[tuple[str, Any]]:
        """Call one hook of every plugin in pluggy's order; returns plugin names and their answers."""
        answers: list[tuple[str, Any]] = []
        caller = getattr(self._manager.hook, hook)
        for implementation in reversed(caller.get_hookimpls()):
            others = [other for other in self._manager.get_plugins() if other is not implementation.plugin]
            alone = self._manager.subset_hook_caller(hook, others)
            try:
                with contextlib.redirect_stdout(sys.stderr):
                    answers.extend((implementation.plugin_name, answer) for answer in alone(**arguments))
            except (Exception, SystemExit) as error:
                self._drop(implementation.plugin_name, error)
        return answers

    def _build(self, hook: str) -> dict[str, Any]:
        """Run the factories that plugins answer with; a name that is taken stays with the plugin that came first."""
        built: dict[str, Any] = {}
        for plugin_name, factories in self._call(hook, {}):
            try:
                for name, factory in factories.items():
                    if name in built:
                        raise ValueError(f"{hook} already has {printable(name)}")
                    with contextlib.redirect_stdout(sys.stderr):
                        built[name] = factory() if is_factory(factory) else factory
            except (Exception, SystemExit) as error:
                self._drop(plugin_name, error)
        return built

    def _drop(self, name: str, error: BaseException) -> None:
        """Record a fault and stop calling the plugin."""
        self.faults.append(Fault(name, f"{type(error).__name__}: {printable(str(error), limit=200)}"))
        if self._manager.has_plugin(name):
            self._manager.unregister(name=name)


def _carrier(plugin: Plugin, entry: Any) -> object:
    """Return what pluggy registers: the entry with its hook functions, or one object wrapped in its hook."""
    if any(hasattr(getattr(entry, name, None), "stemprover_impl") for name in dir(entry)):
        return entry() if isinstance(entry, type) else entry
    hook = _HOOK_OF_KIND.get(plugin.kind)
    if hook is None:
        raise TypeError(f"entry has no hookimpl functions, which kind {plugin.kind} needs")
    carrier = ModuleType(plugin.name)
    setattr(carrier, hook, hookimpl(lambda: {plugin.name: entry}))
    return carrier
