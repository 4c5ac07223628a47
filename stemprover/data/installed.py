"""Installed separators as a source of real artifacts: the embedded one, and those of plugins."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Iterable

import numpy as np

from stemprover.separation.base import HostedSeparator
from stemprover.separation.choose import choose_separator
from stemprover.separation.embedded import EMBEDDED_SEPARATOR, EmbeddedSeparator
from stemprover.separation.layout import STEMS
from stemprover.separation.songs import take_apart
from stemprover.separation.trained import find_separators
from stemprover.spectral.spec import SPEC

__all__ = ["InstalledSeparator", "find_installed"]


@dataclasses.dataclass(frozen=True, slots=True)
class InstalledSeparator:
    """A separator by its name, as :class:`~stemprover.separation.trained.TrainedSeparator` is one by its folder.

    Attributes
    ----------
    architecture : str
        What ``--separator`` calls it.
    stems : tuple of str
        Stem classes in the order of its output, of those that mean the same in every song: what ``other`` is depends on
        what else a separator knows.
    whole : bool
        Whether these stems together are the mixture.
    heard : frozenset of str
        What it trained on, as far as that is known: nothing is of plugins.
    """

    architecture: str
    stems: tuple[str, ...]
    whole: bool
    heard: frozenset[str] = frozenset()

    def separate(self, audio: np.ndarray, _sources: Iterable[str]) -> np.ndarray:
        """Separate a mixture ``[2, samples]`` at 44.1 kHz into ``[stems, 2, samples]``.

        Raises
        ------
        PluginError
            If the plugin fails, or returns something else than promised.
        """
        return take_apart(_loaded(self.architecture), audio, SPEC.sample_rate, self.stems).astype(np.float32)


def find_installed(name: str) -> InstalledSeparator:
    """Return an installed separator.

    Raises
    ------
    OptionError, PluginError
        As of :func:`~stemprover.separation.choose.choose_separator`.
    """
    separator = _loaded(name)
    stems = tuple(stem for stem in separator.stems if stem != "other" or set(separator.stems) == set(STEMS))
    whole = stems == separator.stems and len(stems) > 1
    heard: frozenset[str] = frozenset()
    if isinstance(separator, EmbeddedSeparator) and not separator.is_stand_in:
        heard = find_separators(EMBEDDED_SEPARATOR)[0].heard
    return InstalledSeparator(name, stems, whole, heard)


@functools.cache
def _loaded(name: str) -> HostedSeparator:
    """One for all mixtures of a process: it may hold a large network."""
    return choose_separator(name)
