"""Evaluation of files: opens, checks and aligns what :mod:`stemprover.evaluation.sets` scores."""

from __future__ import annotations

import contextlib
import dataclasses
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from stemprover.errors import StemSetError
from stemprover.evaluation.bleed import match_gain
from stemprover.evaluation.metrics import Metric
from stemprover.evaluation.pairing import StemPair
from stemprover.evaluation.sets import (
    COLUMNS,
    Column,
    StemScores,
    bss_scores,
    mean_scores,
    missing_packages,
    score_stem,
)
from stemprover.stems import Stem
from stemprover.stems.alignment import find_offset

__all__ = ["EvaluationOptions", "SetScores", "evaluate_files"]

_INVERTED = "{stem} is inverted against its reference: SDR and phase coherence say so, SI-SDR and magnitudes do not"
_MISPLACED = "{stem} is {samples} samples {way} against its reference, which most scores punish: --align mends it"


@dataclasses.dataclass(frozen=True)
class EvaluationOptions:
    """How files are compared.

    Attributes
    ----------
    segment_s : float
        Length of segments in seconds.
    match_gain : bool
        Scale every estimate, and the mixture, to the reference first; for BSS Eval as for all others.
    align : bool
        Shift estimates that are late or early, and cut or pad them to the reference's length.
    metrics : Mapping[str, Metric]
        More metrics, by name.
    """

    segment_s: float = 3.0
    match_gain: bool = False
    align: bool = False
    metrics: Mapping[str, Metric] = dataclasses.field(default_factory=dict)


@dataclasses.dataclass(frozen=True)
class SetScores:
    """Scores of all stems.

    Attributes
    ----------
    stems : tuple of StemScores
    mean : Mapping[str, float]
        Of the stems that have the score.
    columns : Mapping[str, Column]
        What each score is, for those that occur.
    missing : Mapping[str, tuple of str]
        Packages that are not installed, with the scores that they would have given.
    notes : tuple of str
        What to know when reading the scores: stems that are inverted, late or early, and why BSS Eval has no say.
    """

    stems: tuple[StemScores, ...]
    mean: Mapping[str, float]
    columns: Mapping[str, Column]
    missing: Mapping[str, tuple[str, ...]]
    notes: tuple[str, ...] = ()

    def to_dict(self) -> dict[str, Any]:
        """Return the JSON object of ``stemprover evaluate --json``."""
        return {
            "metrics": {name: dataclasses.asdict(column) for name, column in self.columns.items()},
            "stems": {stem.stem: _stem_dict(stem) for stem in self.stems},
            "mean": _rounded(self.mean),
            "missing": {package: list(scores) for package, scores in self.missing.items()},
            "notes": list(self.notes),
        }

    def rows(self) -> Iterator[tuple[str, str, float | str, float | str, float | str, float | str, str, float]]:
        """Yield the lines of ``--csv``: stem, scope, start_s, end_s, low_hz, high_hz, metric, value."""
        for stem in self.stems:
            for name, value in stem.scores.items():
                yield stem.stem, "stem", "", "", "", "", name, round(value, 6)
            for part in stem.segments:
                for name, value in part.scores.items():
                    yield stem.stem, "segment", part.start_s, part.end_s, "", "", name, round(value, 6)
            for band in stem.bands:
                for name, value in band.scores.items():
                    yield stem.stem, "band", "", "", band.low_hz, band.high_hz, name, round(value, 6)


def _stem_dict(stem: StemScores) -> dict[str, Any]:
    parts = {
        key: [{name: _plain(value) for name, value in dataclasses.asdict(one).items()} for one in getattr(stem, key)]
        for key in ("segments", "bands")
    }
    return {"scores": _rounded(stem.scores), **parts}


def _plain(value: Any) -> Any:
    return _rounded(value) if isinstance(value, Mapping) else value


def _rounded(scores: Mapping[str, float]) -> dict[str, float]:
    return {name: round(value, 6) for name, value in scores.items()}


