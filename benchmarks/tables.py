"""Markdown tables of generated pages."""

from __future__ import annotations

import math
from collections.abc import Sequence

__all__ = ["Cell", "markdown_table", "number", "percent", "verdict"]

Cell = str | int | float | None


def markdown_table(head: Sequence[str], rows: Sequence[Sequence[Cell]], digits: int = 2) -> str:
    """Return a Markdown table; columns that hold numbers only (or nothing) are set flush right.

    Parameters
    ----------
    head : sequence of str
        Column titles.
    rows : sequence of sequence
        One cell per column; floats get ``digits`` decimals, ``None`` and NaN become a dash, ``|`` in text is escaped.

    Raises
    ------
    ValueError
        When a row has another number of cells than the head.
    """
    for row in rows:
        if len(row) != len(head):
            raise ValueError(f"need {len(head)} cells, got {len(row)}: {list(row)}")
    columns = list(zip(*rows, strict=True)) if rows else [()] * len(head)
    numeric = [bool(rows) and all(cell is None or _looks_numeric(cell) for cell in column) for column in columns]
    lines = [
        _line(head),
        _line(["---:" if flush else "---" for flush in numeric]),
        *(_line([_text(cell, digits) for cell in row]) for row in rows),
    ]
    return "\n".join(lines) + "\n"


def number(value: float | None, digits: int = 2, sign: bool = False) -> str:
    """Return a number with ``digits`` decimals, with a plus sign when ``sign``; a dash for ``None`` and NaN."""
    if value is None or math.isnan(value):
        return "-"
    text = f"{value:{'+' if sign else ''}.{digits}f}"
    return text.lstrip("+-") if float(text) == 0 else text


def percent(share: float | None, digits: int = 1) -> str:
    """Return a share as percentage, a dash for ``None`` and NaN."""
    return "-" if share is None or math.isnan(share) else f"{number(100 * share, digits)} %"


def verdict(met: bool | None) -> str:
    """Say whether a target was met; ``None``: not measured."""
    return {True: "met", False: "**not met**", None: "not measured"}[met]


def _looks_numeric(cell: Cell) -> bool:
    if isinstance(cell, str):
        try:
            float(cell.replace("%", "").strip() or "x")
        except ValueError:
            return cell == "-"
    return True


def _text(cell: Cell, digits: int) -> str:
    if isinstance(cell, float) or cell is None:
        return number(cell, digits)
    return str(cell).replace("|", "\\|")


def _line(cells: Sequence[str]) -> str:
    return f"| {' | '.join(cells)} |"
