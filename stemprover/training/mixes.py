"""Batches of random mixtures with their stems, for training separators."""

from __future__ import annotations

import dataclasses
import fnmatch
import functools
from collections.abc import Iterable, Sequence

import numpy as np
import torch
from torch import Tensor

from stemprover.data.cuts import active_start, add, any_kit, by_length, longest, loudness, sequence
from stemprover.data.library import Library
from stemprover.data.songs import render_stem
from stemprover.errors import TrainingError
from stemprover.separation.layout import KIT_STEMS, STEMS
from stemprover.spectral.spec import SPEC
from stemprover.training.variation import AS_IT_IS, draw_variation

__all__ = ["Mixes", "RandomMixes", "fitting", "material", "without"]

SECONDS = 3.0
_RENDERED = 48  # synthesised stems per class; rendering one takes longer than a share of a training step
_RENDERED_SECONDS = 8.0
_LEVEL = 0.1


@dataclasses.dataclass(frozen=True)
class Mixes:
    """Mixtures and what they are made of.

    Attributes
    ----------
    stems : Tensor
        Float32, shape ``[batch, stems, 2, samples]``; a stem may be silent.
    """

    stems: Tensor

    @property
    def mixture(self) -> Tensor:
        """Sum of the stems, ``[batch, 2, samples]``."""
        return self.stems.sum(1)


def material(library: Library) -> tuple[str, ...]:
    """Names of the songs, kits and solo recordings of a library: what a separator that trains on it has heard."""
    return tuple(sorted({*library.songs, *(kit.name for kit in library.kits), *(solo.name for solo in library.solos)}))


def fitting(names: Iterable[str], patterns: Sequence[str]) -> frozenset[str]:
    """Names of songs, kits and solo recordings that fit one of these patterns (``*`` and ``?``).

    Raises
    ------
    TrainingError
        If a pattern fits none of them: a misspelt name would let the song into the training.
    """
    known, found = sorted(names), set[str]()
    for pattern in patterns:
        fits = [name for name in known if fnmatch.fnmatchcase(name, pattern)]
        if not fits:
            raise TrainingError(f"a song, kit or solo out of {', '.join(known)}", pattern, "correct --without")
        found.update(fits)
    return frozenset(found)


def without(library: Library, patterns: Sequence[str]) -> Library:
    """Leave songs, kits and solo recordings out by name or pattern (``*`` and ``?``).

    Raises
    ------
    TrainingError
        If a pattern fits nothing: a misspelt name would let the song into the training.
    """
    names = material(library)
    kept = set(names) - fitting(names, patterns)
    songs = {name: tracks for name, tracks in library.songs.items() if name in kept}
    kits = tuple(kit for kit in library.kits if kit.name in kept)
    return dataclasses.replace(library, songs=songs, kits=kits, solos=tuple(s for s in library.solos if s.name in kept))