def evaluate_files(
    pairs: Sequence[StemPair], mixture: Path | None = None, options: EvaluationOptions | None = None
) -> SetScores:
    """Score every pair, and the set as a whole by BSS Eval where its package is installed.

    Raises
    ------
    AudioError, StemSetError
        A file cannot be read, or rates, lengths or channels differ.
    """
    options = options or EvaluationOptions()
    missing = missing_packages()
    scored: list[StemScores] = []
    notes: list[str] = []
    late: list[int] = []
    for one in pairs:
        signals = _signals(one, mixture, options.align)
        late.append(signals.late)
        if signals.late and not options.align:
            way = "late" if signals.late > 0 else "early"
            notes.append(_MISPLACED.format(stem=one.name, samples=abs(signals.late), way=way))
        scored.append(
            score_stem(
                one.name,
                signals.reference,
                signals.estimate,
                signals.rate,
                mixture=signals.mixture,
                segment_s=options.segment_s,
                matched_gain=options.match_gain,
                speech=one.stem_class == "vocals",
                metrics=options.metrics,
            )
        )
    notes += [_INVERTED.format(stem=stem.stem) for stem in scored if stem.inverted]
    if len(pairs) > 1 and "museval" not in missing:
        scored, reason = _with_bss(scored, pairs, late, options)
        notes += [f"BSS Eval was left out: {reason}"] if reason else []
    columns = dict(COLUMNS)
    for name, metric in options.metrics.items():
        columns[name] = Column(metric.label, metric.unit, metric.higher_is_better)
    present = {name for stem in scored for name in stem.scores}
    present |= {name for stem in scored for part in stem.segments for name in part.scores}
    known = {name: column for name, column in columns.items() if name in present}
    return SetScores(tuple(scored), mean_scores(scored), known, missing, tuple(notes))


def _with_bss(
    scored: Sequence[StemScores], pairs: Sequence[StemPair], late: Sequence[int], options: EvaluationOptions
) -> tuple[list[StemScores], str]:
    """Add BSS Eval's scores, or say why not; it looks at all stems at once, and cannot at silent ones."""
    found = zip(pairs, late, scored, strict=True)
    heard = [(one, samples) for one, samples, stem in found if "silence_level" not in stem.scores]
    used = [path for one, _ in heard for path in one.references]
    if len(heard) < 2:
        return list(scored), "it needs two stems that are not silent"
    if len(set(used)) < len(used):
        return list(scored), "two estimates have the same reference, and it needs each part of the song once"
    references, estimates, forms = {}, {}, set()
    for one, samples in heard:
        signals = _signals(one, None, options.align, samples)
        reference, estimate = signals.reference, signals.estimate
        references[one.name] = reference
        estimates[one.name] = match_gain(reference, estimate) if options.match_gain else estimate
        forms.add((*reference.shape, signals.rate))
    if len(forms) > 1:
        return list(scored), "it needs stems of one length, one sample rate and as many channels"
    bss = bss_scores(references, estimates, signals.rate)
    return [dataclasses.replace(stem, scores={**stem.scores, **bss.get(stem.stem, {})}) for stem in scored], ""


class _Signals(NamedTuple):
    """Audio of one shape, in Hz its rate, and by how many samples the estimate came late."""

    reference: np.ndarray
    estimate: np.ndarray
    mixture: np.ndarray | None
    rate: int
    late: int


def _signals(one: StemPair, mixture: Path | None, align: bool, late: int | None = None) -> _Signals:
    """Read one pair; ``late`` is by how many samples the estimate is, where that is known already."""
    with contextlib.ExitStack() as stack:
        references = [stack.enter_context(Stem.open(path)) for path in one.references]
        estimate = stack.enter_context(Stem.open(one.estimate))
        mixed = stack.enter_context(Stem.open(mixture)) if mixture else None
        first = references[0].format
        others = [*references, estimate, *([mixed] if mixed else [])]
        _require_same(others, "sample_rate", "Hz", "resample one of them")
        late = _lateness(estimate, references) if late is None else late
        if align:
            estimate = estimate.moved(late, first.samples)
            others = [*references, estimate, *([mixed] if mixed else [])]
        _require_same(others, "samples", "samples", "--align cuts or pads estimates")
        _require_same(others, "channels", "channels", "convert one of them")
        audio = [stem.read(0, first.samples) for stem in others]
    reference = np.sum(audio[: len(references)], axis=0)
    return _Signals(reference, audio[len(references)], audio[-1] if mixed else None, first.sample_rate, late)


def _lateness(estimate: Stem, references: Sequence[Stem]) -> int:
    """By how many samples the estimate lags behind the sum of its references; 0 where that cannot be told."""

    def anchor(start: int, stop: int) -> np.ndarray:
        return np.asarray(sum(one.read(start, stop).mean(0) for one in references))

    lengths = [one.format.samples for one in (estimate, *references)]
    rate = estimate.format.sample_rate
    return find_offset(lambda start, stop: estimate.read(start, stop).mean(0), anchor, min(lengths), rate)[0] or 0


def _require_same(stems: Sequence[Stem], key: str, unit: str, fix: str) -> None:
    first = stems[0]
    for other in stems[1:]:
        wanted, got = getattr(first.format, key), getattr(other.format, key)
        if wanted != got:
            raise StemSetError(f"{wanted} {unit} as in '{first.path}'", f"{got} {unit} in '{other.path}'", fix)
