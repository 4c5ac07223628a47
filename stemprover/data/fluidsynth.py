"""Composed songs as sound: FluidSynth with an installed SoundFont, one run per stem, and the formant voice."""

from __future__ import annotations

import shutil
import subprocess
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import soundfile
from scipy import signal

from stemprover.data.compose import compose
from stemprover.data.score import SUNG, Part
from stemprover.data.songs import SYNTH_CLASSES, spread
from stemprover.data.synth import RATE, VOICES, Note, reverberate
from stemprover.errors import TrainingError

__all__ = ["find_soundfont", "finish", "play", "render_midi_song", "write_midi"]

_PACKAGES = "apt install fluidsynth fluid-soundfont-gm"
_FOLDERS = (
    *("/usr/share/sounds/sf2", "/usr/share/sounds/sf3", "/usr/share/soundfonts", "/usr/local/share/soundfonts"),
    *("/opt/homebrew/share/soundfonts", "~/.local/share/soundfonts"),
)
_PREFERRED = ("fluidr3_gm", "fluid", "generaluser", "gm")
_TICKS = 480  # per beat
_DRUM_CHANNEL = 9
_RUMBLE = signal.butter(2, 25.0, "highpass", fs=RATE, output="sos")
_LEVEL = 0.1  # root-mean-square of a stem before its random level


def find_soundfont(given: Path | None = None) -> Path:
    """Return the SoundFont to use: the one given, else the most complete of those installed.

    Raises
    ------
    TrainingError
        If FluidSynth or a SoundFont is missing; names the Debian packages.
    """
    if shutil.which("fluidsynth") is None:
        raise TrainingError("the program fluidsynth", "none on the PATH", f"Debian and Ubuntu: {_PACKAGES}")
    if given is not None:
        if not given.is_file():
            raise TrainingError("a SoundFont (.sf2 or .sf3)", f"no file {given}", "check the path")
        return given
    found = [path for folder in _FOLDERS for path in sorted(Path(folder).expanduser().glob("*.sf[23]"))]
    if not found:
        raise TrainingError(
            "an installed SoundFont", "none", f"give one with --soundfont; Debian and Ubuntu: {_PACKAGES}"
        )
    return min(found, key=lambda path: next((k for k, name in enumerate(_PREFERRED) if name in path.stem.lower()), 9))


def render_midi_song(seed: int | tuple[int, ...], seconds: float, soundfont: Path) -> Mapping[str, np.ndarray]:
    """Compose and render a song.

    Parameters
    ----------
    seed, seconds : int or tuple of int, float
        As for :func:`~stemprover.data.compose.compose`.
    soundfont : Path
        General MIDI SoundFont.

    Returns
    -------
    Mapping[str, ndarray]
        Float32 ``[2, samples]`` at 44.1 kHz by class; their sum is the mixture.

    Raises
    ------
    TrainingError
        If FluidSynth cannot render with this SoundFont.
    """
    base = (seed,) if isinstance(seed, int) else seed
    score, samples = compose(base, seconds), int(seconds * RATE)
    stems = {}
    for number, name in enumerate(SYNTH_CLASSES):
        rng = np.random.default_rng([*base, 7100 + number])
        audio = finish(_render_stem(score.stems[name], score.tempo, samples, soundfont, rng), rng)
        level = _LEVEL * 10 ** (rng.uniform(-8, 4) / 20) / (np.sqrt(np.mean(audio**2)) + 1e-9)
        stems[name] = np.asarray(audio * level, np.float32)
    return stems


def _render_stem(
    parts: Sequence[Part], tempo: float, samples: int, soundfont: Path, rng: np.random.Generator
) -> np.ndarray:
    """Played and sung parts at about the loudness that their volume controllers ask for."""
    audio = np.zeros((2, samples), np.float32)
    played = tuple(part for part in parts if part.program != SUNG)
    if played:
        audio += play(played, tempo, samples, soundfont, rng)
    for part in parts:
        if part.program == SUNG:
            voice = _sing(part, tempo, samples, rng)
            loudest = max(other.controls[7] for other in played) / 127 if played else 1.0
            reference = np.sqrt(np.mean(audio**2)) / loudest if played else _LEVEL
            loudness = np.sqrt(np.mean(voice**2)) + 1e-9
            audio += voice * np.float32(part.controls[7] / 127 * reference / loudness)
    return audio


