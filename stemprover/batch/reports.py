"""The report files of one repaired stem, and the picture of what was found in it."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from stemprover.batch.jobs import write_json
from stemprover.errors import AudioError, OutputError
from stemprover.stems import Stem, StemSet

if TYPE_CHECKING:
    from stemprover.enhance import Enhanced
    from stemprover.report import ReportInput

__all__ = ["SILENT_ROW", "Metrics", "write_reports"]

SILENT_ROW = "Level of what should be silent"


Summary = Mapping[str, Any]
Metrics = Mapping[str, Mapping[str, Any]]


def write_reports(
    enhanced: Enhanced, reports: Mapping[str, Path], reference: Path | None = None, summary: Summary | None = None
) -> Metrics:
    """Write the report files of one stem, whose file is still open.

    Parameters
    ----------
    enhanced : Enhanced
        The result.
    reports : Mapping[str, Path]
        Where to write ``json``, ``html`` and ``plot`` (a PNG of the input with what was found); any may be absent.
    reference : Path or None
        The true stem, or a folder that holds it.
    summary : Mapping or None
        Its JSON object, if that should say something else than the result does.

    Returns
    -------
    Mapping
        Metrics against the true stem, if there is one.

    Raises
    ------
    OutputError
        If one cannot be written.
    """
    summary = enhanced.to_dict() if summary is None else summary
    if "plot" in reports:
        from stemprover.report import plot_png

        with _named(reports["plot"]):
            reports["plot"].parent.mkdir(parents=True, exist_ok=True)
            plot_png(reports["plot"], _report_input(enhanced, summary, None, {}))
    if enhanced.output is None:
        return {}
    if "json" in reports:
        write_json(reports["json"], summary)
    if reference is None and "html" not in reports:
        return {}
    with Stem.open(enhanced.output) as after:
        metrics = {} if reference is None else _compare(enhanced.stem, after, reference)
        if "html" in reports:
            from stemprover.report import write_html

            with _named(reports["html"]):
                write_html(reports["html"], _report_input(enhanced, summary, after, metrics))
    return metrics


def _compare(before: Stem, after: Stem, reference: Path) -> Metrics:
    from stemprover.evaluation import compare
    from stemprover.evaluation.arrays import EMPTY_DBFS, rms_dbfs

    length = before.format.samples
    with Stem.open(_true_stem(before, reference), before.stem_class) as truth:
        StemSet((before, truth))  # raises when length or rate differ
        signals = [stem.read(0, length) for stem in (truth, before, after)]
    if rms_dbfs(signals[0]) >= EMPTY_DBFS:
        return compare(signals[0], signals[1], signals[2], before.format.sample_rate)
    # Ratios to silence say nothing; what is left in a stem that should be silent does.
    levels = {"before": rms_dbfs(signals[1]), "after": rms_dbfs(signals[2])}
    return {SILENT_ROW: {**levels, "unit": "dBFS", "higher_is_better": False}}


def _true_stem(stem: Stem, reference: Path) -> Path:
    """Return the reference itself, or the file in the reference folder that is called like the stem."""
    if not reference.is_dir():
        return reference
    found = sorted(path for path in reference.iterdir() if path.stem == stem.name)
    if not found:
        fix = "name the true stems like the separated ones"
        raise AudioError(f"a file called '{stem.name}' in '{reference}'", "none", fix)
    return found[0]


def _report_input(enhanced: Enhanced, summary: Summary, after: Stem | None, metrics: Metrics) -> ReportInput:
    from stemprover.report import ReportInput
    from stemprover.spectral.spec import SPEC

    cell_s = SPEC.cell_frames / SPEC.frame_rate
    return ReportInput(summary, enhanced.stem, after, enhanced.lanes, cell_s, metrics or None)


@contextlib.contextmanager
def _named(path: Path) -> Iterator[None]:
    """Turn an error of the file system into one that names the file."""
    try:
        yield
    except OSError as error:
        reason = error.strerror or "an error"
        raise OutputError(f"to write '{path}'", reason, "check free space and permissions") from error
