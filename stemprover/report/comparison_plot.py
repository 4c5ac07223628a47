"""One PNG of a comparison: a row per file with its waveform and spectrogram, and those of its difference."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from stemprover.report.analysis import Analysis
from stemprover.report.axes import MelAxis, frequency_ticks, time_ticks
from stemprover.report.comparison import ComparedFile, Comparison
from stemprover.report.comparison_page import CHANGE_SPAN_DB, SAME_DB, apart_db, closest
from stemprover.report.pictures import change_image, spectrogram_image
from stemprover.report.waveforms import Waveform, waveform
from stemprover.report.writing import replaced

__all__ = ["plot_comparison"]

_WIDTH, _WAVE, _PICTURE = 760, 64, 210
_LEFT, _GAP, _TOP, _ROW = 64, 74, 84, 372
_PAGE, _TEXT, _SOFT, _SUNKEN = (22, 25, 34), (236, 239, 245), (160, 168, 184), (13, 15, 20)
# The colours of comparison.css on dark pages.
_COLOURS = ("b6c2d4", "a5a0ff", "fdaa63", "3fdcae", "ff8fc7", "45c8f0", "b9e84f", "bda0ff", "facc5a")
_SHOWN = {"si_sdr": "SI-SDR, dB", "log_spectral_distance": "LSD, dB", "bleedless": "bleedless"}
_Font = ImageFont.FreeTypeFont | ImageFont.ImageFont


def plot_comparison(path: Path, comparison: Comparison) -> None:
    """Draw the comparison; an existing file is replaced when the picture is complete."""
    analyses = comparison.analyses()
    rows = len(comparison.files)
    image = Image.new("RGB", (2 * (_LEFT + _WIDTH) + _GAP - 18, _TOP + rows * _ROW + 8), _PAGE)
    draw = ImageDraw.Draw(image)
    draw.text((_LEFT, 20), f"{rows} files, side by side", _TEXT, ImageFont.load_default(27))
    draw.text((_LEFT, 54), _subtitle(comparison), _SOFT, ImageFont.load_default(17))
    panel = _Panel(image, draw, ImageFont.load_default(16), analyses[0].axis, comparison.duration_s)
    top, loudest, peak, error = _scales(comparison, analyses)
    first = comparison.files[0]
    for row, file in enumerate(comparison.files):
        picture = analyses[0].before_db if row == 0 else analyses[row - 1].after_db
        assert picture is not None
        panel.place(_LEFT, _TOP + row * _ROW)
        panel.draw_title(f"{file.letter}   {file.name}{_offset(file)}", _COLOURS[row])
        panel.draw_wave(waveform(file.source), peak, _COLOURS[row])
        panel.draw_picture(spectrogram_image(picture, top).convert("RGB"))
        if row == 0:
            panel.place(2 * _LEFT + _WIDTH + _GAP - 50, _TOP)
            panel.draw_table(_table(comparison, analyses))
        else:
            panel.place(2 * _LEFT + _WIDTH + _GAP - 50, _TOP + row * _ROW)
            panel.draw_title(f"{file.letter} - {first.letter}   difference: blue is less, orange more", "a0a8b8")
            panel.draw_wave(waveform(file.source, first.source), error, "a0a8b8")
            panel.draw_picture(_on_page(change_image(analyses[row - 1], top, loudest, CHANGE_SPAN_DB)))
    with replaced(path) as temporary:
        image.save(temporary, "PNG", optimize=True)


def _scales(comparison: Comparison, analyses: tuple[Analysis, ...]) -> tuple[float, float, float, float]:
    """Loudest points of spectrograms and of differences in dB, and highest samples of both."""
    after = [one.after_db for one in analyses if one.after_db is not None]
    changes = [one.difference_db for one in analyses if one.difference_db is not None]
    top = max(float(picture.max()) for picture in (analyses[0].before_db, *after))
    peak = max(float(np.abs(side).max()) for file in comparison.files for side in waveform(file.source))
    first = comparison.files[0].source
    errors = [np.abs(side).max() for file in comparison.files[1:] for side in waveform(file.source, first)]
    return top, max(float(one.max()) for one in changes), peak, max(float(max(errors)), 1e-4 * peak)


def _table(comparison: Comparison, analyses: tuple[Analysis, ...]) -> list[tuple[str, ...]]:
    """Cells of the table beside the first file: its name, level of the difference, metrics if there are any."""
    first = comparison.files[0].letter
    shown = [name for name in _SHOWN if any(name in scores for scores in comparison.metrics.values())]
    rows = [("", "file", f"difference to {first}", *(_SHOWN[name] for name in shown))]
    for file, analysis in zip(comparison.files[1:], analyses, strict=True):
        scores = comparison.metrics.get(file.letter, {})
        rows.append((file.letter, file.name, _apart(analysis), *(f"{scores[n]:.2f}" for n in shown)))
    return rows


def _apart(analysis: Analysis) -> str:
    apart = apart_db(analysis)
    return "none" if apart <= SAME_DB else f"{apart:.1f} dB"


def _subtitle(comparison: Comparison) -> str:
    best = closest(comparison)
    if best is None:
        return f"differences are to {comparison.files[0].letter}, {comparison.files[0].name}"
    scores = ", ".join(f"{letter} {scores['si_sdr']:.1f}" for letter, scores in comparison.metrics.items())
    return f"closest to the reference: {best.letter} (SI-SDR in dB: {scores})"


def _offset(file: ComparedFile) -> str:
    return f"   {abs(file.offset)} samples {'late' if file.offset > 0 else 'early'}" if file.offset else ""


def _on_page(image: Image.Image) -> Image.Image:
    """Lay a picture with transparency on the dark ground."""
    ground = Image.new("RGBA", image.size, (*_SUNKEN, 255))
    palette = np.frombuffer(bytes(image.getpalette() or b""), np.uint8).reshape(-1, 3)
    alpha = np.frombuffer(image.info["transparency"], np.uint8)
    index = np.asarray(image)
    colours = np.dstack([palette[index], alpha[index]])
    return Image.alpha_composite(ground, Image.fromarray(colours, "RGBA")).convert("RGB")


class _Panel:
    """One column of one row: title, waveform, spectrogram and axes at a place that moves."""

    def __init__(
        self, image: Image.Image, draw: ImageDraw.ImageDraw, font: _Font, axis: MelAxis, duration_s: float
    ) -> None:
        self._image, self._draw, self._font = image, draw, font
        self._hertz, self._times = frequency_ticks(axis, 0.1), time_ticks(duration_s, 6)
        self._left = self._top = 0

    def place(self, left: int, top: int) -> None:
        """Move to another column or row."""
        self._left, self._top = left, top

    def draw_title(self, text: str, colour: str) -> None:
        """Write the line above the waveform."""
        self._draw.text((self._left, self._top), text, f"#{colour}", self._font)

    def draw_table(self, rows: Sequence[Sequence[str]]) -> None:
        """Write rows of text; the first is the head, the first column a letter in the file's colour."""
        columns = len(rows[0]) - 2
        ends = [self._left + 300 + (place + 1) * (_WIDTH - 300) / columns for place in range(columns)]
        for place, (letter, name, *cells) in enumerate(rows):
            y, colour = self._top + 40 + 32 * place, _SOFT if place == 0 else _TEXT
            self._draw.text((self._left, y), letter, f"#{_COLOURS[place]}", self._font)
            self._draw.text((self._left + 28, y), name if len(name) < 34 else f"{name[:32]}...", colour, self._font)
            for end, cell in zip(ends, cells, strict=True):
                self._draw.text((end, y), cell, colour, self._font, anchor="ra")

    def draw_wave(self, shape: Waveform, peak: float, colour: str) -> None:
        """Draw a waveform whose highest sample is ``peak``."""
        top, middle = self._top + 26, self._top + 26 + _WAVE / 2
        self._draw.rectangle((self._left, top, self._left + _WIDTH, top + _WAVE), fill=_SUNKEN)
        edges = np.linspace(0, shape[0].size, _WIDTH + 1).astype(int)[:-1]
        low, high = np.minimum.reduceat(shape[0], edges), np.maximum.reduceat(shape[1], edges)
        for x in range(_WIDTH):
            above, below = (float(side[x]) / max(peak, 1e-9) * (_WAVE / 2 - 2) for side in (high, low))
            line = (self._left + x, middle - above, self._left + x, middle - below)
            self._draw.line(line, fill=f"#{colour}")

    def draw_picture(self, picture: Image.Image) -> None:
        """Draw a spectrogram and both axes."""
        top = self._top + 26 + _WAVE + 8
        self._image.paste(picture.resize((_WIDTH, _PICTURE), Image.Resampling.BILINEAR), (self._left, top))
        for tick in self._hertz:
            at = (self._left - 9, top + (1 - tick.at) * _PICTURE)
            self._draw.text(at, tick.label, _SOFT, self._font, anchor="rm")
        for tick in self._times:
            below = (self._left + tick.at * _WIDTH, top + _PICTURE + 8)
            anchor = "lt" if tick.at == 0 else "rt" if tick.at > 0.98 else "mt"
            self._draw.text(below, tick.label, _SOFT, self._font, anchor=anchor)