class RandomMixes:
    """Draws batch ``i`` from ``(seed, i)`` alone, so that training resumes to the step.

    A third of the mixtures are a song's own; the rest are stems that never met: of songs, single tracks of songs, kits,
    solo singing, one-shots and the synthesiser. Long songs are drawn more often than short ones. Of drum kits, recorded
    and rendered ones equally often, two thirds are a kit's own and the rest are pieces of any.

    Parameters
    ----------
    library : Library
        What to draw from.
    batch_size, seed : int
        Mixtures per batch; seed of the draw.
    stems : tuple of str
        ``STEMS`` for songs, ``KIT_STEMS`` for drum kits.
    varied_share : float
        Share of the mixtures that are played faster or slower, with each stem equalised and turned by itself: what is
        met again and again is learnt by heart (:mod:`stemprover.training.variation`).

    Raises
    ------
    TrainingError
        If the stems are neither, or kits are asked for and the library has none.
    """

    def __init__(
        self, library: Library, batch_size: int, seed: int, stems: tuple[str, ...] = STEMS, varied_share: float = 0.0
    ) -> None:
        if stems not in (STEMS, KIT_STEMS):
            fix = "take STEMS or KIT_STEMS of stemprover.separation.layout"
            raise TrainingError(f"the stems {STEMS} or {KIT_STEMS}", str(stems), fix)
        if stems == KIT_STEMS and not library.kits:
            fix = "render some with `stemprover data synth --renderer drumkit`"
            raise TrainingError("drum kits in the data folders", "none", fix)
        self.library, self.batch_size, self.seed, self.stems = library, batch_size, seed, stems
        self.samples, self.varied_share = round(SECONDS * SPEC.sample_rate), varied_share

    def batch(self, index: int) -> Mixes:
        """Return batch ``index``; the same index always gives the same batch."""
        rng = np.random.default_rng((self.seed, index))
        return Mixes(torch.from_numpy(np.stack([self._item(rng) for _ in range(self.batch_size)])))

    def _item(self, rng: np.random.Generator) -> np.ndarray:
        varied = self.varied_share > 0.0 and rng.random() < self.varied_share
        common = draw_variation(rng) if varied else AS_IT_IS
        samples = common.length(self.samples)
        if self.stems == KIT_STEMS:
            stems = self._kit(rng, samples)
        else:
            own = self.library.songs and rng.random() < 0.35
            stems = self._song(rng, samples) if own else self._meeting(rng, samples)
            if all(loudness(audio) < 1e-3 for audio in stems.values()):
                stems[STEMS[rng.integers(len(STEMS))]] = self._synth(str(rng.choice(STEMS)), rng, samples)
        if varied:  # one speed for all of them, or they would no longer be in tune
            each = {name: dataclasses.replace(draw_variation(rng), speed=common.speed) for name in stems}
            stems = {name: each[name].audio(audio[None], self.samples)[0] for name, audio in stems.items()}
        silence = np.zeros((2, self.samples), np.float32)
        placed = np.stack([_vary(stems.get(name, silence), rng) for name in self.stems])
        level = np.float32(10 ** (rng.uniform(-30, -12) / 20) / max(loudness(placed.sum(0)), 1e-4))
        return np.asarray(placed * level, np.float32)

    def _kit(self, rng: np.random.Generator, samples: int) -> dict[str, np.ndarray]:
        """The pieces of one kit at one time, or of any kits at any."""
        kits = self.library.kits
        kit = any_kit(kits, rng)
        start, together = active_start(kit.mix, samples, rng), rng.random() < 0.65
        stems = {}
        for name in KIT_STEMS:
            if not together:
                kit = any_kit(kits, rng)
                start = active_start(kit.references[name], samples, rng)
            stems[name] = kit.references[name].read(start, samples)
        return stems

    def _song(self, rng: np.random.Generator, samples: int) -> dict[str, np.ndarray]:
        """The stems of one song at one time, with a synthesised bass where there is none."""
        songs = list(self.library.songs.values())
        tracks = songs[by_length([longest(several) for several in songs], rng)]
        start = active_start(tracks[rng.integers(len(tracks))], samples, rng)
        stems: dict[str, np.ndarray] = {}
        for track in tracks:
            if track.is_active(start, samples):
                stems[track.stem_class] = stems.get(track.stem_class, np.float32(0)) + track.read(start, samples)
        if "bass" not in stems and rng.random() < 0.6:
            stems["bass"] = self._synth("bass", rng, samples) * np.float32(rng.uniform(0.3, 1.2))
        return stems

    def _meeting(self, rng: np.random.Generator, samples: int) -> dict[str, np.ndarray]:
        """Stems from anywhere at similar levels; one in seven is left out."""
        stems: dict[str, np.ndarray] = {}
        for name in STEMS:
            if rng.random() < 0.85:
                audio = self._any(name, rng, samples)
                stems[name] = audio * np.float32(_LEVEL / max(loudness(audio), 1e-3))
        return stems

    def _any(self, name: str, rng: np.random.Generator, samples: int) -> np.ndarray:
        songs = [tracks for tracks in self.library.songs.values() if any(t.stem_class == name for t in tracks)]
        shots = self.library.samples.get(name, ())
        shares = {
            "songs": (0.2 if name == "bass" and len(songs) < 3 else 0.6) * bool(songs),
            "kits": 0.3 * (name == "drums" and bool(self.library.kits)),
            "solos": 0.3 * (name == "vocals" and bool(self.library.solos)),
            "shots": 0.1 * bool(shots),
            "synth": 0.3,
        }
        weights = np.array(list(shares.values()))
        source = str(rng.choice(list(shares), p=weights / weights.sum()))
        if source == "synth":
            return self._synth(name, rng, samples)
        if source == "shots":
            return sequence(shots, samples, rng)
        if source == "kits":
            kit = any_kit(self.library.kits, rng)
            start = active_start(kit.mix, samples, rng)
            return add(kit.references[piece].read(start, samples) for piece in KIT_STEMS)
        if source == "solos":
            solo = self.library.solos[by_length(self.library.solos, rng)]
            return solo.read(active_start(solo, samples, rng), samples)
        song = songs[by_length([longest(several) for several in songs], rng)]
        tracks = [track for track in song if track.stem_class == name]
        chosen = tracks[rng.integers(len(tracks))]
        start = active_start(chosen, samples, rng)
        together = tracks if rng.random() < 0.6 else [chosen]
        return add(track.read(start, samples) for track in together)

    def _synth(self, name: str, rng: np.random.Generator, samples: int) -> np.ndarray:
        """A stretch of one of the rendered stems."""
        audio = _rendered(name, int(rng.integers(_RENDERED)))
        start = int(rng.integers(audio.shape[1] - samples))
        return audio[:, start : start + samples]


@functools.cache
def _rendered(name: str, number: int) -> np.ndarray:
    rng = np.random.default_rng((STEMS.index(name), number))
    return render_stem(name, round(_RENDERED_SECONDS * SPEC.sample_rate), rng)


def _vary(audio: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Random gain, swapped channels, now and then mono or upside down."""
    gain = 10 ** (rng.uniform(-9, 6) / 20) * (-1 if rng.random() < 0.2 else 1)
    if rng.random() < 0.5:
        audio = audio[::-1]
    if rng.random() < 0.15:
        audio = np.repeat(audio.mean(0, keepdims=True), 2, axis=0)
    return np.asarray(audio * np.float32(gain), np.float32)
