"""A plugin's separator behind a guard: it may raise, exit, print or hang, and the user gets one line about it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from torch import Tensor

from stemprover.errors import PluginError
from stemprover.plugins import PluginRunner
from stemprover.plugins.fields import NAME, STEM, printable
from stemprover.separation.base import Separator

__all__ = ["FETCHING", "SEPARATING", "GuardedSeparator"]

SEPARATING = 6.0
"""How many times the limit of plugins one call may take: it is up to a minute of audio, and networks may be large."""
FETCHING = 24.0
"""The same for the first call of a separator whose manifest has a ``download_size_mb``."""


class GuardedSeparator:
    """A plugin's separator whose every call goes through the runner that made it.

    Parameters
    ----------
    made : object
        What the plugin gave.
    name : str
        What the user calls it.
    runner : PluginRunner
        The one that made it.
    contents : object
        See :class:`~stemprover.separation.base.HostedSeparator`.
    fetches : bool
        Whether the first call may download weights.

    Raises
    ------
    PluginError
        It is no separator, or fails when it is asked for its name, stems or rate.
    """

    def __init__(self, made: Any, name: str, runner: PluginRunner, contents: object, fetches: bool = False) -> None:
        self._made, self._runner, self._plugin = made, runner, runner.owner(made)
        self.contents = contents
        self._times = FETCHING if fetches else SEPARATING
        said = runner.guard(made, lambda: _said(made))
        if said is None:
            raise self._failed(f"separator {name} to say its name, stems and sample_rate")
        self.name, self.stems, self.sample_rate = said

    def separate(self, audio: Tensor) -> Mapping[str, Tensor]:
        """Take a mixture apart; see :class:`stemprover.separation.base.Separator`.

        Raises
        ------
        PluginError
            The plugin failed, in this call or an earlier one.
        """
        worked = self._runner.works(self._made)
        found = self._runner.guard(self._made, lambda: _tensors(self._made.separate(audio)), self._times)
        self._times = SEPARATING
        if found is None:
            raise self._failed(f"separator {self.name} to take the song apart", is_new=worked)
        return found

    def _failed(self, expected: str, is_new: bool = True) -> PluginError:
        """What to raise; only a new failure is of this song, later ones are of a plugin that is no longer asked."""
        told = self._runner.own_error(self._plugin)
        if told is not None and is_new:
            return told
        reason = next(fault.reason for fault in self._runner.faults if fault.name == self._plugin)
        fix = f"use --separator light, or see 'stemprover plugins info {self._plugin}'"
        when = "a failure" if is_new else "an earlier failure"
        return PluginError(expected, f"{when} of plugin {self._plugin} ({reason})", fix)


def _said(made: Any) -> tuple[str, tuple[str, ...], int]:
    """Name, stems and rate, read once: they may be properties, and stems become names of files."""
    if not isinstance(made, Separator):
        raise TypeError(f"{type(made).__name__} is no separator")
    name, stems, rate = made.name, tuple(made.stems), made.sample_rate
    if not isinstance(name, str) or not NAME.fullmatch(name):
        raise ValueError(f"name {printable(name)} is no name of a separator")
    for stem in stems:
        if not isinstance(stem, str) or not STEM.fullmatch(stem):
            raise ValueError(f"stem {printable(stem)} is no stem class such as vocals")
    if not stems or len(set(stems)) < len(stems):
        raise ValueError(f"stems {printable(stems)} are not one or more different ones")
    if type(rate) is not int or not 1_000 <= rate <= 1_000_000:
        raise ValueError(f"sample_rate {printable(rate)} is no rate in Hz")
    return name, stems, rate


def _tensors(found: Any) -> dict[str, Tensor]:
    """What was answered as a plain table; a mapping of the plugin's own would run its code later."""
    table = dict(found)
    for name, part in table.items():
        if not isinstance(part, Tensor):
            raise TypeError(f"{printable(name)} is {type(part).__name__}, no tensor")
    return table
