"""The plugin manifest, version 1: ``stemprover.json`` in the plugin's package.

A manifest is data from a stranger. Reading one never runs code, follows no path out of the package, reads at most
:data:`MAX_MANIFEST_BYTES` and puts nothing unprintable on a terminal.
"""

from __future__ import annotations

import dataclasses
import json
import os
import stat
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from stemprover.errors import ManifestError
from stemprover.plugins import fields
from stemprover.plugins.versions import valid_range

__all__ = [
    "API",
    "HOOK_API",
    "KINDS",
    "MANIFEST_NAME",
    "MAX_MANIFEST_BYTES",
    "BaseRef",
    "Manifest",
    "Weights",
    "parse_manifest",
    "read_manifest",
    "read_manifest_data",
    "write_manifest",
]

API = 1
"""Version of the manifest's schema."""
HOOK_API = 1
"""Version of the hooks; it grows when one changes in a way that existing plugins notice."""
MANIFEST_NAME = "stemprover.json"
MAX_MANIFEST_BYTES = 1_000_000
KINDS = ("lora", "detector", "vocoder", "separator", "metric", "hooks")
_LORA_FILES = ("adapter_config.json", "adapter_model.safetensors")


@dataclasses.dataclass(frozen=True, slots=True)
class BaseRef:
    """The base that an adapter was trained for, by name and SHA-256."""

    id: str
    sha256: str


@dataclasses.dataclass(frozen=True, slots=True)
class Weights:
    """Where the weights are: ``path`` in the package, or ``hub`` repository pinned to the commit ``revision``."""

    path: str = ""
    hub: str = ""
    revision: str = ""


@dataclasses.dataclass(frozen=True, slots=True)
class Manifest:
    """What a plugin says about itself.

    Attributes
    ----------
    host : str
        Version range of the host, for example ``>=0.1,<1``.
    artifacts, stems : tuple of str
        What it claims (adapters) or finds (detectors), and for which stem classes; no stems means any.
    sample_rate : int
        Hz; 0 when the plugin does not depend on it.
    base, spectral_spec, weights : BaseRef, str, Weights
        Required for ``lora``; ``None`` or empty when a code plugin has none.
    files : Mapping[str, str]
        SHA-256 by path, relative to ``weights.path`` if there is one, else to the package.
    metrics : Mapping[str, float | str]
        Measured results, for example ``si_sdr_gain_db``.
    entry : str
        ``package.module:attribute`` of code plugins.
    hook_api : int
        Version of the hooks that a code plugin was written for; 0 for data.
    needs : Mapping[str, str]
        Modules that a code plugin wraps and its distribution does not bring by itself, each with what pip installs.
    download_size_mb : float
        What a separator or vocoder fetches when it is first used; 0 when everything is in the package.
    """

    name: str
    kind: str
    summary: str
    license: str
    host: str
    artifacts: tuple[str, ...] = ()
    stems: tuple[str, ...] = ()
    sample_rate: int = 0
    base: BaseRef | None = None
    spectral_spec: str = ""
    weights: Weights | None = None
    files: Mapping[str, str] = dataclasses.field(default_factory=dict)
    metrics: Mapping[str, float | str] = dataclasses.field(default_factory=dict)
    entry: str = ""
    hook_api: int = 0
    needs: Mapping[str, str] = dataclasses.field(default_factory=dict)
    download_size_mb: float = 0
    api: int = API

    def to_dict(self) -> dict[str, Any]:
        """Return the JSON object, without the keys that do not apply."""
        data = dataclasses.asdict(self)
        if self.weights:
            data["weights"] = {key: value for key, value in dataclasses.asdict(self.weights).items() if value}
        ordered = {"api": data.pop("api"), "host": data.pop("host"), **data}
        return {key: list(value) if isinstance(value, tuple) else value for key, value in ordered.items() if value}


def read_manifest_data(folder: Path) -> dict[str, Any]:
    """Read ``stemprover.json`` of a package as a plain JSON object.

    Raises
    ------
    ManifestError
        When it is missing, not a regular file, too large, or not a JSON object.
    """
    path = folder / MANIFEST_NAME
    try:
        info = os.stat(path)  # noqa: PTH116 - one call for type and size
        if not stat.S_ISREG(info.st_mode):  # opening a pipe would wait for ever
            raise ManifestError(f"a regular file {MANIFEST_NAME}", "something else", "reinstall the plugin")
        if info.st_size > MAX_MANIFEST_BYTES:
            what = f"at most {MAX_MANIFEST_BYTES} bytes of {MANIFEST_NAME}"
            raise ManifestError(what, f"{info.st_size}", "make it smaller")
        data = json.loads(path.read_bytes().decode("utf-8"))
    except FileNotFoundError as error:
        what = f"{MANIFEST_NAME} in package {folder.name}"
        raise ManifestError(what, "no such file", "reinstall the plugin") from error
    except OSError as error:
        got = fields.printable(error.strerror)
        raise ManifestError(f"a readable {MANIFEST_NAME}", got, "check its permissions") from error
    except (ValueError, RecursionError) as error:  # not UTF-8, not JSON, or nested without end
        fix = "reinstall the plugin or tell its author"
        raise ManifestError(f"{MANIFEST_NAME} to be JSON", fields.printable(str(error)), fix) from error
    if not isinstance(data, dict):
        raise ManifestError(f"{MANIFEST_NAME} to be an object", type(data).__name__, "tell the plugin's author")
    return data


