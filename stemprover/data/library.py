"""What a data folder holds, for one split.

The layout is ``multitrack/tracks.csv`` (split, song, stem, path), ``drumkits/<kit>``, ``oneshots`` and ``vocadito``,
each of which may be absent; or plainly one folder per song with one file per stem (MUSDB18-HQ's ``train``, MoisesDB). A
folder with one file for each piece of a drum kit, their mixture and nothing else is a kit.
"""

from __future__ import annotations

import csv
import dataclasses
import itertools
import zlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path

from stemprover.data.dtln import find_models
from stemprover.data.sources import Recording, open_recording
from stemprover.errors import TrainingError
from stemprover.separation.layout import KIT_STEMS
from stemprover.stems.names import guess_stem_class, is_mixture_name

__all__ = [
    "TRAIN_KITS",
    "Kit",
    "Library",
    "merge_libraries",
    "open_libraries",
    "open_library",
    "stem_class_of_sample",
]

TRAIN_KITS = ("bluebird", "brooklyn", "roots")
_AUDIO = frozenset({".wav", ".flac", ".ogg", ".mp3", ".aif", ".aiff"})
_HELD_OUT = frozenset({"test", "valid", "validation"})
_KNOWN = frozenset({"multitrack", "drumkits", "oneshots", "vocadito", "dtln", "spleeter_example"})
_SONG_CLASSES = {
    **{name: name for name in ("vocals", "drums", "bass", "other")},
    **dict.fromkeys(KIT_STEMS, "drums"),
    **dict.fromkeys(("piano", "guitar"), "other"),
}
_SAMPLE_CLASSES = {
    "bass": ("bass_",),
    "drums": (
        *("bd_", "drum_", "hat_", "sn_", "ride_", "tabla_", "perc_", "elec_", "glitch_perc", "arovane_beat_"),
        *("loop_amen", "loop_break", "loop_compus", "loop_industrial", "loop_mehackit", "loop_perc", "loop_tabla"),
    ),
    "vocals": ("mehackit_robot", "ambi_choir"),
}


@dataclasses.dataclass(frozen=True, eq=False)
class Kit:
    """A drum performance, recordings by stem; ``estimates`` are a real separator's outputs and may be empty."""

    name: str
    mix: Recording
    references: Mapping[str, Recording]
    estimates: Mapping[str, Recording]


@dataclasses.dataclass(frozen=True, eq=False)
class Library:
    """All material of one split.

    Attributes
    ----------
    songs : Mapping[str, tuple[Recording, ...]]
        Tracks that start together, by song.
    kits : tuple[Kit, ...]
    solos : tuple[Recording, ...]
        Unaccompanied singing.
    samples : Mapping[str, tuple[Recording, ...]]
        One-shots and loops by stem class.
    dtln : Path | None
        Folder of the DTLN models.
    """

    songs: Mapping[str, tuple[Recording, ...]]
    kits: tuple[Kit, ...]
    solos: tuple[Recording, ...]
    samples: Mapping[str, tuple[Recording, ...]]
    dtln: Path | None


def open_library(data: Path, cache: Path, split: str) -> Library:
    """Open everything below ``data`` that may be used for ``train`` or ``validation``.

    Parameters
    ----------
    data : Path
        Data folder, see above.
    cache : Path
        Where decoded audio is kept (int16, about 10 MB a minute).
    split : str
        ``train`` or ``validation``: the first and the last part of every train recording, and separate one-shots.

    Raises
    ------
    TrainingError
        If the folder holds none of these or the split has another name.
    """
    if split not in ("train", "validation"):
        raise TrainingError("the split train or validation", split, "test material makes no pairs")
    cache.mkdir(parents=True, exist_ok=True)
    solos = sorted(data.glob("vocadito/*.wav"))
    library = Library(
        songs=_songs(data / "multitrack", cache, split) or _plain_songs(data, cache, split),
        kits=(
            *(_kit(data / "drumkits" / name, cache, split) for name in TRAIN_KITS if _has_kit(data, name)),
            *_plain_kits(data, cache, split),
        ),
        solos=tuple(open_recording(path, cache, split, "solo", path.stem, "vocals") for path in solos),
        samples=_samples(sorted(data.glob("oneshots/*.flac")), cache, split),
        dtln=find_models(data),
    )
    if not library.songs and not library.kits:
        expected = "multitrack/tracks.csv, drumkits/ or one folder per song with one file per stem"
        raise TrainingError(expected, f"nothing of these in {data}", "give the folder above the songs")
    return library


def open_libraries(data: Sequence[Path], cache: Path, split: str) -> Library:
    """Open several data folders as one, see :func:`open_library` and :func:`merge_libraries`."""
    return merge_libraries([open_library(folder, cache, split) for folder in data])


