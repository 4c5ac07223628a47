"""What is installed and in which state. Reads manifests, never code, and never raises for a plugin's fault."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from stemprover import __version__
from stemprover.errors import ManifestError, PluginNotFoundError
from stemprover.plugins.base import MISSING_BASE, BaseIdentity, base_identity, host_spectral_spec
from stemprover.plugins.fields import NAME, printable
from stemprover.plugins.manifest import API, HOOK_API, Manifest, parse_manifest, read_manifest_data
from stemprover.plugins.missing import missing_file, missing_module
from stemprover.plugins.packages import Package, installed_packages
from stemprover.plugins.state import State, read_state
from stemprover.plugins.versions import version_in_range

__all__ = ["EMBEDDED", "REPAIRING", "Plugin", "claims", "describe", "find", "installed", "misfit"]

REPAIRING = ("detector", "lora", "hooks")
"""Kinds of plugins that have a say in every automatic repair; vocoders do when they are chosen."""


@dataclasses.dataclass(frozen=True, slots=True)
class Plugin:
    """One line of ``plugins list``.

    Attributes
    ----------
    status, reason : str
        ``ok``, ``disabled``, ``incompatible`` or ``broken``, and why; with ``ok`` what it still needs, if anything.
    folder : Path or None
        The package's folder; ``None`` for what the host brings itself or when it was not found.
    manifest : Manifest or None
        ``None`` for what the host brings itself or when it cannot be read.
    """

    name: str
    kind: str
    version: str
    status: str
    reason: str
    artifacts: tuple[str, ...]
    stems: tuple[str, ...]
    distribution: str
    license: str
    summary: str
    folder: Path | None = None
    manifest: Manifest | None = None

    @property
    def weights_folder(self) -> Path | None:
        """The folder that the manifest's ``files`` are relative to; ``None`` when nothing is stored locally."""
        if self.folder is None or self.manifest is None:
            return None
        weights = self.manifest.weights
        if weights is None:
            return self.folder
        return self.folder / weights.path if weights.path else None

    @property
    def contents(self) -> tuple[str, str, tuple[tuple[str, str], ...]]:
        """What results by it depend on: name, version, and path and SHA-256 of each of its files."""
        files = self.manifest.files if self.manifest is not None else {}
        return self.name, self.version, tuple(sorted(files.items()))

    def to_dict(self) -> dict[str, Any]:
        """Return the JSON object of ``plugins list --json``."""
        keys = "name", "kind", "version", "status", "reason", "artifacts", "stems", "distribution", "license"
        values = ((key, getattr(self, key)) for key in keys)
        return {key: list(value) if isinstance(value, tuple) else value for key, value in values}


def _embedded(name: str, summary: str, kind: str = "vocoder", stems: tuple[str, ...] = ()) -> Plugin:
    return Plugin(name, kind, __version__, "ok", "", (), stems, "stemprover", "Apache-2.0", summary)


def _light_stems() -> tuple[str, ...]:
    """Without its weights the separator makes do with median filters, which tell drums from the rest."""
    has_weights = (Path(__file__).parent.parent / "weights" / "separator" / "config.json").is_file()
    return ("drums", "bass", "other", "vocals") if has_weights else ("drums", "other")


EMBEDDED = (
    _embedded("embedded", "Phase-aware iSTFT vocoder that ships with the host"),
    _embedded("griffin-lim", "Reference: phase by Griffin-Lim iteration"),
    _embedded("input-phase", "Reference: restored magnitude with the input's phase"),
    _embedded("light", "Small separator that ships with the host", "separator", _light_stems()),
)


def installed(safe_mode: bool = False, base: BaseIdentity | None = None) -> tuple[Plugin, ...]:
    """List the host's own vocoders and every installed plugin; imports none of them.

    Parameters
    ----------
    safe_mode : bool
        Report every plugin that is not the host's own as disabled.
    base : BaseIdentity, optional
        Base that adapters must fit; the embedded one by default.
    """
    state, base = read_state(), base_identity() if base is None else base
    taken = {plugin.name: plugin for plugin in EMBEDDED}
    plugins = list(EMBEDDED)
    for package in installed_packages():
        plugin = _switched(describe(package, base), state, safe_mode)
        first = taken.get(plugin.name)
        if first is not None and plugin.status in ("ok", "disabled"):
            reason = f"{first.distribution} has a plugin of this name already; uninstall one of the two"
            plugin = dataclasses.replace(plugin, status="broken", reason=reason)
        elif plugin.status in ("ok", "disabled"):
            taken[plugin.name] = plugin
        plugins.append(plugin)
    return tuple(plugins)


