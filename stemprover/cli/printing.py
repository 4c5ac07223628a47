"""What commands print for people: tables of plans and detections, and one paragraph per finished stem."""

from __future__ import annotations

import sys
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import click
from rich.console import Console
from rich.table import Table

from stemprover.batch.reports import SILENT_ROW

if TYPE_CHECKING:
    from stemprover.batch.outcomes import StemResult

__all__ = ["print_detections", "print_plan", "print_result", "print_short"]

Summary = Mapping[str, Any]
_HEADLINES = ("SI-SDR", "Log-spectral distance", "Multi-resolution STFT distance", SILENT_ROW)


def print_plan(result: StemResult) -> None:
    """Print the plan of one stem: segment, band, artifact, confidence, severity, adapter, strength."""
    summary = result.summary
    _print_table(
        f"{summary['input']}: plan",
        ("segment (s)", "band (Hz)", "artifact", "confidence", "severity", "adapter", "strength"),
        ([*_finding(item), item["adapter"], f"{item['strength']:.2f}"] for item in result.plan),
        empty="nothing to repair",
    )
    _print_place(summary)
    _print_unrepaired(summary)
    _print_faults(summary)


def print_detections(summary: Summary) -> None:
    """Print what is wrong with one stem, and where."""
    columns = ("time (s)", "band (Hz)", "artifact", "confidence", "severity")
    _print_table(str(summary["input"]), columns, map(_finding, summary["detections"]), empty="nothing found")
    for name, meaning in summary["artifact_types"].items():
        click.echo(f"  {name}: {meaning}")
    _print_place(summary)
    _print_faults(summary)


def print_result(summary: Summary, reports: Iterable[object], metrics: Mapping[str, Mapping[str, Any]]) -> None:
    """Print what was done to one stem and where the files are."""
    click.echo(f"{summary['input']}: {_done(summary)}")
    for label, place in (("wrote", summary["output"]), *(("report", place) for place in reports)):
        click.echo(f"  {label:<6} {place}")
    for name in (name for name in _HEADLINES if name in metrics):
        row = metrics[name]
        click.echo(f"  {name:<30} {row['before']:.2f} -> {row['after']:.2f} {row['unit']}".rstrip())
    _print_place(summary)
    _print_unrepaired(summary)
    _print_faults(summary)


def print_short(summary: Summary) -> None:
    """Print one line about one stem of many."""
    late = f", {_late(summary['late_samples'])}" if summary["late_samples"] else ""
    moved = f", moved by {summary['moved_samples']} samples" if summary["moved_samples"] else ""
    click.echo(f"{summary['input']}: {_done(summary)}{late}{moved} -> {summary['output']}")
    _print_faults(summary)


def _done(summary: Summary) -> str:
    counts = Counter(item["artifact"] for item in summary["plan"])
    kinds = ", ".join(f"{name} {count}" for name, count in sorted(counts.items()))
    if not counts or not summary["repaired_s"]:
        return "not repaired, made to sum to the mixture" if summary["settings"]["mixture_consistent"] else "unchanged"
    return f"repaired {summary['repaired_s']:.1f} s of {summary['duration_s']:.1f} s ({kinds})"


def _print_place(summary: Summary) -> None:
    """Where a stem lies against the others: what was mended, and what could be."""
    if moved := summary["moved_samples"]:
        click.echo(f"  moved  by {moved} samples, to where the others are")
    if late := summary["late_samples"]:
        click.echo(f"  note   {_late(late)}: enhance --align mends it")


def _late(samples: int) -> str:
    return f"{abs(samples)} samples {'late' if samples > 0 else 'early'}"


def _print_faults(summary: Summary) -> None:
    """One line per plugin that failed in this run."""
    for fault in summary["faults"]:
        click.echo(f"stemprover: warning: plugin {fault['name']} was left out: {fault['reason']}", err=True)


def _print_unrepaired(summary: Summary) -> None:
    """One line per artifact that was found and has no adapter, with the command that installs one."""
    hints: dict[tuple[str, str], int] = Counter((item["artifact"], item["install"]) for item in summary["unrepaired"])
    for (artifact, hint), count in sorted(hints.items()):
        click.echo(f"  left   {artifact} {count}: {hint}")


def _finding(item: Mapping[str, Any]) -> list[str]:
    """Place, artifact, confidence and severity of a detection or plan item."""
    return [
        f"{item['start_s']:.2f} - {item['end_s']:.2f}",
        f"{item['low_hz']:.0f} - {item['high_hz']:.0f}",
        item["artifact"],
        f"{item['confidence']:.2f}",
        f"{item['severity']:.2f}",
    ]


def _print_table(title: str, columns: Sequence[str], rows: Iterable[Sequence[str]], empty: str) -> None:
    listed = list(rows)
    if not listed:
        click.echo(f"{title}: {empty}")
        return
    click.echo(title)
    table = Table()
    for column in columns:
        table.add_column(column, justify="left" if column in ("artifact", "adapter") else "right", no_wrap=True)
    for row in listed:
        table.add_row(*row)
    # A file or pipe has no width of its own: wide enough that nothing is cut off.
    Console(highlight=False, width=None if sys.stdout.isatty() else 160).print(table)
