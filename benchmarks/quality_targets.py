"""The targets of the quality benchmark: what was promised, what was measured, met or not."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
from quality_adapters import CONFIGURATIONS
from quality_runs import BLIND, MIXTURE, OURS, REAL, SIBLINGS
from quality_scores import Row, gains, of_artifact
from quality_sets import CLEAN, SYNTHETIC
from quality_tables import by, touched
from tables import Cell, number, percent, verdict

__all__ = ["mean_over_stems", "targets"]

Check = tuple[str, str, str, float, Callable[[float], bool]]
_WITH = (SIBLINGS, MIXTURE)


def targets(parts: Mapping[str, Sequence[Row]], figures: Sequence[Mapping[str, Any]]) -> list[list[Cell]]:
    """Return the target table: what, target, measured and the verdict.

    Parameters
    ----------
    parts : Mapping[str, sequence of Row]
        Rows of ``repairs``, ``baselines`` and ``adapters``, each may be missing.
    figures : sequence of Mapping
        The detectors' figures.
    """
    repairs = parts.get("repairs", ())
    checks = [*_gain_checks(repairs), *_adapter_checks(parts.get("adapters", ())), *_detector_checks(figures)]
    table: list[list[Cell]] = [
        [what, target, measured, verdict(None if math.isnan(value) else met(value))]
        for what, target, measured, value, met in checks
    ]
    baselines = parts.get("baselines", ())
    return [*table, *_vocoder(repairs, baselines), *_against_baselines(repairs, baselines)]


def _gain_checks(repairs: Sequence[Row]) -> list[Check]:
    ours = [row for row in repairs if row.group in REAL]
    known = [row for row in ours if row.context == SIBLINGS]
    clean = [row for row in repairs if row.group == CLEAN]
    mean, blind = mean_over_stems(known), mean_over_stems([row for row in ours if row.context == BLIND])
    by_class = {stem: mean_over_stems(rows) for (stem,), rows in by(known, "stem").items()}
    by_class = {stem: value for stem, value in by_class.items() if not math.isnan(value)}
    unmet = mean_over_stems([row for row in known if row.seen == "no"])
    everywhere = gains([row for row in repairs if row.group != CLEAN]).harmed
    low = min(by_class, key=lambda stem: by_class[stem], default="")
    lowest = by_class.get(low, math.nan)
    distance, harmed = gains(known).lsd_change, gains(known).harmed
    share, change = touched(clean)
    return [
        ("SI-SDR gain with siblings, mean over stems", ">= +1.0 dB", _db(mean), mean, lambda x: x >= 1.0),
        ("the same, lowest stem class", ">= 0 dB", f"{_db(lowest)} ({low})", lowest, lambda x: x >= 0.0),
        ("the same, of separators that training never met", ">= +1.0 dB", _db(unmet), unmet, lambda x: x >= 1.0),
        ("SI-SDR gain, blind, mean over stems", ">= +0.4 dB", _db(blind), blind, lambda x: x >= 0.4),
        ("log-spectral distance, with siblings", "-20 %", percent(distance), distance, lambda x: x <= -0.2),
        (
            "segments made worse by more than 0.1 dB, with siblings",
            "<= 3 %",
            percent(harmed),
            harmed,
            lambda x: x <= 0.03,
        ),
        ("the same, of all sets and contexts", "<= 3 %", percent(everywhere), everywhere, lambda x: x <= 0.03),
        ("clean stems: segments touched", "<= 2 %", percent(share), share, lambda x: x <= 0.02),
        ("clean stems: change where touched", "<= -40 dB", _db(change), change, lambda x: x <= -40.0),
    ]


def _adapter_checks(rows: Sequence[Row]) -> list[Check]:
    checks: list[Check] = []
    names = dict.fromkeys(row.seen.partition(":")[0] for row in rows)
    for name in names:
        own = [row for row in rows if row.seen.partition(":")[0] == name]
        base, adapter, wrong = (gains([r for r in own if r.method == kind]).mean for kind in CONFIGURATIONS)
        more, less = adapter - base, wrong - adapter
        what = f"adapter {name} against the base, own artifact"
        checks.append((what, ">= +0.3 dB", _db(more), more, lambda x: x >= 0.3))
        checks.append((f"the wrong adapter against {name}", "< 0 dB", _db(less), less, lambda x: x < 0.0))
    return checks


def _detector_checks(figures: Sequence[Mapping[str, Any]]) -> list[Check]:
    def lowest(key: str, groups: Sequence[str]) -> tuple[str, float]:
        found = {f"{row['artifact']}, {row['group']}, {row['context']}": float(row[key])
                 for row in figures if row["group"] in groups and row["context"] != BLIND and key in row}  # fmt: skip
        name = min(found, key=lambda one: found[one], default="")
        value = found.get(name, math.nan)
        return f"{number(value)} ({name})", value

    alarms = [float(row["false_alarms"]) for row in figures if "false_alarms" in row]
    worst = max(alarms, default=math.nan)
    synthetic, real, overlap = lowest("roc_auc", [SYNTHETIC]), lowest("roc_auc", REAL), lowest("iou", [SYNTHETIC])
    return [
        ("detectors: lowest ROC-AUC, synthetic", ">= 0.95", *synthetic, lambda x: x >= 0.95),
        ("detectors: lowest ROC-AUC, real", ">= 0.85", *real, lambda x: x >= 0.85),
        ("detectors: lowest IoU, synthetic", ">= 0.6", *overlap, lambda x: x >= 0.6),
        ("detectors: time flagged on clean stems", "<= 2 %", percent(worst), worst, lambda x: x <= 0.02),
    ]


def _vocoder(repairs: Sequence[Row], baselines: Sequence[Row]) -> list[list[Cell]]:
    """Vocoder against input phase where phasiness leads: coherence and MR-STFT better, SI-SDR not worse."""
    ours = of_artifact([row for row in repairs if row.context in _WITH and row.group != CLEAN], "phasiness")
    plain = of_artifact([row for row in baselines if row.method.startswith("input phase")], "phasiness")
    shared = {_where(row) for row in ours} & {_where(row) for row in plain}
    ours, plain = ([row for row in rows if _where(row) in shared] for rows in (ours, plain))
    what, target = "vocoder against input phase, on phasiness", "coherence and MR-STFT better, SI-SDR not worse"
    if not shared:
        return [[what, target, "-", verdict(None)]]
    first, second = (
        [_mean_after(rows, name) for name in ("phase_coherence", "mr_stft", "si_sdr")] for rows in (ours, plain)
    )
    measured = "; ".join(
        f"{label} {a:.4f} against {b:.4f}"
        for label, a, b in zip(("coherence", "MR-STFT", "SI-SDR"), first, second, strict=True)
    )
    return [[what, target, measured, verdict(first[0] > second[0] and first[1] < second[1] and first[2] >= second[2])]]


def _where(row: Row) -> tuple[str, ...]:
    return row.group, row.song, row.separator, row.stem, row.context


def _mean_after(rows: Sequence[Row], metric: str) -> float:
    return float(np.mean([pair[1] for row in rows for pair in row.scores[metric]]))


def _against_baselines(repairs: Sequence[Row], baselines: Sequence[Row]) -> list[list[Cell]]:
    """StemProver with the same knowledge (or less: siblings where a baseline has the mixture), on the same stems."""
    table: list[list[Cell]] = []
    real = [row for row in baselines if row.group in REAL]
    for (name, context), chosen in by(real, "method", "context").items():
        own_context = BLIND if context == BLIND else SIBLINGS
        ours = [row for row in repairs if row.method == OURS and row.group in REAL and row.context == own_context]
        mean, distance = mean_over_stems(ours), gains(ours).lsd_change
        other, other_distance = mean_over_stems(chosen), gains(chosen).lsd_change
        measured = f"{_db(mean)} against {_db(other)}; LSD {percent(distance)} against {percent(other_distance)}"
        ahead = None if math.isnan(mean) or math.isnan(other) else mean > other and distance < other_distance
        table.append([f"ahead of: {name}", f"SI-SDR and LSD, {own_context}", measured, verdict(ahead)])
    return table


def mean_over_stems(rows: Sequence[Row]) -> float:
    """Mean over stems of the mean gain of a stem's segments, in dB; NaN without any."""
    means = [gains([row]).mean for row in rows if row.scores["si_sdr"]]
    return float(np.mean(means)) if means else math.nan


def _db(value: float) -> str:
    if math.isinf(value):
        return "nothing touched"
    return "-" if math.isnan(value) else f"{number(value, sign=True)} dB"
