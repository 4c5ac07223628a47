"""Pages from templates, written whole or not at all."""

from __future__ import annotations

import contextlib
import functools
import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import jinja2

from stemprover.report.axes import clock
from stemprover.report.wording import hertz, seconds

__all__ = ["replaced", "write_page"]


@functools.cache
def _environment() -> jinja2.Environment:
    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("stemprover.report", "."),
        autoescape=True,
        trim_blocks=True,
        lstrip_blocks=True,
        undefined=jinja2.StrictUndefined,
    )
    environment.filters |= {"hertz": hertz, "seconds": seconds, "clock": clock}
    return environment


def write_page(path: Path, template: str, context: Mapping[str, Any]) -> None:
    """Fill a template and write the page; an existing file is replaced when the new one is complete."""
    text = _environment().get_template(template).render(context)
    with replaced(path) as temporary:
        temporary.write_text(text, encoding="utf-8")


@contextlib.contextmanager
def replaced(path: Path) -> Iterator[Path]:
    """Yield a temporary path beside ``path``, which takes its place unless the block fails."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        yield temporary
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)
