"""The benchmarks' tables, sets and pages; the measurements themselves are run by hand."""

from __future__ import annotations

import dataclasses
import math
from pathlib import Path

import numpy as np
import pytest
from gate_unknown import recordings
from scale import scale_page
from speed_page import page as speed_page
from tables import markdown_table, number, percent, verdict
from throughput_page import growth, per_file
from throughput_page import page as throughput_page
from throughput_run import after_first_wave

from stemprover.data.pairs import MANIFEST, PairAudio, write_pair
from stemprover.training.gate_draws import SPOILED, Draw

RATE = 44_100
ABOUT = {"date": "2026-01-01", "environment": {"CPU": "some"}, "weights": {}, "quick": False}


def batch(files: int, workers: int, each_s: float, **more: object) -> dict[str, object]:
    """A run in which each file took a worker so long, after a start-up of 7 s."""
    waves = [7.0 + each_s * (1 + place // workers) for place in range(files)]
    row = {"files": files, "seconds": 8.0, "workers": workers, "threads": 1, "engine": "local", "repair": True}
    row |= {"again": False, "first_s": waves[0], "memory_mb": [100.0] * files}
    return row | {"rest_s": after_first_wave(waves, workers)} | more


@pytest.mark.parametrize(("workers", "per_second"), [(1, 0.5), (4, 2.0), (8, 4.0)])
def test_the_rate_is_that_of_all_workers_after_their_first_file(workers: int, per_second: float) -> None:
    assert 1.0 / per_file(batch(24, workers, 2.0)) == pytest.approx(per_second)
    with pytest.raises(ValueError, match="more files than the first wave"):
        per_file(batch(workers, workers, 2.0))


def test_a_first_wave_of_more_files_than_workers_does_not_count() -> None:
    ends = [10.0, 10.1, 13.0, 15.0]  # the second file was done first, and waited for the first
    row = {"files": 4, "workers": 1, "first_wave": 2, "rest_s": after_first_wave(ends, 2)}
    assert per_file(row) == pytest.approx((15.0 - 10.1) / 2)


def made_up() -> dict[str, object]:
    """Four jobs are three times as fast as one, Ray is a tenth slower; nothing grows."""
    ray = {"engine": "ray"}
    parts = {
        "jobs": [batch(24, 1, 3.0), batch(24, 4, 4.0), batch(96, 4, 0.4, repair=False)],
        "files": [
            batch(9, 1, 1.8, seconds=4.0),
            batch(24, 1, 3.0),
            batch(2, 1, 288.0 / 8 * 3, seconds=288.0),
            batch(6, 1, 6.0, engine="one by one"),
        ],
        "sets": [
            batch(6, 1, 48.0, seconds=32.0, stems=4, peak_mb=500.0, cpu_s=239.0),
            batch(24, 1, 6.4, seconds=32.0, stems=4, peak_mb=400.0, cpu_s=294.4, repair=False),
        ],
        "ray": [
            batch(24, 1, 3.3, **ray),
            batch(24, 4, 4.4, **ray),
            batch(200, 4, 0.02, again=True),
            batch(200, 4, 0.04, again=True, **ray),
        ],
        "memory": [batch(400, 4, 0.5)],
    }
    return {part: ABOUT | {"results": rows} for part, rows in parts.items()}


def test_throughput_page_compares_jobs_engines_and_files() -> None:
    text = throughput_page(made_up())
    assert "| all repaired | 1 | 1 | 1200 | 2.67 | 100 % |" in text
    assert "| all repaired | 4 | 1 | 3600 | 8.00 | 75 % |" in text
    assert "| nothing found | 4 | 1 | 36000 | 80.00 | - |" in text
    assert "| a batch | 24 | 8.000 | 3.000 | 0.375 | 1.00 | met |" in text
    assert "| a batch | 9 | 4.000 | 1.800 | 0.450 | 1.20 | **not met** |" in text
    assert "A batch of 8 s is 2.0 times as fast as a process for each file." in text
    assert "Folders of 4 stems of 32 s and their mixture" in text
    assert "| all repaired | 6 | 48.0 | 0.375 | 500 |" in text
    assert "| already done, skipped | ray | 4 | 200 | 360000 |" in text
    assert "the trend is 0.0 % ± 0.0 % per 200 files (95 % interval), target at most 2 % at its upper end: met." in text


def test_growth_is_the_trend_after_the_first_half() -> None:
    warm = list(np.linspace(500.0, 1000.0, 200))
    rising = [*warm, *(1000.0 + 0.25 * place for place in range(200))]
    assert growth(rising) == (pytest.approx(50.0 / 1024.875), pytest.approx(0.0, abs=1e-9))
    noise = 10.0 * np.random.default_rng(0).standard_normal(200).repeat(5)[:200]  # what is resident stays for a while
    for slope, flat in ((0.0, True), (0.3, False)):
        grown, margin = growth([*warm, *(1500.0 + noise + slope * np.arange(200))])
        assert abs(grown - slope * 200 / 1500.0) < margin < 0.02
        assert (grown + margin <= 0.02) == flat
    with pytest.raises(ValueError, match="at least 20 files, got 18"):
        growth([1.0] * 18)


def test_scale_page_computes_from_the_measured_rates() -> None:
    text = scale_page(made_up(), price=0.1, cores=16)
    assert "| core seconds per second of a stem in a set, all of it repaired, at this efficiency | 0.500 |" in text
    # 6.4 s by the clock for 128 s of stems; reading and writing made them twice as many of cores
    assert "| core seconds per second of a stem in a set, nothing found, at this efficiency | 0.133 |" in text
    assert "| scaling efficiency of 4 jobs on one machine | 75 % |" in text
    assert "| time on Ray relative to local, same workers | 1.10 |" in text
    assert "| jobs that one Ray driver hands out and takes back per second | 100 |" in text
    assert "| highest resident memory of a process with one job, GB | 0.5 |" in text
    assert "16 workers, each a process of its own, need about 8 GB" in text
    core_hours = 1e6 * 4 * 240 * 0.5 * 1.1 / 3600
    assert f"| 100 % | {core_hours:,.0f} | {core_hours / 16 / 24:,.1f} |" in text
    assert f"| {core_hours * 0.1:,.0f} |" in text


def test_table_sets_numbers_flush_right_and_escapes_text() -> None:
    table = markdown_table(("name", "gain", "share"), [["a|b", 1.234, "3.0 %"], ["c", None, "-"]])
    assert table.splitlines() == [
        "| name | gain | share |",
        "| --- | ---: | ---: |",
        "| a\\|b | 1.23 | 3.0 % |",
        "| c | - | - |",
    ]


def test_table_refuses_rows_of_another_length() -> None:
    with pytest.raises(ValueError, match="need 2 cells, got 1"):
        markdown_table(("a", "b"), [["x"]])


def test_numbers_have_a_sign_only_where_they_differ_from_zero() -> None:
    assert [number(value, sign=True) for value in (0.5, -0.5, 0.001, -0.001)] == ["+0.50", "-0.50", "0.00", "0.00"]
    assert (number(None), number(math.nan), percent(0.0312), percent(math.nan)) == ("-", "-", "3.1 %", "-")
    assert [verdict(met) for met in (True, False, None)] == ["met", "**not met**", "not measured"]


def test_speed_page_compares_five_and_thirty_minutes() -> None:
    stage = {"audio": 10.0, "repaired": 10.0, "detect": 0.1, "restore": 1.0, "synthesise": 0.2, "rest": 0.2}
    about = {"date": "2026-01-01", "environment": {"CPU": "some"}, "weights": {}}
    memory = [{"minutes": m, "quality": "fast", "peak_mb": 900.0 + m, "repaired_s": 60 * m} for m in (5.0, 30.0)]
    text = speed_page(
        {
            "rtf": about
            | {"results": [{"case": "fast", **stage, "total": 1.5, "networks": 1.0, "vocoder": 0.1, "cpu": 2.0}]},
            "memory": about | {"results": memory},
            "startup": about | {"results": [{"command": "--help", "median_ms": 151.0}]},
        }
    )
    assert (
        "| fast | 0.150 | 0.010 | 0.100 | 0.020 | 0.020 | 0.200 | 73.3 % | 80.0 % | 100.0 % | <= 0.25 | met |" in text
    )
    assert "From 5 to 30 minutes: 2.8 %, target the same within 5 %: met." in text
    assert "| `stemprover --help` | 151 | <= 150 | **not met** |" in text


def test_repairs_are_told_apart_by_recording_whatever_their_pairs_are_called(tmp_path: Path) -> None:
    audio = PairAudio(*np.zeros((3, 2, 4410), np.float32), {})
    described = {"stem": "vocals", "separator": "hpss", "split": "train", "has_siblings": True, "sdr_db": 6.0,
                 "severity": 0.8, "sources": []}  # fmt: skip
    pairs = [
        write_pair(tmp_path / "pairs", number, audio, {**described, "song": song}) for number, song in enumerate("ab")
    ]
    manifest = tmp_path / "pairs" / MANIFEST
    manifest.write_text(manifest.read_text().replace('"train-000001"', '"joined-train-000001"'))
    renamed = dataclasses.replace(pairs[1], id="joined-train-000001")
    draws = [Draw(pairs[0]), Draw(pairs[0], alone=True), Draw(renamed, quality="best"), Draw(renamed, quality=SPOILED)]
    for draw in draws:
        (tmp_path / f"{draw.name}.safetensors").touch()
    found = recordings(tmp_path, tmp_path / "pairs")
    assert {song: len(paths) for song, paths in found.items()} == {"a": 2, "b": 2}
