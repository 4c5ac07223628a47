"""The pytest plugin: readable assertions in the contracts, and measured metrics in the manifest when asked for."""

from __future__ import annotations

from collections.abc import Mapping

import pytest

__all__ = ["record_metrics"]

# Not the package by its name: it is imported already, for this module is in it.
for _contract in ("contract", "detector", "lora", "repairs", "separator", "vocoder"):
    pytest.register_assert_rewrite(f"stemprover.testing.{_contract}")

_OPTION = "--stemprover-write-metrics"
_RECORDED: pytest.StashKey[dict[str, dict[str, float | str]]] = pytest.StashKey()


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add the option that lets a run change the manifest."""
    group = parser.getgroup("stemprover")
    group.addoption(
        _OPTION, action="store_true", help="write what the contracts measure into the plugin's manifest and model card"
    )


def pytest_configure(config: pytest.Config) -> None:
    """Prepare the place where contracts put what they measure."""
    config.stash[_RECORDED] = {}


def record_metrics(config: pytest.Config, plugin: str, metrics: Mapping[str, float | str]) -> None:
    """Keep measured metrics of a plugin for the end of the run."""
    config.stash[_RECORDED].setdefault(plugin, {}).update(metrics)


def pytest_sessionfinish(session: pytest.Session, exitstatus: int) -> None:
    """Write the metrics if that was asked for and nothing failed: a plugin that breaks a promise has no gain."""
    if exitstatus == 0 and session.config.getoption(_OPTION):
        from stemprover.testing.metrics import write_metrics

        for plugin, metrics in session.config.stash[_RECORDED].items():
            write_metrics(plugin, metrics)


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    """Show what was measured, and where it went."""
    for plugin, metrics in config.stash[_RECORDED].items():
        shown = ", ".join(
            f"{key} {value:g}" if isinstance(value, float) else f"{key} {value}" for key, value in metrics.items()
        )
        written = "written into its manifest" if config.getoption(_OPTION) else f"{_OPTION} writes it into the manifest"
        terminalreporter.write_line(f"{plugin}: {shown} ({written})")
