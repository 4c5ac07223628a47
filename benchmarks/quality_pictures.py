"""Pictures of the segments that lost most: the truth, the stem before and after, and what each differs in from it.

Why a segment failed is said by people who looked at its picture, in ``quality_notes.json``.
"""

from __future__ import annotations

import json
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import soundfile
from PIL import Image
from quality_runs import Bench, shipped
from quality_scores import SEGMENT_S, Repaired, Row
from quality_sets import CLEAN, Item
from quality_tables import Lost, most_lost

from stemprover.report.comparison import open_comparison
from stemprover.report.comparison_plot import plot_comparison
from stemprover.spectral.spec import SPEC

__all__ = ["draw_worst", "worst_section"]

_NOTES = Path(__file__).with_name("quality_notes.json")
_COLOURS = 128  # of a picture: it is half as large then, and looks the same


def draw_worst(bench: Bench, items: Sequence[Item], rows: Sequence[Row], folder: Path) -> list[dict[str, str]]:
    """Repair the pieces of the worst segments again and draw ``worst-1.png``, ...; returns their names and segments.

    Parameters
    ----------
    bench : Bench
        What ``rows`` were measured with.
    items : sequence of Item
        All pieces.
    rows : sequence of Row
        Of the part ``repairs``.
    folder : Path
        Where the pictures go.
    """
    drawn = []
    for number, lost in enumerate(most_lost([row for row in rows if row.group != CLEAN]), 1):
        row = lost.row
        piece = (row.group, row.song, row.separator)
        item = next(one for one in items if (one.group, one.song, one.separator) == piece)
        method = next(one for one in shipped(bench) if one.context == row.context and item.group in one.groups)
        path = folder / f"worst-{number}.png"
        _draw(item, lost, method.run(item), path)
        drawn.append({"picture": path.name, "segment": _key(lost)})
    return drawn


def _key(lost: Lost) -> str:
    """Name of a segment in the notes."""
    row = lost.row
    return f"{row.song}, {row.separator}, {row.stem}, {row.context}, {lost.start:g} s"


def worst_section(drawn: Sequence[Mapping[str, str]]) -> str:
    """Return the pictures with what is noted about them, as Markdown."""
    notes: dict[str, str] = json.loads(_NOTES.read_text(encoding="utf-8")) if _NOTES.is_file() else {}
    about = "R is the true stem, A the stem before, B after; at the right what A and B differ in from R."
    blocks = [f"{about}\n"] if drawn else []
    for one in drawn:
        why = " ".join(filter(None, [f"{one['segment']}:", notes.get(one["segment"])]))
        blocks.append(f"{why}\n\n![{one['segment']}]({one['picture']})\n")
    return "\n".join(blocks)


def _draw(item: Item, lost: Lost, repaired: Mapping[str, Repaired], path: Path) -> None:
    first = round(lost.start * SPEC.sample_rate)
    part = slice(first, first + round(SEGMENT_S * SPEC.sample_rate))
    stem = lost.row.stem
    audio = {"truth": item.references[stem], "before": item.estimates[stem], "after": repaired[stem].audio}
    with tempfile.TemporaryDirectory() as folder:
        paths = {name: Path(folder) / f"{name}.wav" for name in audio}
        for name, samples in audio.items():
            soundfile.write(paths[name], samples[:, part].T.astype(np.float32), SPEC.sample_rate, subtype="FLOAT")
        with open_comparison([paths["before"], paths["after"]], reference=paths["truth"]) as comparison:
            plot_comparison(path, comparison)
    with Image.open(path) as picture:
        fewer = picture.convert("P", palette=Image.Palette.ADAPTIVE, colors=_COLOURS)
    fewer.save(path, "PNG", optimize=True)
