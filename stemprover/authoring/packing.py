"""An adapter in, a project folder out: made from the templates, or brought up to date if it is there."""

from __future__ import annotations

import dataclasses
from pathlib import Path

from stemprover.authoring.adapters import base_in
from stemprover.authoring.project import Project, new_project
from stemprover.errors import PluginError
from stemprover.plugins import Manifest, pack_adapter, read_manifest
from stemprover.plugins.card import has_marks
from stemprover.plugins.manifest import MANIFEST_NAME
from stemprover.restoration.lora_file import read_adapter

__all__ = ["pack_into", "pack_project", "stated_artifact"]


def pack_project(project: Project, adapter: Path, parent: Path, base: Path | None = None) -> Path:
    """Pack a PEFT folder into ``parent/<distribution>``.

    In a project that exists only the adapter, the manifest and the card's table change; what the caller does not say
    about it (summary, licence, artifacts, stems) stays. Metrics are dropped: they were measured on other weights.

    Raises
    ------
    AdapterError, PluginError
        The adapter cannot be used, or the folder is no project of an adapter.
    OutputError
        The folder cannot be written.
    """
    file = read_adapter(adapter)
    file.tensors()  # NaN and infinity are found here, not by users
    if not project.artifacts:
        project = dataclasses.replace(project, artifacts=stated_artifact(dict(file.metadata)))
    folder = parent / project.distribution
    package = folder / project.package
    if not folder.exists():
        return new_project(project, parent, adapter, base)
    if not (package / MANIFEST_NAME).is_file():
        raise PluginError(f"a project of {project.name} in {folder}", "another folder", "choose another --out")
    pack_into(package, adapter, _merged(read_manifest(package), project), base)
    return folder


def pack_into(package: Path, adapter: Path, manifest: Manifest, base: Path | None = None) -> Manifest:
    """Put an adapter into a package, described by ``manifest``; see :func:`stemprover.plugins.pack_adapter`."""
    if not has_marks(package.parent / "README.md"):
        raise PluginError(f"a model card {package.parent / 'README.md'}", "none with marks for metrics", "restore it")
    return pack_adapter(adapter, package, metrics={}, manifest=manifest, base=base_in(base))


def stated_artifact(metadata: dict[str, str]) -> tuple[str, ...]:
    """Return the artifact that ``stemprover train lora`` wrote into the weights' header, if any."""
    return (metadata["artifact"],) if metadata.get("artifact") else ()


def _merged(old: Manifest, project: Project) -> Manifest:
    new = project.manifest()
    return dataclasses.replace(
        old,
        summary=project.summary or old.summary,
        license=project.license or old.license,
        artifacts=project.artifacts or old.artifacts,
        stems=project.stems or old.stems,
        host=new.host,
    )
