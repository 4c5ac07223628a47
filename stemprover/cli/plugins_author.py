"""``stemprover plugins``: for authors."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from stemprover.cli.process import quieten_libraries

if TYPE_CHECKING:
    from stemprover.authoring import Project

__all__ = ["AUTHORING_COMMANDS"]

_folder = click.Path(file_okay=False, path_type=Path)
_summary = click.option("--summary", default="", help="One line for lists.")
_artifact = click.option("--artifact", "artifacts", multiple=True, help="What it repairs or finds (repeatable).")
_stem = click.option("--stem", "stems", multiple=True, help="Stem class it is for (repeatable); any without it.")
_license = click.option("--license", "license", default="", help="SPDX expression; Apache-2.0 for a new project.")
_out = click.option("-o", "--out", type=_folder, default=Path(), help="Where the project's folder is; here by default.")
_base = click.option("--base", type=_folder, help="Folder of the base that the adapter is for; the embedded one.")


@click.command()
@click.argument("kind", type=click.Choice(("lora", "detector", "vocoder", "separator")))
@click.argument("name")
@_summary
@_artifact
@_stem
@_license
@_out
def new(
    kind: str, name: str, summary: str, artifacts: tuple[str, ...], stems: tuple[str, ...], license: str, out: Path
) -> None:
    """Start a plugin: a project with package, manifest, card, tests and a workflow, which runs as it is.

    An adapter begins untrained and changes nothing; the others begin with a small working method to replace.
    """
    from stemprover.authoring import new_project

    if kind == "lora":  # only an adapter needs the base, and with it the libraries
        quieten_libraries()
    folder = new_project(_project(kind, name, summary, artifacts, stems, license), out)
    click.echo(f"wrote {folder}")
    click.echo(f"next: cd {folder} && pip install -e '.[test]' && pytest")


@click.command()
@click.argument("adapter", type=_folder, required=False)
@click.option("--name", required=True, help="What users call it, for example drumbleed.")
@click.option(
    "--from-diffusers",
    "foreign",
    type=click.Path(dir_okay=False, path_type=Path),
    help="Import this LoRA file of a diffusers or kohya trainer instead of ADAPTER.",
)
@click.option("--alpha", type=click.FloatRange(0.0, min_open=True), help="Alpha of an imported file that states none.")
@_summary
@_artifact
@_stem
@_license
@_base
@_out
@click.option("--wheel", is_flag=True, help="Build a wheel into OUT, too.")
def pack(
    adapter: Path | None,
    name: str,
    foreign: Path | None,
    alpha: float | None,
    summary: str,
    artifacts: tuple[str, ...],
    stems: tuple[str, ...],
    license: str,
    base: Path | None,
    out: Path,
    wheel: bool,
) -> None:
    """Put a trained adapter into a plugin project: manifest, model card and a SHA-256 per file.

    ADAPTER is the folder final/ of a run of `stemprover train lora`, or any PEFT folder. A project of this name in OUT
    is brought up to date, otherwise one is made.
    """
    import tempfile

    from stemprover.authoring import build_wheel, import_adapter, pack_project
    from stemprover.errors import OptionError

    quieten_libraries()
    if (adapter is None) == (foreign is None):
        raise OptionError("ADAPTER or --from-diffusers FILE", "both" if adapter else "neither", "give one of them")
    project = _project("lora", name, summary, artifacts, stems, license)
    with tempfile.TemporaryDirectory() as scratch:
        source = adapter
        if foreign is not None:
            source = import_adapter(foreign, Path(scratch) / "adapter", alpha=alpha, base=base)
        assert source is not None
        folder = pack_project(project, source, out, base)
    click.echo(f"packed {folder}")
    if wheel:
        click.echo(f"built {build_wheel(folder, out)}")


@click.command()
@click.argument("path", metavar="DIR|WHEEL", type=click.Path(exists=True, path_type=Path))
@click.pass_context
def validate(context: click.Context, path: Path) -> None:
    """Check a project, a package folder or a wheel: manifest, files, card, licence, size and names.

    Nothing of it is imported. The exit code is 2 if something is wrong.
    """
    from stemprover.authoring import validate as check

    findings = check(path)
    for finding in findings:
        click.echo(f"{finding.level}: {finding.text}")
    errors = sum(finding.level == "error" for finding in findings)
    click.echo(f"{path}: {errors} error{'' if errors == 1 else 's'}" if errors else f"{path}: fit to be published")
    if errors:
        context.exit(2)


def _project(
    kind: str, name: str, summary: str, artifacts: tuple[str, ...], stems: tuple[str, ...], license: str
) -> Project:
    from stemprover.authoring import Project

    return Project(kind, name, summary, license, artifacts, stems)


AUTHORING_COMMANDS = (new, pack, validate)
