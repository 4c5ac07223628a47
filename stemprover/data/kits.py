"""Rendered drum performances, one recording per piece of the kit: FluidSynth with any SoundFont that has drums."""

from __future__ import annotations

import dataclasses
import functools
import struct
import zlib
from collections.abc import Mapping
from pathlib import Path

import numpy as np

from stemprover.data.compose import compose
from stemprover.data.fluidsynth import finish, play
from stemprover.data.rhythm import KITS
from stemprover.data.synth import RATE
from stemprover.errors import TrainingError
from stemprover.separation.layout import KIT_STEMS

__all__ = ["kit_name", "render_kit"]

_KEYS: Mapping[str, tuple[int, ...]] = {  # General MIDI percussion
    "kick": (35, 36),
    "snare": (37, 38, 40),
    "toms": (41, 43, 45, 47, 48, 50),
    "hihat": (42, 44, 46),
    "cymbals": (49, 51, 52, 53, 55, 57, 59),
}
_LEVEL = 0.1  # root-mean-square of the whole kit
_ROOM = 7200  # the pieces stand in one room
_DRUM_BANK = 128
_ON_SINGLE_KITS = {35: 36, 48: 45, 50: 47}  # AVL Drumkits have other sounds or none on these keys
_PRESET = struct.Struct("<20sHHHIII")  # SoundFont 2.04, section 7.2: name, program, bank, ...


def kit_name(number: int, soundfont: Path) -> str:
    """Name of performance ``number``: it begins with the SoundFont and the kit, so that both can be left out by it."""
    return f"{soundfont.stem.lower()}-{_kit(number, soundfont)[1]:02d}-{number:06d}"


def render_kit(seed: int, number: int, seconds: float, soundfont: Path) -> Mapping[str, np.ndarray]:
    """Play one drum pattern with one kit, each piece by itself.

    Parameters
    ----------
    seed, number : int
        The kit depends on the number, the pattern and the room on both and on the SoundFont's name.
    seconds : float
        Length.
    soundfont : Path
        With drum kits in bank 128, as General MIDI has them, or with one preset that is a kit.

    Returns
    -------
    Mapping[str, ndarray]
        Float32 ``[2, samples]`` at 44.1 kHz by piece, of ``KIT_STEMS``; what the pattern leaves out is silent. Their
        sum is the mixture.

    Raises
    ------
    TrainingError
        If this is no SoundFont with drums, or FluidSynth cannot render with it.
    """
    bank, program = _kit(number, soundfont)
    drawn = (seed, number, zlib.crc32(soundfont.stem.lower().encode()))
    score, samples = compose(drawn, seconds), int(seconds * RATE)
    drums = dataclasses.replace(score.stems["drums"][0], program=program)
    if bank != _DRUM_BANK:
        hits = tuple(dataclasses.replace(hit, key=_ON_SINGLE_KITS.get(hit.key, hit.key)) for hit in drums.hits)
        drums = dataclasses.replace(drums, is_drums=False, hits=hits)
    pieces = {}
    for place, (name, keys) in enumerate(_KEYS.items()):
        part = dataclasses.replace(drums, hits=tuple(hit for hit in drums.hits if hit.key in keys))
        audio = np.zeros((2, samples), np.float32)
        if any(hit.start * 60 / score.tempo < seconds - 0.1 for hit in part.hits):
            room = np.random.default_rng([*drawn, _ROOM])
            audio = play([part], score.tempo, samples, soundfont, room)
        rng = np.random.default_rng([*drawn, _ROOM + 1 + place])
        pieces[name] = finish(audio, rng) * np.float32(10 ** (rng.uniform(-4, 4) / 20))
    level = _LEVEL / (np.sqrt(np.mean(sum(pieces.values()) ** 2)) + 1e-9)
    return {name: np.asarray(pieces[name] * level, np.float32) for name in KIT_STEMS}


@functools.cache
def _presets(soundfont: Path) -> tuple[tuple[int, int], ...]:
    """Bank and program of every preset, without the record that ends the list."""
    content = soundfont.read_bytes()
    start = content.rfind(b"phdr")
    if content[:4] != b"RIFF" or content[8:12] != b"sfbk" or start < 0:
        raise TrainingError("a SoundFont (.sf2 or .sf3)", f"{soundfont}, which is none", "try another --soundfont")
    size = int.from_bytes(content[start + 4 : start + 8], "little")
    records = content[start + 8 : start + 8 + size]
    whole = records[: len(records) // _PRESET.size * _PRESET.size]
    return tuple((bank, program) for _, program, bank, *_ in _PRESET.iter_unpack(whole))[:-1]


def _kit(number: int, soundfont: Path) -> tuple[int, int]:
    """Bank and program of the kit that performance ``number`` is played with."""
    presets = _presets(soundfont)
    programs = sorted({program for bank, program in presets if bank == _DRUM_BANK})
    programs = [program for program in programs if program in KITS] or programs
    if programs:
        return _DRUM_BANK, programs[number % len(programs)]
    if len(presets) == 1:
        return presets[0]
    raise TrainingError(
        "a SoundFont with drum kits in bank 128, or of one kit", f"{soundfont}, without any", "try another --soundfont"
    )
