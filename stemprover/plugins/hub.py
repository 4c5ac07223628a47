"""Adapters on the Hugging Face hub, always of one exact commit and compared with SHA-256 sums.

``hf:owner/repository@<40 hex digits>`` names a repository that holds ``stemprover.json`` and, in the folder that it
names, the adapter. Only data comes this way: a code plugin is a package. What was fetched once is in the hub's cache
and needs no network.
"""

from __future__ import annotations

import contextlib
import dataclasses
import json
import re
import shutil
import tempfile
from pathlib import Path

from stemprover.errors import AdapterError, PluginError
from stemprover.plugins.base import base_identity
from stemprover.plugins.discovery import EMBEDDED, Plugin, describe, installed, misfit
from stemprover.plugins.fields import printable
from stemprover.plugins.hashing import file_sha256, verify_files
from stemprover.plugins.manifest import MANIFEST_NAME, Manifest, read_manifest
from stemprover.plugins.packages import ORIGIN_NAME, Package, folder_package, folder_source, is_hub_folder, user_folder

__all__ = [
    "HubSource",
    "fetch",
    "fetch_adapter",
    "install_adapter",
    "parse_source",
    "read_hub_manifest",
    "require_free_name",
]

_SOURCE = re.compile(
    r"hf:(?P<repository>[A-Za-z0-9][\w.-]{0,95}/[A-Za-z0-9][\w.-]{0,95})@(?P<revision>[0-9a-f]{40})"
    r"(?:#sha256=(?P<sha256>[0-9a-f]{64}))?",
    re.ASCII,
)

_ANOTHER = "nothing was changed; name another commit, or see 'stemprover plugins search'"


@dataclasses.dataclass(frozen=True, slots=True)
class HubSource:
    """A commit of a repository; ``sha256`` is that of its manifest, empty when only the commit is known."""

    repository: str
    revision: str
    sha256: str = ""

    def __str__(self) -> str:
        return f"hf:{self.repository}@{self.revision}"


def parse_source(text: str) -> HubSource:
    """Read ``hf:owner/repository@commit``, optionally with ``#sha256=`` of the manifest.

    Raises
    ------
    PluginError
        It is not of that form; a branch or tag is none, because what it names changes.
    """
    match = _SOURCE.fullmatch(text)
    if match is None:
        fix = "copy the commit from the repository's history; branches and tags change"
        raise PluginError("hf:owner/repository@<40 hex digits of a commit>", printable(text), fix)
    return HubSource(match["repository"], match["revision"], match["sha256"] or "")


def fetch(source: HubSource, file: str, sha256: str = "", cache_dir: Path | None = None) -> Path:
    """Return a file of a commit from the hub's cache, downloaded first if need be.

    The hub's client writes to a temporary file and renames it. A copy in the cache that is not as it should be is
    fetched once more.

    Raises
    ------
    AdapterError
        It cannot be fetched, or its SHA-256 is another.
    """
    path = _download(source, file, cache_dir, again=False)
    if not sha256 or file_sha256(path) == sha256:
        return path
    wrong = file_sha256(path)
    with contextlib.suppress(AdapterError):  # offline: the first answer says more
        wrong = file_sha256(_download(source, file, cache_dir, again=True))
    if wrong != sha256:
        fix = "the file was changed or cut off; nothing of it was used. Tell the adapter's author if it stays so"
        raise AdapterError(f"{file} of {source} with SHA-256 {sha256}", wrong, fix)
    return path


def read_hub_manifest(source: HubSource, cache_dir: Path | None = None) -> Manifest:
    """Fetch and check the manifest of an adapter on the hub.

    Raises
    ------
    AdapterError, ManifestError, PluginError
        It cannot be fetched, is invalid, describes something else than an adapter with its weights beside it, or an
        adapter that does not fit this host and base.
    """
    manifest = read_manifest(fetch(source, MANIFEST_NAME, source.sha256, cache_dir).parent)
    if manifest.kind != "lora":
        raise PluginError(f"an adapter in {source}", f"kind {manifest.kind}", "code comes as a package, with pip")
    if manifest.weights is None or not manifest.weights.path:
        raise PluginError(f"weights in {source}", "a manifest that names another place", "install that package instead")
    reason = misfit(manifest, f"hf:{source.repository}", base_identity())
    if reason:
        raise PluginError(f"{source} to fit this host", reason, _ANOTHER)
    return manifest


