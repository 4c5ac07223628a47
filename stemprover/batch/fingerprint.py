"""What a result depends on, as one hash: contents of the inputs, settings, weights and versions.

Not in it: the device, the number of threads and the engine. They may change the last bit of a float, and nobody wants
to repeat a million songs for it.
"""

from __future__ import annotations

import hashlib
import itertools
import json
from collections.abc import Callable, Mapping
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Any

from stemprover import __version__
from stemprover.batch import places
from stemprover.batch.jobs import Job
from stemprover.plugins import REPAIRING, file_sha256, folder_sha256

if TYPE_CHECKING:
    from stemprover.enhance import Enhancer
    from stemprover.enhanced import Settings
    from stemprover.separation.base import HostedSeparator

__all__ = [
    "Contents",
    "content_hashes",
    "job_fingerprint",
    "reference_versions",
    "separator_fingerprint",
    "weights_fingerprint",
]

Contents = Mapping[str, tuple[str, str]]
"""Version (see :func:`stemprover.batch.places.version`) and SHA-256 of each input."""


def weights_fingerprint(enhancer: Enhancer, settings: Settings) -> str:
    """Return a hash of the code's version, all weights, and the plugins that may change the result."""
    from stemprover.models import EMBEDDED_GATE, EMBEDDED_JUDGES, EMBEDDED_VOCODER

    vocoder, _, option = settings.vocoder.partition(":")
    named = {choice.name for choice in settings.adapters} | {vocoder}
    plugins = sorted(
        plugin.contents
        for plugin in enhancer.plugins
        if plugin.status == "ok" and (plugin.name in named or (settings.auto_detect and plugin.kind in REPAIRING))
    )
    folder = EMBEDDED_VOCODER if vocoder == "embedded" else Path(option)
    weights = folder_sha256(folder) if (option or vocoder == "embedded") and folder.is_dir() else option
    judges = itertools.chain.from_iterable(folders.there for folders in EMBEDDED_JUDGES.values())
    shared = [folder_sha256(folder) for folder in (EMBEDDED_GATE, *judges)]
    models = enhancer.models
    return _digest([__version__, list(models.identity), str(models.dtype), vocoder, weights, shared, plugins])


def separator_fingerprint(separator: HostedSeparator) -> str:
    """Return a hash of the code's version, a separator's package or weights, and the stems that it makes."""
    return _digest([__version__, separator.name, list(separator.stems), separator.contents])


def content_hashes(inputs: tuple[str, ...], known: Contents, local: Callable[[str], Path]) -> Contents:
    """Hash the inputs; one whose version is known is not read again.

    Parameters
    ----------
    inputs : tuple of str
        Places.
    known : Contents
        From an earlier run.
    local : callable
        Returns the local path of a place, and fetches it if need be.
    """
    found: dict[str, tuple[str, str]] = {}
    for place in inputs:
        version = places.version(place)
        before = known.get(place)
        found[place] = (version, before[1] if before and before[0] == version else file_sha256(local(place)))
    return found


def reference_versions(reference: Path | None, stems: tuple[str, ...]) -> list[tuple[str, str]]:
    """Return name, and size and date, of the true stems that reports of these stems are measured against."""
    if reference is None:
        return []
    names = {PurePosixPath(stem).stem for stem in stems}
    inside = sorted(reference.iterdir()) if reference.is_dir() else []
    found = [path for path in inside if path.stem in names] if reference.is_dir() else [reference]
    return [(path.name, places.version(str(path))) for path in found if path.is_file()]


def job_fingerprint(job: Job, contents: Contents, terms: Mapping[str, Any]) -> str:
    """Return the hash that says whether a result is the one that this run would make.

    ``terms`` are settings, weights and further options: all that changes what is written from the same inputs.
    """
    # Names matter, since they tell what a stem holds; where the files lie does not, beyond the folder's name.
    full = {place: PurePosixPath(places.absolute(place)) for place in job.inputs}
    named = [[full[place].parent.name, full[place].name, contents[place][1]] for place in job.inputs]
    outputs = [[PurePosixPath(target.audio).suffix, sorted(target.reports)] for target in job.targets]
    return _digest([named, bool(job.mixture), job.stem_class, outputs, dict(terms)])


def _digest(data: object) -> str:
    return hashlib.sha256(json.dumps(data, sort_keys=True).encode()).hexdigest()
