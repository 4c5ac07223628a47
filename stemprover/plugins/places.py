"""Read a registry from a file or from an https address.

What was fetched last is kept, so that a registry that cannot be reached is out of date rather than gone.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import re
from http.client import HTTPException
from pathlib import Path
from typing import Any

from stemprover.errors import PluginError
from stemprover.plugins.fields import printable
from stemprover.plugins.state import config_dir

__all__ = ["MAX_BYTES", "is_address", "places_of_environment", "read_place"]

MAX_BYTES = 10_000_000
_TIMEOUT_S = 10.0
_ADDRESS = re.compile(r"https://[^\s]+|http://(?:127\.0\.0\.1|localhost)(?::\d+)?/[^\s]*", re.ASCII)


def is_address(place: str) -> bool:
    """Tell whether a registry's place is an address: https, or http on this machine."""
    return _ADDRESS.fullmatch(place) is not None


def places_of_environment() -> tuple[str, ...]:
    """Return what ``STEMPROVER_REGISTRY`` names: paths and addresses, separated as in ``PATH``."""
    text = os.environ.get("STEMPROVER_REGISTRY", "")
    separator = re.escape(os.pathsep)
    # A colon before // or before a port belongs to an address.
    return tuple(part for part in re.split(rf"{separator}(?!//|\d+(?:/|$|{separator}))", text) if part)


def read_place(place: str, offline: bool = False) -> tuple[str, str]:
    """Return a registry's text, and a note if it is an older copy of one that cannot be reached.

    Parameters
    ----------
    offline : bool
        Use the copy of an address without asking for a newer one.

    Raises
    ------
    PluginError
        It cannot be read and there is no copy.
    """
    if not is_address(place):
        return _read_file(Path(place).expanduser(), place), ""
    copy = config_dir() / "registries" / f"{hashlib.sha256(place.encode()).hexdigest()[:16]}.yaml"
    if offline:
        return _read_file(copy, place), ""
    try:
        text = _download(place)
    except (OSError, HTTPException, ValueError) as error:
        problem = printable(str(error), limit=160)
        if not copy.is_file():
            fix = "check the address and the network"
            raise PluginError(f"a registry at {printable(place)}", problem, fix) from error
        return _read_file(copy, place), f"{place} cannot be reached ({problem}); the last copy is used"
    _keep(copy, text)
    return text, ""


def _read_file(path: Path, place: str) -> str:
    where = f"a registry in {place}"
    try:
        if path.stat().st_size > MAX_BYTES:
            raise PluginError(where, f"more than {MAX_BYTES} bytes", "name another file")
        return path.read_text(encoding="utf-8")
    except OSError as error:
        fix = "name an existing file in STEMPROVER_REGISTRY or --registry"
        raise PluginError(where, error.strerror or "an unreadable file", fix) from error
    except ValueError as error:
        raise PluginError(where, printable(str(error)), "save it as UTF-8") from error


def _download(address: str) -> str:
    from urllib.request import HTTPRedirectHandler, build_opener

    class Strict(HTTPRedirectHandler):
        def redirect_request(self, request: Any, file: Any, code: int, message: str, headers: Any, url: str) -> Any:
            if not is_address(url):
                raise ValueError(f"it leads to {url}, which is not https")
            return super().redirect_request(request, file, code, message, headers, url)

    with build_opener(Strict).open(address, timeout=_TIMEOUT_S) as response:
        content: bytes = response.read(MAX_BYTES + 1)
    if len(content) > MAX_BYTES:
        raise ValueError(f"it has more than {MAX_BYTES} bytes")
    return content.decode("utf-8")


def _keep(copy: Path, text: str) -> None:
    partial = copy.with_name(f"{copy.name}.{os.getpid()}.part")
    with contextlib.suppress(OSError):  # only a convenience
        copy.parent.mkdir(parents=True, exist_ok=True)
        partial.write_text(text, encoding="utf-8")
        partial.replace(copy)
