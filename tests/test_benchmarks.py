"""The benchmarks' tables, sets and pages; the measurements themselves are run by hand."""

from __future__ import annotations

import math

import numpy as np
import pytest
from quality_page import page, targets
from quality_scores import Row, gains, harm_of, score
from quality_separators import repeating_pattern, spatial_wiener
from quality_sets import CLEAN, KITS, Item, clean_items, excerpt_start
from speed_page import page as speed_page
from tables import markdown_table, number, percent, verdict

from stemprover.evaluation import si_sdr

RATE = 44_100


def row(gain: float, **fields: object) -> Row:
    values: dict[str, object] = {
        "group": KITS,
        "song": "kit",
        "separator": "LarsNet",
        "seen": "yes",
        "stem": "snare",
        "method": "StemProver",
        "context": "siblings",
        "si_sdr": [(10.0, 10.0 + gain)],
        "lsd": [(4.0, 3.0)],
        "pauses": [],
        "changed": [],
        "segments": 1,
        "repaired": 0.5,
    }
    return Row(**(values | fields))  # type: ignore[arg-type]


def noise(seed: int, seconds: float = 4.0) -> np.ndarray:
    return np.random.default_rng(seed).normal(0, 0.1, (2, round(seconds * RATE)))


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


def test_excerpt_starts_where_every_stem_plays() -> None:
    first, second = np.zeros((2, 10)), np.zeros((2, 10))
    first[:, 2:8] = 1.0
    second[:, 5:] = 0.01  # quiet throughout, but this is where it plays
    assert excerpt_start({"a": first, "b": second}, 3, step=1) == 5


def test_clean_items_hand_in_the_references_of_each_piece_once() -> None:
    stem = noise(1, 0.1)
    items = [Item(KITS, "kit", name, "no", {"snare": stem}, {"snare": 2 * stem}, stem) for name in ("one", "two")]
    (clean,) = clean_items(items)
    assert (clean.group, clean.separator) == (CLEAN, "none")
    assert clean.estimates["snare"] is stem


def test_spatial_wiener_separates_sources_by_place_and_sums_to_the_mixture() -> None:
    sources = {"left": noise(1) * [[1.0], [0.1]], "right": noise(2) * [[0.1], [1.0]]}
    estimates = spatial_wiener(sources)
    mixture = sources["left"] + sources["right"]
    np.testing.assert_allclose(sum(estimates.values()), mixture, atol=1e-3)
    for name, source in sources.items():
        assert si_sdr(source, estimates[name]) > si_sdr(source, mixture) + 3


def test_repeating_pattern_leaves_what_repeats_in_the_background() -> None:
    beat = np.zeros(RATE * 4)
    beat[:: RATE // 4] = 1.0
    beat = np.convolve(beat, np.random.default_rng(0).normal(0, 0.3, 2000) * np.exp(-np.arange(2000) / 300))[
        : beat.size
    ]
    pitches = np.repeat(np.random.default_rng(1).uniform(300, 2000, 40), RATE // 10)
    voice = 0.1 * np.sin(2 * np.pi * np.cumsum(pitches) / RATE)
    mixture = np.stack([beat + voice] * 2)
    foreground, background = repeating_pattern(mixture)
    np.testing.assert_allclose(foreground + background, mixture, atol=1e-6)
    assert si_sdr(np.stack([voice] * 2), foreground) > si_sdr(np.stack([voice] * 2), mixture) + 3


def test_scores_leave_silent_references_to_the_pauses() -> None:
    reference = noise(3, 6.0)
    reference[:, 3 * RATE :] = 0.0
    before = reference + 0.1 * noise(4, 6.0)
    after = before.copy()
    after[:, 3 * RATE :] *= 0.1
    assert len(score(reference, before, after)["si_sdr"]) == 1
    pauses, changed, segments = harm_of(reference, before, after)
    assert pauses == [-20.0]
    assert (len(changed), segments) == (1, 2)
    assert changed[0] == pytest.approx(20 * math.log10(0.9), abs=0.01)


def test_gains_count_what_is_better_and_worse_by_more_than_the_tolerance() -> None:
    found = gains([row(0.05), row(-0.05), row(1.0), row(-0.2)])
    assert (found.n, found.improved, found.harmed, found.worst) == (4, 0.25, 0.25, pytest.approx(-0.2))
    assert found.mean == pytest.approx(0.2)
    assert found.lsd_change == pytest.approx(-0.25)
    assert gains([]).n == 0


def test_targets_are_judged_from_the_rows() -> None:
    rows = [
        row(1.5),
        row(0.1, context="blind"),
        row(1.2, method="base without LoRA", lsd=[(4.0, 3.5)]),
        row(0.0, group=CLEAN, changed=[-45.0], segments=10),
    ]
    verdicts = {str(line[0]): line[3] for line in targets(rows)}
    assert verdicts["SI-SDR gain with siblings, mean over stems"] == "met"
    assert verdicts["SI-SDR gain, blind, mean over stems"] == "**not met**"
    assert verdicts["clean stems: segments touched"] == "**not met**"
    assert verdicts["clean stems: change where touched"] == "met"
    assert verdicts["ahead of: base without LoRA"] == "met"


def test_quality_page_shows_every_method_and_says_what_is_missing() -> None:
    rows = [row(0.5), row(0.1, method="do nothing"), row(0.0, group=CLEAN, context="blind")]
    text = page(
        {
            "date": "2026-01-01",
            "environment": {"CPU": "some"},
            "weights": {"base": "abc"},
            "settings": {"seconds": 3, "quick": True, "quality": "fast", "vocoder": "embedded", "generic": False},
            "minutes": 1.0,
            "real_output": [],
            "rows": [{field: getattr(one, field) for field in Row.__dataclass_fields__} for one in rows],
        }
    )
    assert "| LarsNet | yes | snare | siblings | 1 | 10.0 | +0.50 |" in text
    assert "| do nothing | siblings |" in text
    assert "nothing touched" in text
    assert "not measured" in text


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
