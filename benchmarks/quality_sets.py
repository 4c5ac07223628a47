"""The sets of the quality benchmark, from test material only."""

from __future__ import annotations

import csv
import dataclasses
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import numpy as np
import soundfile
import torch
from quality_demucs import separate_with_demucs
from quality_separators import repeating_pattern, spatial_wiener

from stemprover.data.dtln import find_models, separate_with_dtln
from stemprover.errors import PluginError
from stemprover.separation.choose import choose_separator
from stemprover.separation.embedded import EMBEDDED_SEPARATOR, EmbeddedSeparator
from stemprover.separation.layout import KIT_STEMS, STEMS
from stemprover.separation.trained import find_separators
from stemprover.spectral.spec import SPEC

__all__ = [
    "CLEAN",
    "KITS",
    "SONG",
    "SYNTHETIC",
    "TEST_KITS",
    "Item",
    "clean_items",
    "cut",
    "demucs_items",
    "excerpt_start",
    "kit_items",
    "neural_items",
    "song_items",
]

SONG, KITS, SYNTHETIC, CLEAN = "song", "kits", "synthetic", "clean"
TEST_KITS = ("detroit_garage", "east_bay")
_TEST_SONG = "caesium"

Stems = Mapping[str, np.ndarray]


@dataclasses.dataclass(frozen=True, eq=False)
class Item:
    """One separated piece of music.

    Attributes
    ----------
    group, song, separator : str
        Set, piece and what separated it.
    seen : str
        Whether pairs for training came from this separator: ``no``, or on what.
    references, estimates : Mapping[str, ndarray]
        By stem class, float64 ``[2, samples]`` at 44.1 kHz; every estimate has a reference.
    mixture : ndarray
        What was separated.
    errors : Mapping[str, Mapping[str, ndarray]]
        By stem, what was added to the reference by cause, where that is known exactly.
    """

    group: str
    song: str
    separator: str
    seen: str
    references: Stems
    estimates: Stems
    mixture: np.ndarray
    errors: Mapping[str, Stems] = dataclasses.field(default_factory=dict)


def song_items(data: Path, seconds: float) -> Iterator[Item]:
    """Yield the test song, separated by separators that are or are not known from training."""
    stems = _cut_song(data / "multitrack", seconds)
    if not stems:
        return
    mixture = np.sum(list(stems.values()), axis=0)
    yield Item(SONG, _TEST_SONG, "spatial Wiener, informed", "no", stems, spatial_wiener(stems), mixture)
    halves = {"vocals": stems["vocals"], "instrumental": mixture - stems["vocals"]}
    estimates = dict(zip(halves, repeating_pattern(mixture), strict=True))
    yield Item(SONG, _TEST_SONG, "2-D Fourier transform", "no", halves, estimates, mixture)
    yield _light_item(stems, mixture)
    yield from _published_items(halves, mixture)
    models = find_models(data)
    if models is not None:
        voice = separate_with_dtln(models, mixture.astype(np.float32)).astype(np.float64)
        estimates = {"vocals": voice, "instrumental": mixture - voice}
        yield Item(SONG, _TEST_SONG, "DTLN", "yes, other songs", halves, estimates, mixture)


def _light_item(stems: Stems, mixture: np.ndarray) -> Item:
    """The song separated by what comes with StemProver; its stems sum to the mixture.

    Raises
    ------
    ModelError
        If it has no weights, or trained on the song.
    """
    (network,) = find_separators(EMBEDDED_SEPARATOR)
    network.require_unknown((_TEST_SONG,))
    parts = EmbeddedSeparator().separate(torch.from_numpy(mixture).float())
    references = {name: stems.get(name, np.zeros_like(mixture)) for name in parts}
    estimates = {name: audio.double().numpy() for name, audio in parts.items()}
    return Item(SONG, _TEST_SONG, "light, embedded", "yes, other songs", references, estimates, mixture)


def _published_items(halves: Stems, mixture: np.ndarray) -> Iterator[Item]:
    """The song separated by Spleeter, where its weights are installed (extra `bench`)."""
    separator = choose_separator("spleeter")
    try:
        parts = separator.separate(torch.from_numpy(mixture).float())
    except PluginError:
        return
    estimates = {name: audio.double().numpy() for name, audio in parts.items()}
    yield Item(SONG, _TEST_SONG, "Spleeter", "yes, other songs", halves, estimates, mixture)


