"""The report files of one repaired stem, and the picture of what was found in it."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from stemprover.cli.files import write_json
from stemprover.errors import OutputError

if TYPE_CHECKING:
    from stemprover.enhance import Enhanced
    from stemprover.report import ReportInput

__all__ = ["write_plot", "write_reports"]


def write_reports(enhanced: Enhanced, reports: Mapping[str, Path]) -> None:
    """Write ``json`` and ``html`` reports, whichever have a path."""
    if "json" in reports:
        write_json(reports["json"], enhanced.to_dict())
    if "html" in reports:
        from stemprover.report import write_html
        from stemprover.stems import Stem

        assert enhanced.output is not None
        with _named(reports["html"]), Stem.open(enhanced.output) as after:
            write_html(reports["html"], _report_input(enhanced, enhanced.to_dict(), after))


def write_plot(path: Path, enhanced: Enhanced) -> None:
    """Write a PNG of the stem's spectrogram with what was found in it."""
    from stemprover.report import plot_png

    with _named(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        plot_png(path, _report_input(enhanced, enhanced.to_dict(), None))


def _report_input(enhanced: Enhanced, summary: Mapping[str, Any], after: Any) -> ReportInput:
    from stemprover.report import ReportInput
    from stemprover.spectral.spec import SPEC

    return ReportInput(summary, enhanced.stem, after, enhanced.lanes, SPEC.cell_frames / SPEC.frame_rate)


@contextlib.contextmanager
def _named(path: Path) -> Iterator[None]:
    """Turn an error of the file system into one that names the file."""
    try:
        yield
    except OSError as error:
        reason = error.strerror or "an error"
        raise OutputError(f"to write '{path}'", reason, "check free space and permissions") from error
