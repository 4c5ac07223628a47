"""Writing repaired stems: all stems of a set advance together, block by block."""

from __future__ import annotations

import contextlib
import dataclasses
import itertools
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path

import numpy as np

from stemprover.consistency import CONTEXT, limit_together, round_together
from stemprover.overlapped import behind
from stemprover.progress import Progress
from stemprover.render import Renderer
from stemprover.spectral.residue import share_residue
from stemprover.stems import StemSet, Writer, from_difference, limit_difference, written_together
from stemprover.stems.samples import to_float

__all__ = ["Rendered", "render_set"]

_BLOCK = 1 << 18
"""Samples that are worked on at a time, a multiple of the STFT's hop: its frames lie where they would in one piece."""


@dataclasses.dataclass(frozen=True)
class Rendered:
    """A finished stem: the file, or the samples in the input's format when no file was asked for."""

    path: Path | None
    native: np.ndarray | None


@dataclasses.dataclass(frozen=True)
class _Block:
    """The same stretch of all stems: samples as the files hold them, and what is added to them."""

    natives: Sequence[np.ndarray]
    differences: Sequence[np.ndarray]
    mixture: np.ndarray | None


@dataclasses.dataclass(frozen=True)
class _Around:
    """A block with its neighbours: what is computed of it must not depend on where blocks begin and end."""

    before: _Block | None
    here: _Block
    after: _Block | None

    def audio(self, place: int, reach: int) -> np.ndarray:
        """A stem as it came, with up to ``reach`` samples of the neighbours."""
        return self._join(lambda block: to_float(block.natives[place]), reach)

    def difference(self, place: int, reach: int) -> np.ndarray:
        """What is added to a stem, with up to ``reach`` samples of the neighbours."""
        return self._join(lambda block: block.differences[place], reach)

    def mixture(self, reach: int) -> np.ndarray:
        """The mixture, with up to ``reach`` samples of the neighbours."""
        return self._join(lambda block: np.asarray(block.mixture), reach)

    def _join(self, pick: Callable[[_Block], np.ndarray], reach: int) -> np.ndarray:
        parts = [pick(self.here)]
        if self.before is not None:
            parts.insert(0, pick(self.before)[:, -reach:])
        if self.after is not None:
            parts.append(pick(self.after)[:, :reach])
        return np.concatenate(parts, axis=1)

    def cut(self, joined: np.ndarray, reach: int) -> np.ndarray:
        """The block's own part of what was joined."""
        first = 0 if self.before is None else min(reach, self.before.natives[0].shape[-1])
        return joined[:, first : first + self.here.natives[0].shape[-1]]


def render_set(
    stems: StemSet,
    renderers: Sequence[Renderer],
    outputs: Sequence[Path] | None,
    overwrite: bool,
    mixture_consistent: bool,
    progress: Progress,
) -> tuple[Rendered, ...]:
    """Add every stem's difference to its input and write the results; either all files appear or none.

    With ``mixture_consistent`` the stems of :meth:`StemSet.cover` sum to the mixture; others are written as they are.

    Raises
    ------
    OutputError
        If an output cannot be written.
    """
    members = [renderer.stem for renderer in renderers]
    inputs = [stem.path for stem in (*members, *([stems.mixture] if stems.mixture else [])) if stem.path]
    kept: list[list[np.ndarray]] = [[] for _ in members]
    progress.start("write", members[0].format.samples)
    with contextlib.ExitStack() as stack:
        sinks = [kept[place].append for place in range(len(members))]
        if outputs is not None:
            writers = [
                Writer(path, stem.format, inputs=inputs, overwrite=overwrite)
                for path, stem in zip(outputs, members, strict=True)
            ]
            stack.enter_context(written_together(writers))
            # Left first: every queue is empty before any file gets its name.
            sinks = [stack.enter_context(behind(writer.write)) for writer in writers]
        for finished in _finished(stems, renderers, mixture_consistent):
            for native, sink in zip(finished, sinks, strict=True):
                sink(native)
            progress.advance("write", finished[0].shape[-1])
    progress.finish("write")
    if outputs is not None:
        return tuple(Rendered(path, None) for path in outputs)
    return tuple(Rendered(None, np.concatenate(blocks, axis=1)) for blocks in kept)


