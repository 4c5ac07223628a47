"""Rendered drum performances, one recording per piece of the kit: FluidSynth with any SoundFont that has drums."""

from __future__ import annotations

import dataclasses
import functools
import struct
from collections.abc import Mapping
from pathlib import Path

import numpy as np

from stemprover.data.compose import compose
from stemprover.data.fluidsynth import finish, play
from stemprover.data.rhythm import KITS
from stemprover.data.synth import RATE
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
    return f"{soundfont.stem.lower()}-{_program(number):02d}-{number:06d}"


def _program(number: int) -> int:
    return KITS[number % len(KITS)]


def render_kit(seed: int, number: int, seconds: float, soundfont: Path) -> Mapping[str, np.ndarray]:
    """Play one drum pattern with one kit, each piece by itself.

    Parameters
    ----------
    seed, number : int
        The performance depends on both; the kit (a General MIDI program) on the number alone.
    seconds : float
        Length.
    soundfont : Path
        With drums in bank 128, as General MIDI has them, or of one kit and nothing else. One without the kit's program
        plays its standard kit.

    Returns
    -------
    Mapping[str, ndarray]
        Float32 ``[2, samples]`` at 44.1 kHz by piece, of ``KIT_STEMS``; what the pattern leaves out is silent. Their
        sum is the mixture.

    Raises
    ------
    TrainingError
        If FluidSynth cannot render with this SoundFont.
    """
    score, samples = compose((seed, number), seconds), int(seconds * RATE)
    drums = dataclasses.replace(score.stems["drums"][0], program=_program(number))
    if not _has_drum_bank(soundfont):
        hits = tuple(dataclasses.replace(hit, key=_ON_SINGLE_KITS.get(hit.key, hit.key)) for hit in drums.hits)
        drums = dataclasses.replace(drums, program=0, is_drums=False, hits=hits)
    pieces = {}
    for place, (name, keys) in enumerate(_KEYS.items()):
        part = dataclasses.replace(drums, hits=tuple(hit for hit in drums.hits if hit.key in keys))
        audio = np.zeros((2, samples), np.float32)
        if any(hit.start * 60 / score.tempo < seconds - 0.1 for hit in part.hits):
            room = np.random.default_rng([seed, number, _ROOM])
            audio = play([part], score.tempo, samples, soundfont, room)
        rng = np.random.default_rng([seed, number, _ROOM + 1 + place])
        pieces[name] = finish(audio, rng) * np.float32(10 ** (rng.uniform(-4, 4) / 20))
    level = _LEVEL / (np.sqrt(np.mean(sum(pieces.values()) ** 2)) + 1e-9)
    return {name: np.asarray(pieces[name] * level, np.float32) for name in KIT_STEMS}


@functools.cache
def _has_drum_bank(soundfont: Path) -> bool:
    """Whether a preset lies in the drum bank; SoundFonts of a single kit have theirs where others have the piano."""
    content = soundfont.read_bytes()
    start = content.rfind(b"phdr") + 8
    (size,) = struct.unpack_from("<I", content, start - 4)
    presets = content[start : start + size - size % _PRESET.size]
    return any(bank == _DRUM_BANK for _, _, bank, *_ in _PRESET.iter_unpack(presets))