def read_manifest(folder: Path) -> Manifest:
    """Read and check the manifest of the package in ``folder``; see :func:`parse_manifest`."""
    return parse_manifest(read_manifest_data(folder))


def parse_manifest(data: Mapping[str, Any]) -> Manifest:
    """Check a manifest of API version 1; unknown keys are allowed, so that additions do not break older hosts.

    Raises
    ------
    ManifestError
        Names the first key that is wrong, what it should be and what it is.
    """
    api = data.get("api")
    if type(api) is not int or api != API:  # True == 1, hence the type
        raise fields.fail("api", str(API), api)
    kind = data.get("kind")
    if kind not in KINDS:
        raise fields.fail("kind", "one of " + ", ".join(KINDS), kind)
    host = fields.one_line(data, "host")
    if not valid_range(host):
        raise fields.fail("host", "a version range such as '>=0.1,<1'", host)
    manifest = Manifest(
        name=fields.text(data, "name", fields.NAME, "lower-case letters, digits, '.', '_' and '-'"),
        kind=kind,
        summary=fields.one_line(data, "summary"),
        license=fields.one_line(data, "license", limit=64),
        host=host,
        artifacts=fields.names(data, "artifacts", fields.ARTIFACT, "artifact names such as bleed/drums"),
        stems=fields.names(data, "stems", fields.STEM, "stem classes such as vocals"),
        sample_rate=fields.number(data, "sample_rate", 1_000, 1_000_000, "a rate in Hz"),
        base=_base(data),
        spectral_spec=fields.optional_text(data, "spectral_spec", fields.SPEC_DIGEST, "sha256:<64 hex digits>"),
        weights=_weights(data),
        files=fields.hashes(data),
        metrics=fields.metrics(data),
        entry=fields.optional_text(data, "entry", fields.ENTRY, "package.module:attribute"),
        hook_api=fields.number(data, "hook_api", 1, 1_000, "a whole number from 1") or int(kind != "lora"),
        needs=fields.needs(data),
        download_size_mb=fields.number(data, "download_size_mb", 0, 1_000_000, "megabytes", float),
    )
    _check_kind(manifest)
    return manifest


def write_manifest(folder: Path, manifest: Manifest) -> Path:
    """Check a manifest as a reader would and write it to ``folder``; returns the file."""
    data = manifest.to_dict()
    parse_manifest(data)
    path, partial = folder / MANIFEST_NAME, folder / f"{MANIFEST_NAME}.part"
    partial.write_text(json.dumps(data, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
    partial.replace(path)
    return path


def _base(data: Mapping[str, Any]) -> BaseRef | None:
    value = data.get("base")
    if value is None:
        return None
    if not isinstance(value, dict):
        raise fields.fail("base", '{"id", "sha256"}', value)
    return BaseRef(
        id=fields.one_line(value, "id", limit=96),
        sha256=fields.text(value, "sha256", fields.SHA256, "a SHA-256 in 64 lower-case hex digits"),
    )


def _weights(data: Mapping[str, Any]) -> Weights | None:
    value = data.get("weights")
    if value is None:
        return None
    if not isinstance(value, dict) or ("path" in value) == ("hub" in value):
        raise fields.fail("weights", '{"path"} or {"hub", "revision"}', value)
    if "path" in value:
        return Weights(path=fields.relative_path("weights.path", value["path"]))
    return Weights(
        hub=fields.text(value, "hub", fields.HUB_ID, "owner/repository"),
        revision=fields.text(value, "revision", fields.COMMIT, "a commit in 40 lower-case hex digits"),
    )


def _check_kind(manifest: Manifest) -> None:
    """Check the keys that only some kinds need."""
    if manifest.kind in ("lora", "detector") and not manifest.artifacts:
        raise fields.fail("artifacts", f"at least one artifact name for kind {manifest.kind}", [])
    if manifest.kind == "separator" and not (manifest.stems and manifest.sample_rate):
        raise fields.fail("stems", "a list of stem classes, with a sample_rate, for kind separator", manifest.stems)
    if manifest.kind != "lora":
        if not manifest.entry:
            raise fields.fail("entry", f"package.module:attribute for kind {manifest.kind}", manifest.entry)
        return
    for key in ("entry", "needs"):
        if getattr(manifest, key):
            raise fields.fail(key, "absent: a lora plugin is data", getattr(manifest, key))
    for key in ("base", "spectral_spec", "weights"):
        if not getattr(manifest, key):
            raise fields.fail(key, "present for kind lora", None)
    for name in _LORA_FILES:
        if name not in manifest.files:
            raise fields.fail("files", f"a table with the SHA-256 of {name}", sorted(manifest.files))
