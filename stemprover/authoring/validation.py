"""Is a project or wheel fit to be published? Everything is looked at, nothing of it is imported."""

from __future__ import annotations

import dataclasses
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

from stemprover.authoring.subject import Subject, opened
from stemprover.errors import ManifestError, StemProverError
from stemprover.plugins import Manifest, Plugin, read_manifest, verify_files
from stemprover.plugins.card import card_problems, own_license
from stemprover.plugins.discovery import describe
from stemprover.plugins.index import known_offline
from stemprover.plugins.packages import Package, canonical

__all__ = ["Finding", "validate"]

_MAX_MB, _LARGE_LORA_MB = 100.0, 50.0
_WEIGHTS = frozenset({".safetensors", ".onnx", ".skops"})
_PICKLES = frozenset({".bin", ".ckpt", ".h5", ".joblib", ".npy", ".npz", ".pickle", ".pkl", ".pt", ".pth", ".t7"})


@dataclasses.dataclass(frozen=True, slots=True)
class Finding:
    """One thing that is wrong (``error``) or could be better (``warning``)."""

    level: str
    text: str


def validate(path: Path) -> tuple[Finding, ...]:
    """Check a project folder, a package folder or a wheel: manifest, files, card, licence, size and names.

    Every plugin of a distribution is checked. Nothing is fetched: registries are those that were read before.

    Raises
    ------
    PluginError
        There is no plugin in ``path``.
    """
    with tempfile.TemporaryDirectory() as scratch:
        found = (finding for subject in opened(path, Path(scratch)) for finding in _findings(subject))
        return tuple(dict.fromkeys(found))  # what concerns the whole distribution is said once


def _findings(subject: Subject) -> Iterator[Finding]:
    """Everything about one plugin of a distribution."""
    try:
        manifest = read_manifest(subject.package)
    except ManifestError as error:
        yield Finding("error", str(error))
        return
    checks: tuple[Callable[[Subject, Manifest], Iterator[Finding]], ...] = (
        _host, _files, _adapter, _licence, _card, _names, _needs, _size,
    )  # fmt: skip
    for check in checks:
        yield from check(subject, manifest)


def _error(text: str) -> Finding:
    return Finding("error", " ".join(text.split()))


def _plugin(subject: Subject) -> Plugin:
    return describe(Package(subject.package.name, subject.distribution, "", subject.package))


def _host(subject: Subject, manifest: Manifest) -> Iterator[Finding]:
    del manifest
    plugin = _plugin(subject)
    if plugin.status not in ("ok", "disabled"):
        yield _error(f"{plugin.status} on this host: {plugin.reason}")


def _files(subject: Subject, manifest: Manifest) -> Iterator[Finding]:
    try:
        verify_files(_plugin(subject))
    except StemProverError as error:
        yield _error(str(error))
    prefix = f"{manifest.weights.path}/" if manifest.weights and manifest.weights.path else ""
    listed = {prefix + name for name in manifest.files}
    for path in sorted(subject.package.rglob("*")):
        name = path.relative_to(subject.package).as_posix()
        if path.suffix.lower() in _PICKLES:
            yield _error(f"{name} may run code when it is opened; store weights as safetensors, ONNX or skops")
        elif path.suffix.lower() in _WEIGHTS and name not in listed:
            yield _error(f"{name} is not among the manifest's files; list it with its SHA-256")


def _adapter(subject: Subject, manifest: Manifest) -> Iterator[Finding]:
    if manifest.kind != "lora":
        return
    if "." in manifest.name:
        yield _error(f"the name {manifest.name!r} holds a dot, which an adapter's name cannot")
    code = [path for path in subject.package.rglob("*.py") if path.name != "__init__.py" or _has_code(path)]
    for path in sorted(code):
        yield _error(f"{path.name} holds code; an adapter is data only")
    if manifest.weights is None or not manifest.weights.path:
        return
    from stemprover.restoration.lora_file import read_adapter

    try:
        file = read_adapter(subject.package / manifest.weights.path)
        tensors = file.tensors()
    except StemProverError as error:
        yield _error(str(error))
        return
    stated = file.metadata.get("base_sha256", "")
    if manifest.base is not None and stated not in ("", manifest.base.sha256):
        yield _error(f"manifest and weights name two bases, {manifest.base.sha256[:12]} and {stated[:12]}")
    if not any(tensor.any() for name, tensor in tensors.items() if ".lora_B." in name):  # as before the first step
        yield Finding("warning", "the weights change nothing: train the adapter, then pack it again")


