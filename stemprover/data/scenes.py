"""Scenes: a target stem with what plays beside it, cut and mixed from a library and from synthesised stems."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence

import numpy as np

from stemprover.data.cuts import ATTEMPTS, active_start, add, any_kit, any_stem, by_length, longest, loudness
from stemprover.data.library import Kit, Library
from stemprover.data.songs import render_stem
from stemprover.separation.layout import KIT_STEMS

__all__ = ["Scene", "draw_class", "draw_kit_scene", "draw_scene", "targets"]

SILENT = 2e-3  # root-mean-square below which a segment is no target
_TARGETS = {"vocals": 0.26, "drums": 0.18, "bass": 0.2, "other": 0.2, "instrumental": 0.08, "kit": 0.08}
_CLASSES = ("vocals", "drums", "bass", "other")
_MADE = frozenset({"synth", "oneshots"})  # no recordings of music
_OWN_LEVELS = 0.5  # share of the scenes from one song that stay as they were mixed


@dataclasses.dataclass(frozen=True, eq=False)
class Scene:
    """A mixture with its parts.

    Attributes
    ----------
    song, stem_class : str
        Where the target comes from, and its class.
    target : ndarray
        Float32, shape ``[2, samples]``.
    siblings : Mapping[str, ndarray]
        The other stems by class, same shape.
    sources : frozenset of str
        Songs, kits and solo recordings that any part was cut from.
    """

    song: str
    stem_class: str
    target: np.ndarray
    siblings: Mapping[str, np.ndarray]
    sources: frozenset[str] = frozenset()

    @property
    def mixture(self) -> np.ndarray:
        """Sum of all parts."""
        return add([self.target, *self.siblings.values()])


def targets(library: Library) -> tuple[str, ...]:
    """Classes of target that a library has material for; ``kit`` stands for any piece of a drum kit.

    What is missing is synthesised, but for kits; where there is nothing but kits, nothing is.
    """
    if library.kits and not (library.songs or library.solos or library.samples):
        return ("kit",)
    return tuple(name for name in _TARGETS if name != "kit" or library.kits)


def draw_class(among: Sequence[str], rng: np.random.Generator) -> str:
    """Draw a class of target out of some, voices most often."""
    shares = np.array([_TARGETS[name] for name in among])
    return str(rng.choice(list(among), p=shares / shares.sum()))


def draw_scene(library: Library, samples: int, rng: np.random.Generator, stem_class: str | None = None) -> Scene:
    """Draw a random scene of ``samples`` samples, for any or one class of target; the target is never silent."""
    stem_class = stem_class or draw_class(targets(library), rng)
    if stem_class == "kit" and library.kits:
        return _finish(draw_kit_scene(library.kits, samples, rng)[0], rng)
    stem_class = "drums" if stem_class == "kit" else stem_class
    for _ in range(ATTEMPTS):
        from_song = library.songs and rng.random() < 0.55
        scene = _song_scene(library, stem_class, samples, rng) if from_song else None
        meeting = scene is None or rng.random() < 0.15
        if scene is None or meeting:
            scene = _mixed_scene(library, stem_class, samples, rng, scene)
        if loudness(scene.target) > SILENT and any(loudness(s) > SILENT / 4 for s in scene.siblings.values()):
            as_mixed = not meeting and rng.random() < _OWN_LEVELS
            return _level(scene, rng) if as_mixed else _finish(scene, rng)
    fallback = "other" if stem_class == "instrumental" else stem_class
    siblings = {"drums" if fallback != "drums" else "bass": render_stem("drums", samples, rng)}
    return _finish(Scene("synth", stem_class, render_stem(fallback, samples, rng), siblings), rng)


def draw_kit_scene(kits: Sequence[Kit], samples: int, rng: np.random.Generator) -> tuple[Scene, Kit, int]:
    """Draw a drum stem among the other stems of its kit; also returns the kit and the first sample.

    Recorded and rendered kits (those with a separator's outputs and those without) are drawn equally often.
    """
    for _ in range(ATTEMPTS * 4):
        kit = any_kit(kits, rng)
        stem = KIT_STEMS[rng.integers(len(KIT_STEMS))]
        target = kit.references[stem]
        start = active_start(target, samples, rng)
        audio = target.read(start, samples)
        if loudness(audio) > SILENT:
            break
    siblings = {name: kit.references[name].read(start, samples) for name in KIT_STEMS if name != stem}
    return Scene(kit.name, stem, audio, siblings, frozenset({kit.name})), kit, start


def _song_scene(library: Library, stem_class: str, samples: int, rng: np.random.Generator) -> Scene | None:
    """A target and its siblings from the same time of one song; None where the song has no such stem."""
    song = list(library.songs)[by_length([longest(tracks) for tracks in library.songs.values()], rng)]
    tracks = library.songs[song]
    wanted = "other" if stem_class == "instrumental" else stem_class
    candidates = [track for track in tracks if track.stem_class == wanted]
    if not candidates:
        return None
    start = active_start(candidates[rng.integers(len(candidates))], samples, rng)
    thin = stem_class != "bass" and rng.random() < 0.35  # now and then only some of the tracks: more variety
    stems: dict[str, np.ndarray] = {}
    for track in tracks:
        kept = not thin or track.stem_class != stem_class or rng.random() < 0.6
        if kept and track.is_active(start, samples):
            stems[track.stem_class] = stems.get(track.stem_class, np.float32(0)) + track.read(start, samples)
    if "bass" not in stems and rng.random() < 0.6:
        stems["bass"] = render_stem("bass", samples, rng) * np.float32(rng.uniform(0.3, 1.2))
    silence = np.zeros((2, samples), np.float32)
    if stem_class == "instrumental":
        vocals = stems.pop("vocals", None)
        target = add(stems.values()) if stems else silence
        return Scene(song, stem_class, target, {} if vocals is None else {"vocals": vocals}, frozenset({song}))
    target = stems.pop(stem_class, silence)
    return Scene(song, stem_class, target, stems, frozenset({song}))


def _mixed_scene(
    library: Library, stem_class: str, samples: int, rng: np.random.Generator, scene: Scene | None
) -> Scene:
    """Stems that never met: a random target (or the one of ``scene``) with one to three random siblings."""
    if scene is not None:
        song, target, sources = scene.song, scene.target, set(scene.sources)
    elif stem_class == "instrumental":
        parts = [any_stem(library, name, samples, rng) for name in ("drums", "bass", "other")]
        song, target, sources = "mixed", add(part for _, part in parts), {name for name, _ in parts}
    else:
        song, target = any_stem(library, stem_class, samples, rng)
        sources = {song}
    others = ["vocals"] if stem_class == "instrumental" else [name for name in _CLASSES if name != stem_class]
    chosen = rng.permutation(others)[: rng.integers(1, len(others) + 1)]
    met = {str(name): any_stem(library, str(name), samples, rng) for name in chosen}
    level = loudness(target) + 1e-6
    siblings = {name: audio * (level / (loudness(audio) + 1e-6)) for name, (_, audio) in met.items()}
    sources.update(name for name, _ in met.values())
    return Scene(song, stem_class, target, siblings, frozenset(sources - _MADE))


def _finish(scene: Scene, rng: np.random.Generator) -> Scene:
    """Random gain, width and position per stem, now and then mono, and a common loudness."""
    target = _place(scene.target, rng)
    siblings = {
        name: _place(audio, rng) * np.float32(10 ** (rng.uniform(-12, 6) / 20))
        for name, audio in scene.siblings.items()
        if loudness(audio) > SILENT / 10
    }
    if rng.random() < 0.08:
        target, siblings = _mono(target), {name: _mono(audio) for name, audio in siblings.items()}
    return _level(dataclasses.replace(scene, target=target, siblings=siblings), rng)


def _level(scene: Scene, rng: np.random.Generator) -> Scene:
    """One random gain for all stems, which stay as loud beside each other as they are."""
    level = np.float32(10 ** (rng.uniform(-32, -14) / 20) / loudness(scene.target))
    level = min(level, np.float32(0.7 / max(np.abs(scene.mixture).max(), np.abs(scene.target).max())))
    siblings = {name: audio * level for name, audio in scene.siblings.items()}
    return dataclasses.replace(scene, target=scene.target * level, siblings=siblings)


def _mono(audio: np.ndarray) -> np.ndarray:
    return np.repeat(audio.mean(0, keepdims=True), 2, axis=0)


def _place(audio: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Change width and balance of some stems; a third stay as they are."""
    if rng.random() < 0.35:
        return audio
    middle, side = audio.sum(0) / 2, (audio[0] - audio[1]) / 2
    width, balance = rng.uniform(0, 1.4), rng.uniform(-0.5, 0.5)
    wide = np.stack([(middle + width * side) * (1 - balance), (middle - width * side) * (1 + balance)])
    return wide.astype(np.float32)