def neural_items(data: Path, seconds: float, folder: Path, seen: str) -> Iterator[Item]:
    """Yield the test song, separated by every network below a folder (``stemprover train separator``).

    None of them may have heard the song. A stem that the song lacks has silence as reference.
    """
    stems = _cut_song(data / "multitrack", seconds)
    if not stems:
        return
    mixture = np.sum(list(stems.values()), axis=0)
    references = {name: stems.get(name, np.zeros_like(mixture)) for name in STEMS}
    for separator in find_separators(folder):
        if separator.stems != STEMS:
            continue
        parts = separator.separate(mixture.astype(np.float32), (_TEST_SONG,)).astype(np.float64)
        name = f"{separator.architecture} ({separator.folder.parent.name}/{separator.folder.name})"
        yield Item(SONG, _TEST_SONG, name, seen, references, dict(zip(STEMS, parts, strict=True)), mixture)


def demucs_items(data: Path, seconds: float, model: Path | None) -> Iterator[Item]:
    """Yield the test song, separated by Hybrid Transformer Demucs, if its file is given."""
    if model is None or not (stems := _cut_song(data / "multitrack", seconds)):
        return
    mixture = np.sum(list(stems.values()), axis=0)
    estimates = separate_with_demucs(model, mixture)
    references = {name: stems.get(name, np.zeros_like(mixture)) for name in estimates}
    yield Item(SONG, _TEST_SONG, "HTDemucs", "no", references, estimates, mixture)


def kit_items(data: Path, seconds: float) -> Iterator[Item]:
    """Yield LarsNet's outputs for the test kits."""
    for kit in TEST_KITS:
        folder = data / "drumkits" / kit
        if not (folder / "mix.mp3").is_file():
            continue
        references = {name: _read(folder / f"ref.{name}.mp3") for name in KIT_STEMS}
        estimates = {name: _read(folder / "LarsNet" / f"{name}.mp3") for name in KIT_STEMS}
        mixture = _read(folder / "mix.mp3")
        samples = round(seconds * SPEC.sample_rate)
        start = excerpt_start(references, samples)
        references, estimates = (
            {name: audio[:, start : start + samples] for name, audio in stems.items()}
            for stems in (references, estimates)
        )
        mixture = mixture[:, start : start + samples]
        yield Item(KITS, kit, "LarsNet", "yes, other kits", references, estimates, mixture)


def clean_items(items: Sequence[Item]) -> Iterator[Item]:
    """Yield the true stems of the given items as if they came from a separator, each piece once."""
    for item in {item.song: item for item in reversed(items)}.values():
        played = {name: audio for name, audio in item.references.items() if audio.any()}
        yield dataclasses.replace(
            item, group=CLEAN, separator="none", seen="-", references=played, estimates=played, errors={}
        )


def cut(item: Item, seconds: float) -> Item:
    """Return the first part of an item."""
    samples = round(seconds * SPEC.sample_rate)

    def shorter(stems: Stems) -> Stems:
        return {name: audio[:, :samples] for name, audio in stems.items()}

    return dataclasses.replace(
        item,
        references=shorter(item.references),
        estimates=shorter(item.estimates),
        mixture=item.mixture[:, :samples],
        errors={name: shorter(errors) for name, errors in item.errors.items()},
    )


def excerpt_start(stems: Stems, samples: int, step: int = SPEC.sample_rate) -> int:
    """Return where an excerpt of ``samples`` samples holds most of every stem that plays, relative to its own total."""
    total = next(iter(stems.values())).shape[-1]
    starts = range(0, max(total - samples, 0) + 1, step)
    played = [audio for audio in stems.values() if audio.any()]
    energies = [np.concatenate([[0.0], np.cumsum(np.square(audio).sum(0))]) for audio in played]
    least = [min((energy[min(at + samples, total)] - energy[at]) / energy[-1] for energy in energies) for at in starts]
    return starts[int(np.argmax(least))]


def _cut_song(folder: Path, seconds: float) -> dict[str, np.ndarray]:
    table = folder / "tracks.csv"
    if not table.is_file():
        return {}
    with table.open(newline="", encoding="utf-8") as file:
        rows = [row for row in csv.DictReader(file) if row["split"] == "test" and row["song"] == _TEST_SONG]
    stems: dict[str, np.ndarray] = {}
    for row in rows:
        track = _read(folder / row["path"])
        stems[row["stem"]] = stems[row["stem"]] + track if row["stem"] in stems else track
    peak = max(np.abs(np.sum(list(stems.values()), axis=0)).max(), *(np.abs(audio).max() for audio in stems.values()))
    samples = round(seconds * SPEC.sample_rate)
    start = excerpt_start(stems, samples)
    return {name: audio[:, start : start + samples] * (0.9 / peak) for name, audio in stems.items()}


def _read(path: Path) -> np.ndarray:
    audio, rate = soundfile.read(path, dtype="float64", always_2d=True)
    if rate != SPEC.sample_rate:
        raise ValueError(f"{path} has {rate} Hz, the sets are at {SPEC.sample_rate} Hz")
    return np.ascontiguousarray(np.broadcast_to(audio.T, (2, len(audio))))
