"""Is a project or wheel fit to be published? Everything is looked at, nothing of it is imported."""

from __future__ import annotations

import dataclasses
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

from stemprover.authoring.subject import Subject, opened
from stemprover.errors import ManifestError, StemProverError
from stemprover.plugins import Manifest, Plugin, read_manifest, registry, verify_files
from stemprover.plugins.card import card_problems
from stemprover.plugins.discovery import describe
from stemprover.plugins.packages import Package

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

    Raises
    ------
    PluginError
        There is no plugin in ``path``.
    """
    with tempfile.TemporaryDirectory() as scratch:
        subject = opened(path, Path(scratch))
        try:
            manifest = read_manifest(subject.package)
        except ManifestError as error:
            return (Finding("error", str(error)),)
        checks: tuple[Callable[[Subject, Manifest], Iterator[Finding]], ...] = (
            _host, _files, _adapter, _licence, _card, _names, _size,
        )  # fmt: skip
        return tuple(finding for check in checks for finding in check(subject, manifest))


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
        file.tensors()
    except StemProverError as error:
        yield _error(str(error))
        return
    stated = file.metadata.get("base_sha256", "")
    if manifest.base is not None and stated not in ("", manifest.base.sha256):
        yield _error(f"manifest and weights name two bases, {manifest.base.sha256[:12]} and {stated[:12]}")


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
    if subject.license is not None and subject.license != manifest.license:
        yield _error(f"manifest and package state two licences, {manifest.license} and {subject.license or 'none'}")


def _card(subject: Subject, manifest: Manifest) -> Iterator[Finding]:
    if subject.card is not None:
        yield from (_error(problem) for problem in card_problems(subject.card, manifest))


def _names(subject: Subject, manifest: Manifest) -> Iterator[Finding]:
    if subject.entry_points is not None and subject.entry_points != {manifest.name: subject.package.name}:
        wanted = f'{manifest.name} = "{subject.package.name}"'
        yield _error(f"the entry points of group stemprover.plugins must be just {wanted}, not {subject.entry_points}")
    if subject.requires is not None and not any(one.startswith("stemprover") for one in subject.requires):
        yield Finding("warning", "the package does not depend on stemprover; add it with a range of versions")
    for entry in registry().entries:
        if entry.name == manifest.name and entry.distribution != subject.distribution:
            text = (
                f"the registry has a plugin {entry.name} already ({entry.distribution}); users could not install both"
            )
            yield Finding("warning", text)


def _size(subject: Subject, manifest: Manifest) -> Iterator[Finding]:
    size = sum(path.stat().st_size for path in subject.package.rglob("*") if path.is_file()) / 1e6
    if size > _MAX_MB:
        yield _error(f"the package has {size:.0f} MB; PyPI takes {_MAX_MB:.0f}, so put the weights on the hub")
    elif manifest.kind == "lora" and size > _LARGE_LORA_MB:
        yield Finding("warning", f"the package has {size:.0f} MB; a lower rank or half precision makes it smaller")
