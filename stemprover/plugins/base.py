"""Which base the host ships, and which spectral spec it speaks: what adapters are bound to."""

from __future__ import annotations

import json
from pathlib import Path
from typing import NamedTuple

from stemprover.spectral.spec import SPEC

__all__ = ["BASE_FILE", "MISSING_BASE", "BaseIdentity", "base_identity", "host_spectral_spec"]

BASE_FILE = Path(__file__).parent.parent / "weights" / "base" / "base.json"


class BaseIdentity(NamedTuple):
    """Name and SHA-256 of a base; unpacks as ``id, sha256``."""

    id: str
    sha256: str


MISSING_BASE = BaseIdentity(id="", sha256="")
"""What :func:`base_identity` returns when there is no readable base; no adapter fits it."""


def base_identity(path: Path = BASE_FILE) -> BaseIdentity:
    """Read the identity of a base from its ``base.json``.

    Returns
    -------
    BaseIdentity
        :data:`MISSING_BASE` when the file is absent or unreadable: listing plugins works without a base, and says so
        per adapter. Loading the base itself raises ``ModelError``.
    """
    try:
        data = json.loads(path.read_text(encoding="utf-8"))
        identity = BaseIdentity(id=data["id"], sha256=data["sha256"])
    except (OSError, ValueError, KeyError, TypeError):
        return MISSING_BASE
    return identity if all(isinstance(part, str) and part for part in identity) else MISSING_BASE


def host_spectral_spec() -> str:
    """Return ``sha256:<hex>`` of the host's spectral spec."""
    return SPEC.digest()