def finish(audio: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """What a mixing engineer adds: no rumble (some SoundFont pads hold DC), more or less treble, often saturation."""
    treble = signal.sosfilt(signal.butter(1, rng.uniform(1500, 6000), "highpass", fs=RATE, output="sos"), audio, axis=1)
    audio = audio + rng.uniform(-0.4, 1.5) * treble
    drive = rng.choice([0.0, rng.uniform(0.5, 2), rng.uniform(1, 5)]) / (np.abs(audio).max() + 1e-9)
    saturated = np.tanh(drive * audio) / drive if drive > 0 else audio
    return np.asarray(signal.sosfilt(_RUMBLE, saturated, axis=1), np.float32)


def write_midi(parts: Sequence[Part], tempo: float, seconds: float, path: Path) -> None:
    """Write parts as a standard MIDI file; pitched parts take channels from 1, drums channel 10.

    Raises
    ------
    TrainingError
        If mido is not installed.
    """
    try:
        import mido
    except ImportError as error:
        raise TrainingError("the package mido", "it is not installed", "pip install 'stemprover[train]'") from error

    file = mido.MidiFile(ticks_per_beat=_TICKS)
    track = mido.MidiTrack([mido.MetaMessage("set_tempo", tempo=mido.bpm2tempo(tempo))])
    events: list[tuple[int, int, mido.Message]] = []
    pitched = iter([channel for channel in range(16) if channel != _DRUM_CHANNEL])
    for part in parts:
        channel = _DRUM_CHANNEL if part.is_drums else next(pitched)
        track.append(mido.Message("program_change", channel=channel, program=part.program))
        for control, value in part.controls.items():
            track.append(mido.Message("control_change", channel=channel, control=control, value=value))
        for hit in part.hits:
            start, end = round(hit.start * _TICKS), round((hit.start + hit.length) * _TICKS)
            on = mido.Message("note_on", channel=channel, note=hit.key, velocity=hit.velocity)
            events.append((start, 1, on))
            events.append((max(end, start + 1), 0, mido.Message("note_off", channel=channel, note=hit.key)))
    last = 0
    for tick, _, message in sorted(events, key=lambda event: event[:2]):  # a note ends before the next one begins
        track.append(message.copy(time=tick - last))
        last = tick
    track.append(mido.MetaMessage("end_of_track", time=max(0, round(seconds * tempo / 60 * _TICKS) - last)))
    file.tracks.append(track)
    file.save(path)


def play(parts: Sequence[Part], tempo: float, samples: int, soundfont: Path, rng: np.random.Generator) -> np.ndarray:
    """Run FluidSynth on some parts, in a room and with a chorus that are drawn for the stem."""
    settings = {
        "synth.reverb.room-size": rng.uniform(0.1, 0.9),
        "synth.reverb.damp": rng.uniform(0.0, 0.8),
        "synth.reverb.level": rng.uniform(0.2, 0.9),
        "synth.chorus.depth": rng.uniform(2.0, 12.0),
        "synth.chorus.speed": rng.uniform(0.15, 1.0),
    }
    options = [word for name, value in settings.items() for word in ("-o", f"{name}={value:.4f}")]
    options += ["-o", "synth.default-soundfont="]  # else it takes the place of one that cannot be read
    with tempfile.TemporaryDirectory() as folder:
        midi, wave = Path(folder) / "stem.mid", Path(folder) / "stem.wav"
        write_midi(parts, tempo, samples / RATE, midi)
        command = ["fluidsynth", "-niq", "-g", "0.4", "-r", str(RATE), "-T", "wav", "-O", "float", *options]
        done = subprocess.run([*command, "-F", wave, soundfont, midi], capture_output=True, text=True)
        audio = np.zeros((2, 0), np.float32)
        if wave.is_file():
            audio = soundfile.read(wave, frames=samples, dtype="float32", always_2d=True)[0].T
    # Without a usable SoundFont FluidSynth ends well, in (almost) silence.
    if done.returncode != 0 or np.abs(audio).max(initial=0.0) < 1e-5:
        reason = (done.stderr.strip() or "silence").splitlines()[0]
        raise TrainingError(f"FluidSynth to render with {soundfont}", reason, "try another --soundfont")
    return np.pad(audio, ((0, 0), (0, samples - audio.shape[1])))


def _sing(part: Part, tempo: float, samples: int, rng: np.random.Generator) -> np.ndarray:
    """The part with the formant voice: each syllable has its own vowels, the place and the room are the part's."""
    audio = np.zeros((2, samples), np.float32)
    position = part.controls[10] / 63.5 - 1
    for hit in part.hits:
        start = round(hit.start * 60 / tempo * RATE)
        length = min(max(round(hit.length * 60 / tempo * RATE), RATE // 20), samples - start)
        if length > RATE // 50:
            hertz = 440.0 * 2 ** ((hit.key - 69 + rng.normal(0, 0.05)) / 12)
            tone = VOICES["voice"](Note(hertz, length, hit.velocity / 127), rng)
            audio[:, start : start + length] += spread(tone, position)[:, :length]
    wet = part.controls[91] / 127
    return reverberate(audio, rng, rng.uniform(0.2, 2.0), 0.6 * wet) if wet > 0 else audio
