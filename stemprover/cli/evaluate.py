"""``stemprover evaluate``: score estimates against true stems."""

from __future__ import annotations

import csv
import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from stemprover.evaluation import Metric
    from stemprover.plugins import PluginRunner

__all__ = ["evaluate"]

_PATH = click.Path(path_type=Path, exists=True)
_CSV_HEAD = ("stem", "scope", "start_s", "end_s", "low_hz", "high_hz", "metric", "value")


@click.command()
@click.option("--reference", type=_PATH, required=True, help="True stem, or folder of them.")
@click.option("--estimate", type=_PATH, required=True, help="Separated or repaired stem, or folder of them.")
@click.option("--mixture", type=_PATH, help="The mixture: adds by how much stems are closer to the truth than it is.")
@click.option("--segment", type=click.FloatRange(0.1), default=3.0, show_default=True, help="Segments in seconds.")
@click.option("--match-gain", is_flag=True, help="Scale estimates to their references first.")
@click.option("--align", is_flag=True, help="Shift estimates that are late or early; cut or pad them.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object: per stem, per segment, per band.")
@click.option("--csv", "as_csv", is_flag=True, help="Print one line per score, stem, segment and band.")
@click.option("--safe-mode", is_flag=True, help="Use no metrics of plugins.")
def evaluate(
    *,
    reference: Path,
    estimate: Path,
    mixture: Path | None,
    segment: float,
    match_gain: bool,
    align: bool,
    as_json: bool,
    as_csv: bool,
    safe_mode: bool,
) -> None:
    """Score stems against the true ones: all metrics, per stem, per segment, per octave band.

    Files of two folders belong together by name, else by the instrument in their names. What each metric means, and
    when it misleads, is in docs/metrics.md.
    """
    from stemprover.errors import OptionError
    from stemprover.evaluation.files import EvaluationOptions, evaluate_files
    from stemprover.evaluation.pairing import pair_stems

    if as_json and as_csv:
        raise OptionError("--json or --csv", "both", "choose one")
    runner, metrics = _plugin_metrics(safe_mode)
    options = EvaluationOptions(segment, match_gain, align, metrics)
    scores = evaluate_files(pair_stems(reference, estimate, mixture), mixture, options)
    for fault in runner.faults:
        click.echo(f"stemprover: warning: plugin {fault.name} was left out: {fault.reason}", err=True)
    if as_json:
        click.echo(json.dumps(scores.to_dict(), allow_nan=False))
    elif as_csv:
        writer = csv.writer(sys.stdout, lineterminator="\n")
        writer.writerow(_CSV_HEAD)
        writer.writerows(scores.rows())
        for note in scores.notes:
            click.echo(f"stemprover: {note}", err=True)
    else:
        from stemprover.cli.scores import print_scores

        print_scores(scores)


def _plugin_metrics(safe_mode: bool) -> tuple[PluginRunner, dict[str, Metric]]:
    """Metrics of installed plugins, and the runner that knows afterwards which of them failed."""
    from stemprover.evaluation.guarded import guarded_metrics
    from stemprover.plugins import PluginRunner, installed

    runner = PluginRunner(plugin for plugin in installed(safe_mode) if plugin.kind in ("metric", "hooks"))
    return runner, guarded_metrics(runner)
