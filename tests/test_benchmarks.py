"""The benchmarks' tables, sets and pages; the measurements themselves are run by hand."""

from __future__ import annotations

import math

import pytest
from speed_page import page as speed_page
from tables import markdown_table, number, percent, verdict

RATE = 44_100


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
