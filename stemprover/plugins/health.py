"""Is everything as it was released? Checks of single plugins, and what is wrong with the whole set and how to mend it.

Nothing here imports a plugin.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator, Sequence
from importlib import metadata
from pathlib import Path

from stemprover.errors import AdapterError, ModelError, PluginError, StemProverError
from stemprover.plugins.base import BASE_FILE, base_identity
from stemprover.plugins.discovery import EMBEDDED, Plugin
from stemprover.plugins.hashing import folder_sha256, verify_files
from stemprover.plugins.missing import missing_modules
from stemprover.plugins.origins import came_from_index, requirement_of
from stemprover.plugins.packages import is_hub_folder
from stemprover.plugins.record import verify_record
from stemprover.plugins.state import read_state, state_file

__all__ = ["Problem", "advise", "examine", "unchecked", "verify", "verify_base"]

_REINSTALL_HOST = "python -m pip install --force-reinstall --no-deps stemprover"


@dataclasses.dataclass(frozen=True, slots=True)
class Problem:
    """Something that is broken, or wanting, and the command (or, where there is none, the step) that mends it."""

    name: str
    what: str
    mend: str


def verify(plugin: Plugin) -> tuple[str, ...]:
    """Check that a plugin fits this host and base, and every file against its SHA-256.

    Returns
    -------
    tuple of str
        The files that were checked: those of the manifest, and of what came as a wheel all files of that. Weights on
        the hub are looked for in its cache; none are fetched.

    Raises
    ------
    PluginError
        It is broken, or made for another host or base.
    AdapterError
        A file is missing or differs.
    """
    if plugin.status in ("broken", "incompatible"):
        raise PluginError(f"{plugin.name} to be usable", f"{plugin.status}: {plugin.reason}", _mend(plugin))
    if plugin.manifest is None and plugin not in EMBEDDED:  # switched off, and broken besides
        raise PluginError(f"{plugin.name} to be readable", plugin.reason, _mend(plugin))
    return tuple(dict.fromkeys((*_verify_listed(plugin), *verify_record(plugin))))


def verify_base() -> str:
    """Check the host's own base, which all adapters are bound to, against its SHA-256; returns its name.

    Raises
    ------
    ModelError
        It is missing, or its files are not those that it was released with.
    """
    identity, fix = base_identity(BASE_FILE), f"run '{_REINSTALL_HOST}'"
    if not identity.sha256:
        raise ModelError(f"a base in {BASE_FILE.parent}", "no readable base.json", fix)
    try:
        found = folder_sha256(BASE_FILE.parent)
    except OSError as error:
        raise ModelError(f"to read {BASE_FILE.parent}", error.strerror or "an error", fix) from error
    if found != identity.sha256:
        raise ModelError(f"{identity.id} with SHA-256 {identity.sha256}", found, fix)
    return identity.id


def unchecked(plugin: Plugin) -> str:
    """Say why :func:`verify` had no file to look at."""
    if plugin in EMBEDDED:
        return "it is a part of stemprover"
    if plugin.manifest is not None and plugin.manifest.weights is not None and plugin.manifest.weights.hub:
        return "its weights were not fetched from the hub so far"
    return "its manifest lists no files, and it was not installed from a wheel"


def _verify_listed(plugin: Plugin) -> tuple[str, ...]:
    """Check the files that the manifest lists."""
    weights = plugin.manifest.weights if plugin.manifest else None
    if plugin.manifest is None or weights is None or not weights.hub:
        return verify_files(plugin)
    from huggingface_hub import try_to_load_from_cache

    cached = [try_to_load_from_cache(weights.hub, name, revision=weights.revision) for name in plugin.manifest.files]
    if not all(isinstance(path, str) for path in cached):
        return ()
    name = next(iter(plugin.manifest.files))
    return verify_files(plugin, Path(str(cached[0])).parents[name.count("/")])


def examine(plugins: Sequence[Plugin], check_adapter: Callable[[Path], None] | None = None) -> Iterator[Problem]:
    """Find what is wrong with the plugins of this environment and with what the host needs.

    Parameters
    ----------
    check_adapter : callable, optional
        Looks into the folder of an adapter whose files are as released, and raises what is wrong with its weights.
    """
    yield from _host()
    try:
        verify_base()
    except ModelError as error:
        yield Problem("stemprover", str(error), _REINSTALL_HOST)
    state = read_state()
    if state.fault:
        yield Problem("stemprover", state.fault, f"rm {state_file()}")
    for plugin in plugins:
        if plugin.status == "disabled" and not state.fault:
            continue
        try:
            verify(plugin)
        except AdapterError as error:
            yield Problem(plugin.name, str(error), _mend(plugin))
        except PluginError as error:
            yield Problem(plugin.name, error.got, _mend(plugin))
        else:
            yield from _weights(plugin, check_adapter)


def advise(plugins: Sequence[Plugin]) -> Iterator[Problem]:
    """Say what plugins that are as released still need before they can run.

    That is no fault: what they wrap is left to the user because it is large, or built for one PyTorch.
    """
    for plugin in plugins:
        missing = missing_modules(plugin.manifest) if plugin.status == "ok" and plugin.manifest else None
        if missing:
            yield Problem(plugin.name, missing.what, f"python -m pip install {missing.requirements}")


def _weights(plugin: Plugin, check_adapter: Callable[[Path], None] | None) -> Iterator[Problem]:
    """What is wrong with weights that are as released: the same release once more would not help."""
    if check_adapter is None or plugin.kind != "lora" or plugin.weights_folder is None:
        return
    try:
        check_adapter(plugin.weights_folder)
    except StemProverError as error:
        yield Problem(plugin.name, str(error), _removal(plugin))


def _host() -> Iterator[Problem]:
    """What the host needs and does not have, for example because something else was installed since."""
    from packaging.requirements import Requirement

    try:
        needs = [Requirement(text) for text in metadata.requires("stemprover") or ()]
    except metadata.PackageNotFoundError:  # run from its source without being installed
        return
    for need in needs:
        if need.marker is not None and not need.marker.evaluate({"extra": ""}):
            continue
        try:
            version = metadata.version(need.name)
        except metadata.PackageNotFoundError:
            version = ""
        if not version or not need.specifier.contains(version, prereleases=True):
            what = f"stemprover needs {need.name}{need.specifier}, {version or 'none'} is installed"
            yield Problem("stemprover", what, f"python -m pip install '{need.name}{need.specifier}'")


def _mend(plugin: Plugin) -> str:
    """The command that helps: another version, the same once more, or to remove it."""
    if plugin in EMBEDDED:
        return _REINSTALL_HOST
    if plugin.folder is not None and is_hub_folder(plugin.folder):
        source = requirement_of(plugin)
        damaged = plugin.status != "incompatible" and source
        return f"stemprover plugins install '{source}'" if damaged else _removal(plugin)
    if plugin.status == "incompatible":
        newer = f"stemprover plugins install --upgrade '{plugin.distribution}'"
        return newer if came_from_index(plugin) else _removal(plugin)  # nobody knows of newer ones elsewhere
    if (plugin.folder is not None and plugin.manifest is None) or "has a plugin of this name" in plugin.reason:
        return _removal(plugin)
    again = f"stemprover plugins install --reinstall '{plugin.distribution}'"
    return again if requirement_of(plugin) else _removal(plugin)


def _removal(plugin: Plugin) -> str:
    from_hub = plugin.folder is not None and is_hub_folder(plugin.folder)
    return f"stemprover plugins uninstall '{plugin.name if from_hub else plugin.distribution}'"