def require_free_name(source: HubSource, name: str) -> Plugin | None:
    """Check that an adapter may have its name; returns the plugin that it replaces, an older commit of its own.

    Raises
    ------
    PluginError
        A part of the host, a package, or an adapter of another repository has it.
    """
    place = user_folder() / name
    for old in installed():
        if old.name != name and old.folder != place:
            continue
        if old in EMBEDDED:
            fix = "ask its author for another name"
            raise PluginError(f"a new name for {source}", f"{name}, which is a part of stemprover", fix)
        if old.folder is None or not is_hub_folder(old.folder):
            fix = f"run 'stemprover plugins uninstall {old.distribution}' first"
            raise PluginError(f"a new name for {source}", f"{name}, which {old.distribution} has", fix)
        theirs = folder_source(old.folder).partition("@")[0]
        if theirs != f"hf:{source.repository}":
            fix = f"run 'stemprover plugins uninstall {name}' first"
            raise PluginError(f"a new name for {source}", f"{name}, which {theirs or 'an unknown repository'} has", fix)
        return old
    return None


def fetch_adapter(source: HubSource, cache_dir: Path | None = None) -> Manifest:
    """Fetch all files of an adapter into the hub's cache and compare them; nothing is installed.

    Raises
    ------
    AdapterError, ManifestError, PluginError
        As :func:`read_hub_manifest`, or a file is not the one that the manifest names.
    """
    manifest = read_hub_manifest(source, cache_dir)
    assert manifest.weights is not None
    for name, sha256 in manifest.files.items():
        fetch(source, f"{manifest.weights.path}/{name}", sha256, cache_dir)
    return manifest


def install_adapter(source: HubSource, cache_dir: Path | None = None) -> Plugin:
    """Put an adapter of the hub into the user's plugin folder.

    It is written to a temporary folder, checked, and renamed; until then an earlier version stays as it is.

    Raises
    ------
    AdapterError, ManifestError, PluginError
        As :func:`read_hub_manifest` and :func:`require_free_name`, or a file is not the one that the manifest names.
    """
    manifest = read_hub_manifest(source, cache_dir)
    require_free_name(source, manifest.name)
    assert manifest.weights is not None
    home = user_folder()
    try:
        home.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=home, prefix=".", ignore_cleanup_errors=True) as draft_name:
            draft = Path(draft_name)
            shutil.copyfile(fetch(source, MANIFEST_NAME, source.sha256, cache_dir), draft / MANIFEST_NAME)
            for name, sha256 in manifest.files.items():
                file = f"{manifest.weights.path}/{name}"
                (draft / file).parent.mkdir(parents=True, exist_ok=True)
                shutil.copyfile(fetch(source, file, sha256, cache_dir), draft / file)
            origin = {"hub": source.repository, "revision": source.revision}
            (draft / ORIGIN_NAME).write_text(json.dumps(origin) + "\n", encoding="utf-8")
            plugin = _usable(folder_package(draft))
            target = home / plugin.name
            _replace(draft, target)
    except OSError as error:
        fix = "set STEMPROVER_HOME to a folder you may write to"
        raise PluginError(f"to write {home}", error.strerror or "an error", fix) from error
    return describe(folder_package(target))


def _usable(package: Package) -> Plugin:
    plugin = describe(package)
    if plugin.status != "ok":
        raise PluginError(f"{plugin.distribution} to fit this host", plugin.reason, _ANOTHER)
    verify_files(plugin)
    return plugin


def _replace(draft: Path, target: Path) -> None:
    """Rename a folder to a name that may be taken; what was there comes back if that fails."""
    if not target.exists():
        draft.chmod(0o755)  # temporary folders are private
        draft.rename(target)
        return
    old = draft.with_name(f"{draft.name}.old")
    target.rename(old)
    try:
        _replace(draft, target)
    except OSError:
        old.rename(target)
        raise
    shutil.rmtree(old, ignore_errors=True)


def _download(source: HubSource, file: str, cache_dir: Path | None, again: bool) -> Path:
    from huggingface_hub import hf_hub_download

    try:
        path = hf_hub_download(
            source.repository, file, revision=source.revision, cache_dir=cache_dir, force_download=again
        )
    except Exception as error:  # the hub's errors and its HTTP client's share no other base
        what = f"{file} of hub repository {source.repository} at {source.revision[:12]}"
        fix = "check the network, or install the adapter as a package"
        raise AdapterError(what, f"{type(error).__name__}: {printable(str(error), limit=160)}", fix) from error
    return Path(path)
