"""Call the code of plugins, each on its own: one that fails or hangs is named, skipped and reported; the rest go on."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any, TypeVar

import pluggy

from stemprover.errors import PluginError, StemProverError
from stemprover.plugins.answers import artifact_types_of, built_of, carrier_of
from stemprover.plugins.discovery import Plugin
from stemprover.plugins.fields import printable
from stemprover.plugins.hooks import ArtifactType, FileEvent, HookSpecs, SegmentEvent
from stemprover.plugins.limits import LimitedThread, time_limit
from stemprover.plugins.loader import Fault, load
from stemprover.plugins.output import printing_to_stderr

__all__ = ["PluginRunner"]

ResultT = TypeVar("ResultT")


class PluginRunner:
    """The code plugins of one run.

    Every call runs in a thread with a time limit (:mod:`stemprover.plugins.limits`), from the import to the last hook.

    Parameters
    ----------
    plugins : Iterable of Plugin
        Those with status ``ok`` and an entry are loaded, in order; all others are left alone.
    limit_s : float, optional
        Seconds that one call may take, 0 for no limit; else what :func:`stemprover.plugins.limits.time_limit` says.

    Attributes
    ----------
    faults : list of Fault
        Plugins that failed at import, at registration, in a hook or in what they made. A plugin that failed once is not
        called again.
    """

    def __init__(self, plugins: Iterable[Plugin], limit_s: float | None = None) -> None:
        self.faults: list[Fault] = []
        self._own_errors: dict[str, PluginError] = {}
        self._thread = LimitedThread(time_limit() if limit_s is None else limit_s)
        self._made: list[tuple[object, str]] = []
        self._manager = pluggy.PluginManager("stemprover")
        self._manager.add_hookspecs(HookSpecs)
        for plugin in reversed(tuple(plugins)):  # pluggy calls last what was registered first
            if plugin.status == "ok" and plugin.manifest is not None and plugin.manifest.entry:
                self._register(plugin)

    def artifact_types(self) -> tuple[ArtifactType, ...]:
        """Return the artifact types that plugins add."""
        return tuple(kind for _, kinds in self._types() for kind in kinds)

    def detectors(self) -> dict[str, Any]:
        """Build the detectors of all plugins, by name, those that artifact types bring included."""
        brought = [
            (name, {kind.name: kind.detector for kind in kinds if kind.detector}) for name, kinds in self._types()
        ]
        return self._build("detectors", brought)

    def preprocessors(self) -> dict[str, Any]:
        """Build the segment preprocessors of all plugins, by name."""
        return self._build("preprocessors")

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

    def guard(self, made: object, call: Callable[[], ResultT], times: float = 1.0) -> ResultT | None:
        """Run code of an object that a plugin made; ``None`` and a fault if it fails, ``None`` if it failed before.

        Parameters
        ----------
        made : object
            A detector, vocoder, ... from one of the methods above, or one that the caller brought along: that one is
            reported by the name of its class.
        call : callable
            What to run. Modes that torch keeps per thread must be set inside it.
        times : float
            How many times the limit it may take.
        """
        name = self.owner(made)
        if not self.works(made):
            return None
        try:
            return self._limited(call, times)
        except (Exception, SystemExit) as error:  # a plugin that exits must not end the host; Ctrl-C still does
            self.report(name, error)
            return None

    def owner(self, made: object) -> str:
        """Return the name of the plugin that made an object, else the name of its class."""
        return next((name for other, name in self._made if other is made), type(made).__name__)

    def works(self, made: object) -> bool:
        """Tell whether the plugin that made an object has not failed so far."""
        return not self.failed(self.owner(made))

    def failed(self, name: str) -> bool:
        """Tell whether a plugin has failed."""
        return any(fault.name == name for fault in self.faults)

    def own_error(self, name: str) -> PluginError | None:
        """What a plugin failed with, and its name, if it was an error that says what to do; else ``None``."""
        return self._own_errors.get(name)

    def make(self, plugin: Plugin, build: Callable[[], ResultT]) -> ResultT | None:
        """Let a plugin build an object in another way than by its hook; ``None`` and a fault if it fails."""
        try:
            made = self._limited(build)
        except (Exception, SystemExit) as error:
            self.report(plugin.name, error)
            return None
        self._made.append((made, plugin.name))
        return made

    def report(self, name: str, error: BaseException) -> None:
        """Record a plugin's fault and stop calling it."""
        own = isinstance(error, StemProverError)
        shown = str(error) if own else f"{type(error).__name__}: {printable(str(error), limit=200)}"
        if isinstance(error, StemProverError) and type(error).__module__ == StemProverError.__module__:
            # A copy: the error itself holds the plugin's frames, and a class of the plugin's own may lack these.
            named = error.expected if name in shown else f"{error.expected} for plugin {name}"
            self._own_errors[name] = PluginError(named, error.got, error.fix)
        self.faults.append(Fault(name, shown))
        if self._manager.has_plugin(name):
            self._manager.unregister(name=name)

    def _limited(self, call: Callable[[], ResultT], times: float = 1.0) -> ResultT:
        """Call with the time limit; what the plugin prints goes to standard error, so that ``--json`` stays JSON."""

        def quietly() -> ResultT:
            with printing_to_stderr():
                return call()

        return self._thread.call(quietly, times)

    def _register(self, plugin: Plugin) -> None:
        try:
            carrier = self._limited(lambda: carrier_of(plugin, load(plugin)))
            self._manager.register(carrier, name=plugin.name)
            self._manager.check_pending()
        except (Exception, SystemExit) as error:  # pluggy checks names and arguments of the hooks
            self.report(plugin.name, error)

    def _call(self, hook: str, arguments: Mapping[str, Any]) -> list[tuple[str, Any]]:
        """Call one hook of every plugin in pluggy's order; returns plugin names and their answers."""
        answers: list[tuple[str, Any]] = []
        caller = getattr(self._manager.hook, hook)
        for implementation in reversed(caller.get_hookimpls()):
            others = [other for other in self._manager.get_plugins() if other is not implementation.plugin]
            alone = self._manager.subset_hook_caller(hook, others)
            try:
                given = self._limited(lambda alone=alone: alone(**arguments))  # type: ignore[misc]
                answers.extend((implementation.plugin_name, answer) for answer in given)
            except (Exception, SystemExit) as error:
                self.report(implementation.plugin_name, error)
        return answers

    def _types(self) -> list[tuple[str, tuple[ArtifactType, ...]]]:
        """Return the artifact types by plugin."""
        found = []
        for name, kinds in self._call("artifact_types", {}):
            try:
                found.append((name, self._limited(lambda kinds=kinds: artifact_types_of(kinds))))  # type: ignore[misc]
            except (Exception, SystemExit) as error:  # a generator runs while it is read
                self.report(name, error)
        return found

    def _build(self, hook: str, brought: Iterable[tuple[str, Mapping[str, Any]]] = ()) -> dict[str, Any]:
        """Run the factories that plugins answer with; a name that is taken stays with the plugin that came first."""
        built: dict[str, Any] = {}
        for plugin_name, factories in [*self._call(hook, {}), *brought]:
            try:
                made = self._limited(lambda factories=factories: built_of(factories))  # type: ignore[misc]
                for name, one in made.items():
                    if name in built:
                        raise ValueError(f"{hook} already has {printable(name)}")
                    built[name] = one
                    self._made.append((one, plugin_name))
            except (Exception, SystemExit) as error:
                self.report(plugin_name, error)
        return built
