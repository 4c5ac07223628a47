"""The meter against the Recommendation's own signals, the metric, and the log of a run."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from stemprover_loudness.hooks import LOG_VARIABLE, Loudness
from stemprover_loudness.meter import SILENT_LUFS, loudness

from stemprover.evaluation import Metric
from stemprover.plugins import FileEvent, PluginRunner, SegmentEvent, find

RATE = 48_000


def sine(
    level_db: float, rate: int = RATE, channels: int = 2, seconds: float = 3.0, hertz: float = 1000.0
) -> np.ndarray:
    time = np.arange(round(seconds * rate)) / rate
    return np.tile(10 ** (level_db / 20) * np.sin(2 * np.pi * hertz * time), (channels, 1))


@pytest.mark.parametrize("rate", [8_000, 44_100, 48_000, 96_000])
def test_a_sine_of_997_hz_reads_as_the_recommendation_says(rate: int) -> None:
    # BS.1770: a 0 dBFS sine of 997 Hz in one channel reads -3.01 LKFS. The shelf is warped a little at 8 kHz.
    assert loudness(sine(0.0, rate, 1, hertz=997.0), rate) == pytest.approx(-3.01, abs=0.05 if rate > 8_000 else 0.6)


@pytest.mark.parametrize("level", [-23.0, -33.0])
def test_stereo_sine_of_the_ebu_set(level: float) -> None:
    assert loudness(sine(level), RATE) == pytest.approx(level, abs=0.1)  # EBU Tech 3341, cases 1 and 2


def test_quiet_parts_are_gated() -> None:
    # EBU Tech 3341, case 3: -36, -23 and -36 dBFS, shortened; the programme reads -23.
    audio = np.concatenate([sine(-36.0), sine(-23.0, seconds=12.0), sine(-36.0)], axis=1)
    assert loudness(audio, RATE) == pytest.approx(-23.0, abs=0.1)


def test_silence_short_audio_and_surround() -> None:
    assert loudness(np.zeros((2, RATE)), RATE) == SILENT_LUFS
    assert loudness(np.zeros((1, 10)), RATE) == SILENT_LUFS
    assert np.isfinite(loudness(sine(-20.0, seconds=0.1), RATE))
    five = np.zeros((6, RATE))
    five[3] = sine(0.0, channels=1, seconds=1.0)[0]
    assert loudness(five, RATE) == SILENT_LUFS, "the low-frequency channel does not count"
    five[4] = five[3]
    assert loudness(five, RATE) == pytest.approx(-3.0 + 1.5, abs=0.1)


def test_the_metric_compares_levels() -> None:
    metric = PluginRunner([find("loudness")]).metrics()["loudness_error"]
    assert isinstance(metric, Metric)
    reference = sine(-20.0)
    assert metric.function(reference, 2.0 * reference, RATE) == pytest.approx(6.02, abs=0.01)
    assert metric.function(reference, reference, RATE) == metric.best


def test_the_log_says_what_happened_to_each_segment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    log = tmp_path / "loudness.jsonl"
    monkeypatch.setenv(LOG_VARIABLE, str(log))
    runner = PluginRunner([find("loudness")])
    for start in (0.0, 2.0):
        before = sine(-20.0, 44_100).astype(np.float32)
        runner.before_segment(SegmentEvent("vocals", "vocals", start, start + 3.0, before, ("phasiness",)))
        after = (1.0 + 0.5 * start) * before
        runner.after_segment(SegmentEvent("vocals", "vocals", start, start + 3.0, after, ("phasiness",)))
    runner.after_file(FileEvent("vocals", "vocals.enhanced.wav", {}))
    assert runner.faults == []
    line = json.loads(log.read_text())
    assert (line["stem"], len(line["segments"])) == ("vocals", 2)
    assert line["largest_change_lu"] == pytest.approx(6.02, abs=0.01)
    assert line["segments"][0]["before_lufs"] == line["segments"][0]["after_lufs"]


def test_without_the_variable_nothing_is_measured(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(LOG_VARIABLE, raising=False)
    observer = Loudness()
    observer.before_segment(SegmentEvent("a", "vocals", 0.0, 1.0, None, ()))
    observer.after_segment(SegmentEvent("a", "vocals", 0.0, 1.0, None, ()))
    observer.after_file(FileEvent("a", "", {}))
