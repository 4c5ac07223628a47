"""Spectrograms as PNG: a perceptual colour table, and a signed picture of what changed."""

from __future__ import annotations

import base64
import io

import numpy as np
from PIL import Image

from stemprover.report.analysis import FLOOR_DB, Analysis

__all__ = ["RANGE_DB", "change_image", "data_uri", "spectrogram_image", "top_db"]

RANGE_DB = 80.0
_CHANGE_RANGE_DB = 50.0

# Anchors of a dark-to-light table with evenly rising lightness (after matplotlib's "magma", CC0).
_TABLE = ("000004", "1c1044", "4f127b", "812581", "b5367a", "e55064", "fb8761", "fec287", "fcfdbf")
_REMOVED, _ADDED = (46, 134, 222), (240, 128, 22)


def _palette(anchors: tuple[str, ...]) -> bytes:
    """256 RGB colours between the anchors."""
    colours = np.array([list(bytes.fromhex(anchor)) for anchor in anchors], dtype=np.float64)
    at = np.linspace(0, len(anchors) - 1, 256)
    channels = [np.interp(at, np.arange(len(anchors)), colours[:, k]) for k in range(3)]
    return np.stack(channels, 1).round().astype(np.uint8).tobytes()


def top_db(analysis: Analysis) -> float:
    """Loudest point of the pictures in dB: the upper end of the shared colour scale."""
    pictures = [analysis.before_db] if analysis.after_db is None else [analysis.before_db, analysis.after_db]
    return max(float(picture.max()) for picture in pictures)


def spectrogram_image(picture_db: np.ndarray, top: float) -> Image.Image:
    """Colour a spectrogram ``[rows, columns]`` (low frequencies first) over 80 dB below ``top``."""
    level = np.clip(1.0 + (picture_db - max(top, FLOOR_DB + RANGE_DB)) / RANGE_DB, 0.0, 1.0)
    image = Image.fromarray((level[::-1] * 255).round().astype(np.uint8)).convert("L")
    image = image.copy()
    image.putpalette(_palette(_TABLE))
    return image


def _smooth(picture: np.ndarray, reach: int = 2) -> np.ndarray:
    """Mean over ``2 * reach + 1`` rows and columns: the sign of a change in single pixels is mostly noise."""
    for axis in (0, 1):
        padded = np.pad(picture, [(reach, reach) if axis == k else (0, 0) for k in (0, 1)], mode="edge")
        picture = np.lib.stride_tricks.sliding_window_view(padded, 2 * reach + 1, axis).mean(-1)
    return picture


def change_image(
    analysis: Analysis, top: float, loudest: float | None = None, span_db: float = _CHANGE_RANGE_DB
) -> Image.Image:
    """Picture of the difference signal: hue says removed or added, opacity how loud it is.

    Opacity spans ``span_db`` below the loudest difference, or below as much under the loudest sound where all
    differences are quieter than that; ``loudest``, in dB, gives several pictures one scale. Transparent where nothing
    changed, so that it fits a light and a dark page.
    """
    if analysis.after_db is None or analysis.difference_db is None:
        raise ValueError("a picture of the change needs audio after the repair")
    highest = float(analysis.difference_db.max()) if loudest is None else loudest
    loudest = max(highest, top - span_db, FLOOR_DB + RANGE_DB)
    opacity = np.clip(1.0 + (analysis.difference_db - loudest) / span_db, 0.0, 1.0)
    steps = (opacity[::-1] * 127).round().astype(np.uint8)
    added = _smooth(10 ** (analysis.after_db / 10) - 10 ** (analysis.before_db / 10))[::-1] > 0
    image = Image.fromarray(np.where(added, steps + 128, steps).astype(np.uint8)).copy()
    image.putpalette(bytes(_REMOVED) * 128 + bytes(_ADDED) * 128)
    image.info["transparency"] = bytes(round(step * 255 / 127) for step in range(128)) * 2
    return image


def data_uri(image: Image.Image) -> str:
    """Encode an image as a ``data:`` address."""
    buffer = io.BytesIO()
    options = {"transparency": image.info["transparency"]} if "transparency" in image.info else {}
    image.save(buffer, "PNG", optimize=True, **options)
    return "data:image/png;base64," + base64.b64encode(buffer.getvalue()).decode("ascii")