def find(name: str, plugins: Iterable[Plugin] | None = None) -> Plugin:
    """Return the plugin of this name, whatever its status; of two, the usable one.

    Raises
    ------
    PluginNotFoundError
        Lists what is installed, and the nearest name if one is near.
    """
    known = installed() if plugins is None else tuple(plugins)
    same = [plugin for plugin in known if plugin.name == name]
    if same:
        return next((plugin for plugin in same if plugin.status == "ok"), same[0])
    import difflib

    names = sorted({plugin.name for plugin in known})
    near = difflib.get_close_matches(name, names, n=1)
    fix = f"did you mean {near[0]!r}?" if near else "see 'stemprover plugins search'"
    raise PluginNotFoundError(f"an installed plugin ({', '.join(names)})", printable(name), fix)


def claims(plugin: Plugin, artifact: str, stem_class: str) -> int:
    """Tell how specifically a plugin claims an artifact on a stem: the depth of its claim, 0 when it does not.

    ``bleed`` claims ``bleed/drums`` with 1, ``bleed/drums`` claims it with 2. No list of stems means any stem, and a
    ``generic`` stem, whose class nobody knows, may be any of the listed.
    """
    if plugin.stems and stem_class != "generic" and stem_class not in plugin.stems:
        return 0
    depths = (claim.count("/") + 1 for claim in plugin.artifacts if f"{artifact}/".startswith(f"{claim}/"))
    return max(depths, default=0)


def describe(package: Package, base: BaseIdentity | None = None) -> Plugin:
    """Return what a package says about itself, with its status apart from the user's switches."""
    base = base_identity() if base is None else base
    unknown = Plugin(
        package.name, "unknown", package.version, "broken", package.fault, (), (), package.distribution, "", ""
    )
    unknown = dataclasses.replace(unknown, folder=package.folder)
    if package.folder is None:
        return unknown
    try:
        data = read_manifest_data(package.folder)
        api = data.get("api")
        if type(api) is int and api != API:
            return _foreign(unknown, data, api)
        manifest = parse_manifest(data)
    except ManifestError as error:
        return dataclasses.replace(unknown, reason=str(error))
    plugin = dataclasses.replace(
        unknown,
        name=manifest.name,
        kind=manifest.kind,
        reason="",
        artifacts=manifest.artifacts,
        stems=manifest.stems,
        license=manifest.license,
        summary=manifest.summary,
        manifest=manifest,
    )
    if package.data_only and manifest.kind != "lora":
        return dataclasses.replace(plugin, status="broken", reason="this folder is for adapters; install code with pip")
    for status, reason in (
        ("incompatible", misfit(manifest, plugin.distribution, base)),
        ("broken", missing_file(plugin.weights_folder, manifest, plugin.distribution)),
    ):
        if reason:
            return dataclasses.replace(plugin, status=status, reason=reason)
    return dataclasses.replace(plugin, status="ok", reason=missing_module(manifest))


def _foreign(unknown: Plugin, data: dict[str, Any], api: int) -> Plugin:
    """Describe a plugin for another API major: only its name is taken over, the rest may mean something else."""
    name = data.get("name")
    name = name if isinstance(name, str) and NAME.fullmatch(name) else unknown.name
    other = "a newer stemprover" if api > API else f"a newer {unknown.distribution}"
    reason = f"made for plugin API {printable(api)}, this host has API {API}; install {other}"
    return dataclasses.replace(unknown, name=name, status="incompatible", reason=reason)


def misfit(manifest: Manifest, distribution: str, base: BaseIdentity) -> str:
    """Return why a plugin does not fit this host and base; empty when it does."""
    newer = f"install another version of {distribution}"
    if not version_in_range(__version__, manifest.host):
        return f"made for stemprover {manifest.host}, this is {__version__}; {newer} or of stemprover"
    if manifest.hook_api not in (0, HOOK_API):
        return f"made for hook API {manifest.hook_api}, this host has hook API {HOOK_API}; {newer} or of stemprover"
    if manifest.base is not None:
        if base == MISSING_BASE:
            return "this host has no base weights to compare with; reinstall stemprover"
        if manifest.base.sha256 != base.sha256:
            theirs, ours = (f"{one.id} ({one.sha256[:12]})" for one in (manifest.base, base))
            return f"trained for base {theirs}, this host has {ours}; {newer}"
    if manifest.spectral_spec and manifest.spectral_spec != host_spectral_spec():
        theirs, ours = manifest.spectral_spec[:19], host_spectral_spec()[:19]
        return f"trained for spectral spec {theirs}, this host has {ours}; {newer}"
    return ""


def _switched(plugin: Plugin, state: State, safe_mode: bool) -> Plugin:
    """Apply the user's switches: a plugin that is off is not looked at further, whatever else is wrong with it."""
    reason = ""
    if plugin.name in state.disabled:
        reason = f"switched off; 'stemprover plugins enable {plugin.name}' switches it on"
    elif state.fault and plugin.status == "ok":
        reason = state.fault  # what the user switched off must not come back because a file was damaged
    elif safe_mode and plugin.status == "ok":
        reason = "safe mode runs no plugins"
    return dataclasses.replace(plugin, status="disabled", reason=reason) if reason else plugin
