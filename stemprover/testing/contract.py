"""What every plugin must keep, whatever its kind."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import ClassVar

import pytest

from stemprover.plugins import EMBEDDED, Plugin, PluginRunner, find, verify_files
from stemprover.testing.pairs import AudioPair, read_audio_pairs
from stemprover.testing.plugin import record_metrics

__all__ = ["PluginContract"]


class PluginContract:
    """The promises of all kinds; use the contract of your kind.

    Attributes
    ----------
    plugin : str
        The plugin's name; it must be installed (``pip install -e .``).
    pairs : Path, optional
        Folder of pairs to measure on; see :func:`stemprover.testing.read_audio_pairs`. Pairs are large, so the folder
        need not be there everywhere: what measures on it is skipped then.
    """

    plugin: ClassVar[str]
    pairs: ClassVar[Path | None] = None
    kind: ClassVar[str]

    def audio_pairs(self) -> Sequence[AudioPair]:
        """Return the pairs to measure on, none by default; override it to make them in memory."""
        return () if self.pairs is None or not self.pairs.is_dir() else read_audio_pairs(self.pairs)

    def installed(self) -> Plugin:
        """Return the plugin as the host finds it."""
        return find(self.plugin)

    def runner(self) -> PluginRunner:
        """Return what runs this plugin and no other."""
        return PluginRunner([self.installed()])

    def plugins(self) -> list[Plugin]:
        """Return this plugin and what the host brings itself: what else is installed must not matter."""
        return [*EMBEDDED, self.installed()]

    def measured(self, request: pytest.FixtureRequest, metrics: Mapping[str, float | str]) -> None:
        """Keep a measurement; ``--stemprover-write-metrics`` puts it into the manifest."""
        record_metrics(request.config, self.plugin, metrics)

    def test_it_is_installed_and_fits_this_host(self) -> None:
        """The host lists it as ok and of the right kind."""
        plugin = self.installed()
        assert (plugin.status, plugin.kind) == ("ok", self.kind), plugin.reason

    def test_its_files_are_as_released(self) -> None:
        """Every file that the manifest lists has its SHA-256."""
        plugin = self.installed()
        assert plugin.manifest is not None
        assert set(verify_files(plugin)) == (set(plugin.manifest.files) if plugin.weights_folder else set())
