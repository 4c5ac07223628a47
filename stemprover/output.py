"""Writing repaired stems: all stems of a set advance together, block by block."""

from __future__ import annotations

import contextlib
import dataclasses
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np

from stemprover.consistency import share_residue
from stemprover.overlapped import behind
from stemprover.progress import Progress
from stemprover.render import Renderer
from stemprover.stems import Stem, StemSet, Writer, from_difference, limit_difference, written_together

__all__ = ["Rendered", "render_set"]

_BLOCK = 1 << 18


@dataclasses.dataclass(frozen=True)
class Rendered:
    """A finished stem: the file, or the samples in the input's format when no file was asked for."""

    path: Path | None
    native: np.ndarray | None


def render_set(
    stems: StemSet,
    renderers: Sequence[Renderer],
    outputs: Sequence[Path] | None,
    overwrite: bool,
    mixture_consistent: bool,
    progress: Progress,
) -> tuple[Rendered, ...]:
    """Add every stem's difference to its input and write the results; either all files appear or none.

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
        for start, stop, differences in _blocks(stems, renderers, mixture_consistent):
            for stem, difference, sink in zip(members, differences, sinks, strict=True):
                sink(_apply(stem, start, stop, difference))
            progress.advance("write", stop - start)
    progress.finish("write")
    if outputs is not None:
        return tuple(Rendered(path, None) for path in outputs)
    return tuple(Rendered(None, np.concatenate(blocks, axis=1)) for blocks in kept)


def _apply(stem: Stem, start: int, stop: int, difference: np.ndarray) -> np.ndarray:
    native = stem.read_native(start, stop)
    if not difference.any():
        return native
    limited = limit_difference(stem.read(start, stop), difference, window=max(1, stem.format.sample_rate // 100))
    return from_difference(native, limited, stem.format.subtype)


def _blocks(
    stems: StemSet, renderers: Sequence[Renderer], mixture_consistent: bool
) -> Iterator[tuple[int, int, list[np.ndarray]]]:
    """Differences of all stems for the same stretch of time."""
    total = renderers[0].stem.format.samples
    streams = [renderer.blocks(_BLOCK) for renderer in renderers]
    for start in range(0, total, _BLOCK):
        stop = min(start + _BLOCK, total)
        differences = [next(stream) for stream in streams]
        if mixture_consistent and stems.mixture is not None:
            repaired = [
                renderer.stem.read(start, stop) + difference
                for renderer, difference in zip(renderers, differences, strict=True)
            ]
            shares = share_residue(stems.mixture.read(start, stop), repaired)
            differences = [difference + share for difference, share in zip(differences, shares, strict=True)]
        yield start, stop, differences
    for stream in streams:
        next(stream, None)  # lets the last stage report that it is done