def merge_libraries(libraries: Sequence[Library]) -> Library:
    """Put the material of several data folders together.

    A song whose name another folder has already used gets a number after it (``000000~2``); such names are the same
    in both splits as long as the folders come in the same order.
    """
    songs: dict[str, tuple[Recording, ...]] = {}
    samples: dict[str, tuple[Recording, ...]] = {}
    for library in libraries:
        for name, tracks in library.songs.items():
            number = next(k for k in itertools.count(1) if (name if k == 1 else f"{name}~{k}") not in songs)
            unused = name if number == 1 else f"{name}~{number}"
            songs[unused] = tuple(dataclasses.replace(track, song=unused) for track in tracks)
        for stem_class, shots in library.samples.items():
            samples[stem_class] = samples.get(stem_class, ()) + shots
    return Library(
        songs=songs,
        kits=tuple(kit for library in libraries for kit in library.kits),
        solos=tuple(solo for library in libraries for solo in library.solos),
        samples=samples,
        dtln=next((library.dtln for library in libraries if library.dtln is not None), None),
    )


def _songs(folder: Path, cache: Path, split: str) -> dict[str, tuple[Recording, ...]]:
    table = folder / "tracks.csv"
    if not table.is_file():
        return {}
    with table.open(newline="", encoding="utf-8") as file:
        rows = [row for row in csv.DictReader(file) if row["split"] == "train"]
    songs: dict[str, list[Recording]] = {}
    for row in rows:
        track = open_recording(folder / row["path"], cache, split, "song", row["song"], row["stem"])
        songs.setdefault(row["song"], []).append(track)
    return {song: tuple(tracks) for song, tracks in songs.items()}


def _plain_songs(data: Path, cache: Path, split: str) -> dict[str, tuple[Recording, ...]]:
    """One folder per song; files named after a stem, or lying in a folder that is. Mixtures are left out."""
    songs: dict[str, tuple[Recording, ...]] = {}
    for folder in _plain_folders(data):
        tracks = []
        for path in _audio_files(folder):
            stem_class = _SONG_CLASSES.get(guess_stem_class(path))
            if stem_class is not None and not is_mixture_name(path):
                tracks.append(open_recording(path, cache, split, "song", folder.name, stem_class))
        if len({track.stem_class for track in tracks}) > 1:
            songs[folder.name] = tuple(tracks)
    return songs


def _plain_kits(data: Path, cache: Path, split: str) -> Iterator[Kit]:
    """One folder per kit that holds one file per piece and their mixture, and nothing else."""
    for folder in _plain_folders(data):
        files = _audio_files(folder)
        mixtures = [path for path in files if is_mixture_name(path)]
        pieces = {guess_stem_class(path): path for path in files if path not in mixtures}
        if len(mixtures) == 1 and set(pieces) == set(KIT_STEMS) and len(files) == len(pieces) + 1:
            yield Kit(
                name=folder.name,
                mix=open_recording(mixtures[0], cache, split, "kit", folder.name, "drums"),
                references={
                    stem: open_recording(path, cache, split, "kit", folder.name, stem) for stem, path in pieces.items()
                },
                estimates={},
            )


def _plain_folders(data: Path) -> list[Path]:
    """Folders of songs and kits; of data that comes in splits, as MUSDB18-HQ does, those below ``train`` only."""
    if (data / "train").is_dir() and not _audio_directly_in(data / "train"):
        data = data / "train"
    return sorted(path for path in data.iterdir() if path.is_dir() and path.name not in _KNOWN | _HELD_OUT)


def _audio_directly_in(folder: Path) -> bool:
    """Whether a folder is a song itself."""
    return any(path.suffix.lower() in _AUDIO for path in folder.iterdir())


def _audio_files(folder: Path) -> list[Path]:
    return sorted(path for path in folder.rglob("*") if path.suffix.lower() in _AUDIO)


def _has_kit(data: Path, name: str) -> bool:
    return (data / "drumkits" / name / "mix.mp3").is_file()


def _kit(folder: Path, cache: Path, split: str) -> Kit:
    def one(path: Path, stem: str) -> Recording:
        return open_recording(path, cache, split, "kit", folder.name, stem)

    return Kit(
        name=folder.name,
        mix=one(folder / "mix.mp3", "drums"),
        references={stem: one(folder / f"ref.{stem}.mp3", stem) for stem in KIT_STEMS},
        estimates={stem: one(folder / "LarsNet" / f"{stem}.mp3", stem) for stem in KIT_STEMS},
    )


def _samples(paths: Iterable[Path], cache: Path, split: str) -> dict[str, tuple[Recording, ...]]:
    """Every seventh one-shot (by checksum of its name) is held out as a whole."""
    found: dict[str, list[Recording]] = {}
    for path in paths:
        held_out = zlib.crc32(path.stem.encode()) % 7 == 0
        if held_out == (split == "validation"):
            stem_class = stem_class_of_sample(path.stem)
            found.setdefault(stem_class, []).append(
                open_recording(path, cache, split, "sample", "oneshots", stem_class)
            )
    return {stem_class: tuple(recordings) for stem_class, recordings in found.items()}


def stem_class_of_sample(name: str) -> str:
    """Return the class of a one-shot by its name: ``bd_808`` is drums, ``ambi_choir`` vocals, the rest other."""
    for stem_class, prefixes in _SAMPLE_CLASSES.items():
        if name.startswith(prefixes):
            return stem_class
    return "other"