def _has_code(path: Path) -> bool:
    """Tell whether a module holds more than its docstring."""
    import ast

    try:
        body = ast.parse(path.read_text(encoding="utf-8")).body
    except (SyntaxError, ValueError):
        return True
    return any(not (isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant)) for node in body)


def _licence(subject: Subject, manifest: Manifest) -> Iterator[Finding]:
    from packaging.licenses import InvalidLicenseExpression, canonicalize_license_expression

    try:
        canonicalize_license_expression(manifest.license)
    except InvalidLicenseExpression:
        yield _error(f"licence {manifest.license!r} is no SPDX expression such as Apache-2.0 or CC-BY-4.0")
    if subject.license is not None and subject.license != own_license(manifest):
        yield _error(f"manifest and package state two licences, {manifest.license} and {subject.license or 'none'}")


def _card(subject: Subject, manifest: Manifest) -> Iterator[Finding]:
    if subject.card is not None:
        yield from (_error(problem) for problem in card_problems(subject.card, manifest))


def _names(subject: Subject, manifest: Manifest) -> Iterator[Finding]:
    if subject.entry_points is not None:
        names = [name for name, module in subject.entry_points.items() if module == subject.module]
        if names != [manifest.name]:
            wanted = f'{manifest.name} = "{subject.module}"'
            yield _error(f"an entry point of group stemprover.plugins must be {wanted}, not {names or 'absent'}")
    for module in subject.unfounded:
        yield _error(f"an entry point names {module}, where no package with stemprover.json is")
    if subject.requires is not None and "stemprover" not in map(_needed, subject.requires):
        yield Finding("warning", "the package does not depend on stemprover; add it with a range of versions")
    for entry in known_offline().entries:
        if entry.name == manifest.name and canonical(entry.distribution) != canonical(subject.distribution):
            text = (
                f"the registry has a plugin {entry.name} already ({entry.distribution}); users could not install both"
            )
            yield Finding("warning", text)


def _needs(subject: Subject, manifest: Manifest) -> Iterator[Finding]:
    """What the list tells users to install must bring the module: of the package itself, an extra that it offers."""
    from packaging.requirements import Requirement

    for module, text in manifest.needs.items():
        need = Requirement(text)
        if subject.extras is None or canonical(need.name) != canonical(subject.distribution):
            continue
        if not need.extras:
            yield _error(f"{text} is the package itself, which needs {module}; name one of its extras")
        for extra in sorted(set(map(canonical, need.extras)) - set(map(canonical, subject.extras))):
            yield _error(f"{module} is to come with {text}, but the package has no extra {extra}")


def _needed(requirement: str) -> str:
    """The distribution that a requirement names, empty when it cannot be read."""
    from packaging.requirements import InvalidRequirement, Requirement

    try:
        return canonical(Requirement(requirement).name)
    except InvalidRequirement:
        return ""


def _size(subject: Subject, manifest: Manifest) -> Iterator[Finding]:
    size = sum(path.stat().st_size for path in subject.package.rglob("*") if path.is_file()) / 1e6
    if size > _MAX_MB:
        yield _error(f"the package has {size:.0f} MB; PyPI takes {_MAX_MB:.0f}, so put the weights on the hub")
    elif manifest.kind == "lora" and size > _LARGE_LORA_MB:
        yield Finding("warning", f"the package has {size:.0f} MB; a lower rank or half precision makes it smaller")
