"""A complete plugin project from templates: package, manifest, card, tests and a workflow for GitHub."""

from __future__ import annotations

import dataclasses
import json
import re
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

from stemprover import __version__
from stemprover.errors import OptionError, OutputError
from stemprover.plugins import Manifest, write_manifest
from stemprover.plugins.fields import ARTIFACT, STEM
from stemprover.plugins.manifest import HOOK_API

__all__ = ["PROJECT_KINDS", "Project", "new_project"]

PROJECT_KINDS = ("lora", "detector", "vocoder", "separator")
_SEPARATED = ("vocals", "other")
_RATE = 44_100
_NAME = re.compile(r"[a-z0-9][a-z0-9_-]{0,47}")  # no dots: PEFT takes an adapter's name into module names
_LICENSE = "Apache-2.0"
_COMMON = {
    "common/pyproject.toml.j2": "pyproject.toml",
    "common/README.md.j2": "README.md",
    "common/gitignore.j2": ".gitignore",
    "common/workflow.yml.j2": ".github/workflows/test.yml",
    "{kind}/test.py.j2": "tests/test_{package}.py",
    "{kind}/init.py.j2": "{package}/__init__.py",
}
_OF_KIND = {
    "lora": {"lora/make_pairs.py.j2": "make_pairs.py"},
    "detector": {"detector/detector.py.j2": "{package}/detector.py"},
    "vocoder": {"vocoder/vocoder.py.j2": "{package}/vocoder.py"},
    "separator": {"separator/separator.py.j2": "{package}/separator.py"},
}


@dataclasses.dataclass(frozen=True, slots=True)
class Project:
    """What the templates need to know.

    Attributes
    ----------
    kind, name : str
        One of :data:`PROJECT_KINDS`, and what users call the plugin.
    summary, license : str
        One line, and an SPDX expression; defaults are derived.
    artifacts, stems : tuple of str
        What it repairs or finds, and on which stem classes (none: any).
    """

    kind: str
    name: str
    summary: str = ""
    license: str = ""
    artifacts: tuple[str, ...] = ()
    stems: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if self.kind not in PROJECT_KINDS:
            raise OptionError(f"a kind of plugin ({', '.join(PROJECT_KINDS)})", repr(self.kind), "choose one of them")
        if not _NAME.fullmatch(self.name):
            fix = "use for example drumbleed"
            raise OptionError("a name of lower-case letters, digits, '_' and '-'", repr(self.name), fix)
        for pattern, values, what in ((ARTIFACT, self.artifacts, "artifact"), (STEM, self.stems, "stem class")):
            wrong = next((value for value in values if not pattern.fullmatch(value)), None)
            if wrong is not None:
                raise OptionError(
                    f"an {what} such as bleed/drums or vocals".replace("an s", "a s"), repr(wrong), "mend it"
                )

    @property
    def distribution(self) -> str:
        """Name of the distribution, and of the project's folder."""
        return re.sub(r"[-_]+", "-", f"stemprover-{self.kind}-{self.name}")

    @property
    def package(self) -> str:
        """Name of the importable package."""
        return self.distribution.replace("-", "_")

    @property
    def class_name(self) -> str:
        """Name of the class in the sample code."""
        return "".join(part.capitalize() for part in re.split(r"[-_]+", self.name)) + self.kind.capitalize()

    @property
    def line(self) -> str:
        """The summary, or one that follows from the name."""
        verbs = {
            "lora": "Repairs {}",
            "detector": "Finds {}",
            "vocoder": "{}: a vocoder",
            "separator": "{}: a separator",
        }
        what = ", ".join(self.artifacts) if self.artifacts and self.kind in ("lora", "detector") else self.name
        return self.summary or verbs[self.kind].format(what)

    def manifest(self) -> Manifest:
        """Return the manifest; that of an adapter lacks base, weights and files, which packing adds."""
        code = self.kind != "lora"
        separator = self.kind == "separator"
        return Manifest(
            name=self.name,
            kind=self.kind,
            summary=self.line,
            license=self.license or _LICENSE,
            host=host_range(),
            artifacts=self.artifacts or ((self.name.replace("_", "-"),) if self.claims else ()),
            stems=_SEPARATED if separator else self.stems,
            sample_rate=_RATE,
            entry=f"{self.package}:{self.kind}" if code else "",
            hook_api=HOOK_API if code else 0,
        )

    @property
    def claims(self) -> bool:
        """Whether plugins of this kind name artifacts."""
        return self.kind in ("lora", "detector")


def host_range(version: str = __version__) -> str:
    """Return the versions of the host that a new plugin is for: this minor version up to the next major one."""
    major, minor = (int(part) for part in version.split(".")[:2])
    return f">={major}.{minor},<{major + 1}"


def new_project(project: Project, parent: Path, adapter: Path | None = None, base: Path | None = None) -> Path:
    """Write a project folder ``parent/<distribution>``; either all of it appears or nothing.

    Parameters
    ----------
    adapter : Path, optional
        PEFT folder to pack (kind ``lora``); without it the project gets an untrained adapter, which changes nothing.
    base : Path, optional
        Folder of the base that the adapter is for; the embedded one by default.

    Raises
    ------
    OutputError
        The folder exists already or cannot be written.
    AdapterError, PluginError
        The adapter cannot be used.
    """
    target = parent / project.distribution
    if target.exists():
        raise OutputError(f"to make {target}", "a folder or file of this name", "choose another name or remove it")
    try:
        parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=parent, prefix=".new-") as draft:
            folder = Path(draft) / project.distribution
            _fill(project, folder, adapter, base)
            shutil.move(folder, target)
    except OSError as error:
        raise OutputError(
            f"to write {target}", error.strerror or "an error", "check free space and permissions"
        ) from error
    return target


def _fill(project: Project, folder: Path, adapter: Path | None, base: Path | None) -> None:
    for name, text in _rendered(project):
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
    package = folder / project.package
    if project.kind != "lora":
        write_manifest(package, project.manifest())
        return
    from stemprover.authoring.adapters import new_adapter
    from stemprover.authoring.packing import pack_into

    if adapter is None:
        adapter = new_adapter(package / "adapter", project.manifest().artifacts[0], base=base)
    pack_into(package, adapter, project.manifest(), base)


def _rendered(project: Project) -> Iterator[tuple[str, str]]:
    """Yield path and text of every file."""
    import jinja2

    loader = jinja2.PackageLoader("stemprover.authoring", "templates")
    environment = jinja2.Environment(  # plain text, not HTML
        loader=loader,
        undefined=jinja2.StrictUndefined,
        keep_trailing_newline=True,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    names = {"kind": project.kind, "package": project.package}
    manifest = project.manifest()
    for template, path in {**_COMMON, **_OF_KIND[project.kind]}.items():
        page = environment.get_template(template.format(**names))
        yield path.format(**names), page.render(project=project, manifest=manifest, host=host_range(), literal=_literal)


def _literal(names: tuple[str, ...]) -> str:
    """Return a tuple of names as a formatter would write it."""
    return f"({', '.join(json.dumps(name) for name in names)}{',' if len(names) == 1 else ''})"
