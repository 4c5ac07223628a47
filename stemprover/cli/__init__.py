"""The command line: one module per command, each a thin translation of options into library calls."""

from __future__ import annotations

__all__: list[str] = []