def _finished(stems: StemSet, renderers: Sequence[Renderer], mixture_consistent: bool) -> Iterator[list[np.ndarray]]:
    """Native samples of all stems, block by block."""
    formats = [renderer.stem.format for renderer in renderers]
    cover: list[int] = []
    blocks = _rendered(stems, renderers, mixture_consistent)
    if mixture_consistent and stems.mixture is not None:
        members = stems.cover()
        cover = [place for place, one in enumerate(renderers) if any(one.stem is member for member in members)]
        blocks = _shared(blocks, cover)
    window = max(1, formats[0].sample_rate // 100)
    for around in _with_neighbours(blocks):
        alone = [place for place in range(len(formats)) if place not in cover]
        done = {place: _added(around, place, window, formats[place].subtype) for place in alone}
        if cover:
            together = _added_together(around, cover, window, [formats[place].subtype for place in cover])
            done |= dict(zip(cover, together, strict=True))
        yield [done[place] for place in range(len(formats))]


def _rendered(stems: StemSet, renderers: Sequence[Renderer], with_mixture: bool) -> Iterator[_Block]:
    """What the renderers make of all stems."""
    total = renderers[0].stem.format.samples
    streams = [renderer.blocks(_BLOCK) for renderer in renderers]
    for start in range(0, total, _BLOCK):
        stop = min(start + _BLOCK, total)
        mixture = stems.mixture.read(start, stop) if with_mixture and stems.mixture is not None else None
        natives = [renderer.stem.read_native(start, stop) for renderer in renderers]
        yield _Block(natives, [next(stream) for stream in streams], mixture)
    for stream in streams:
        next(stream, None)  # lets the last stage report that it is done


def _with_neighbours(blocks: Iterable[_Block]) -> Iterator[_Around]:
    before = None
    for here, after in itertools.pairwise(itertools.chain(blocks, [None])):
        assert here is not None
        yield _Around(before, here, after)
        before = here


def _shared(blocks: Iterable[_Block], cover: Sequence[int]) -> Iterator[_Block]:
    """Differences that make some of the stems sum to the mixture."""
    for around in _with_neighbours(blocks):
        repaired = [around.audio(place, CONTEXT) + around.difference(place, CONTEXT) for place in cover]
        differences = list(around.here.differences)
        for place, share in zip(cover, share_residue(around.mixture(CONTEXT), repaired), strict=True):
            differences[place] = differences[place] + around.cut(share, CONTEXT)
        yield dataclasses.replace(around.here, differences=differences)


def _added(around: _Around, place: int, window: int, subtype: str) -> np.ndarray:
    """One stem with its difference, limited where it would leave full scale."""
    native = around.here.natives[place]
    if not around.here.differences[place].any():
        return native
    limited = limit_difference(around.audio(place, window), around.difference(place, window), window)
    return from_difference(native, around.cut(limited, window), subtype)


def _added_together(
    around: _Around, cover: Sequence[int], window: int, subtypes: Sequence[str]
) -> Sequence[np.ndarray]:
    """The stems that sum to the mixture, limited and rounded so that the sum stays what it is."""
    natives = [around.here.natives[place] for place in cover]
    if not any(around.here.differences[place].any() for place in cover):
        return natives
    reach = min(_BLOCK, window * (2 * len(cover) - 1))
    audio = [around.audio(place, reach) for place in cover]
    differences = [around.difference(place, reach) for place in cover]
    limited = [around.cut(one, reach) for one in limit_together(audio, differences, window)]
    return round_together(natives, limited, subtypes)
