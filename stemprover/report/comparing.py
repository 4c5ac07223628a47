"""From files to a page or picture of their comparison."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from stemprover.errors import OutputError
from stemprover.evaluation import evaluate
from stemprover.evaluation.arrays import EMPTY_DBFS, rms_dbfs
from stemprover.report.comparison import Comparison, open_comparison
from stemprover.report.comparison_page import write_comparison
from stemprover.report.comparison_plot import plot_comparison

__all__ = ["compare_files"]

_WRITERS: Mapping[str, Callable[[Path, Comparison], None]] = {".html": write_comparison, ".png": plot_comparison}


def compare_files(
    paths: Sequence[Path],
    output: Path,
    *,
    reference: Path | None = None,
    align: bool = False,
    overwrite: bool = False,
) -> Comparison:
    """Compare files and write the result; the format follows from the suffix, ``.html`` or ``.png``.

    Raises
    ------
    AudioError, StemSetError, OptionError, OutputError
        See :func:`open_comparison`; the output exists, is an input or has another suffix.
    """
    inputs = [*paths, *([reference] if reference else [])]
    if output.suffix.lower() not in _WRITERS:
        raise OutputError("an output that ends in .html or .png", f"'{output}'", "use for example -o compare.html")
    if any(output.resolve() == path.resolve() for path in inputs):
        raise OutputError("an output that is not an input", f"'{output}'", "choose another -o")
    if output.exists() and not overwrite:
        raise OutputError("a new file", f"'{output}', which exists", "use --overwrite or another name")
    with open_comparison(paths, reference, align) as comparison:
        if reference is not None:
            comparison = dataclasses.replace(comparison, metrics=_scores(comparison))
        try:
            output.parent.mkdir(parents=True, exist_ok=True)
            _WRITERS[output.suffix.lower()](output, comparison)
        except OSError as error:
            reason = error.strerror or "an error"
            raise OutputError(f"to write '{output}'", reason, "check free space and permissions") from error
        return comparison


def _scores(comparison: Comparison) -> dict[str, dict[str, float]]:
    """Metrics of every file against the reference; none against silence."""
    form = comparison.format
    truth = comparison.files[0].source.read(0, form.samples)
    if rms_dbfs(truth) < EMPTY_DBFS:
        return {}
    return {
        file.letter: evaluate(truth, file.source.read(0, form.samples), form.sample_rate)
        for file in comparison.files[1:]
    }
