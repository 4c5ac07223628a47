"""Routing: the most specific, best measured, named adapter wins; what nobody claims is reported."""

from __future__ import annotations

from typing import Any

import pytest
from plugin_site import lora_manifest

from stemprover.detection.types import Detection
from stemprover.errors import OptionError, PluginError, PluginNotFoundError
from stemprover.plugins import Plugin, parse_manifest
from stemprover.routing import GENERIC, AdapterChoice, Plan, route

DRUMS = Detection("bleed/drums", 1.0, 2.0, 100.0, 9000.0, 0.9, 0.5)
PHASE = Detection("phasiness", 3.0, 4.0, 200.0, 22_050.0, 0.8, 0.3)


def adapter(name: str, *artifacts: str, stems: tuple[str, ...] = (), gain: float = 0.0, status: str = "ok") -> Plugin:
    changes: dict[str, Any] = {"artifacts": list(artifacts), "stems": list(stems)}
    measured = {"benchmark": "v1", "si_sdr_gain_db": gain, "clean_harm_db": 0.0}
    manifest = parse_manifest(lora_manifest(name, metrics=measured, **changes))
    reason = "" if status == "ok" else "its files changed"
    return Plugin(name, "lora", "1", status, reason, artifacts, stems, f"acme-{name}", "MIT", "", None, manifest)


def vocoder(name: str) -> Plugin:
    return Plugin(name, "vocoder", "1", "ok", "", (), (), "acme", "MIT", "")


def plan(*plugins: Plugin, found: tuple[Detection, ...] = (DRUMS,), auto: bool = True, **options: Any) -> Plan:
    place = {"stem_class": "vocals", "duration_s": 10.0, "nyquist_hz": 22_050.0, "auto_detect": auto}
    return route(found, plugins, **{**place, **options})


def chosen(result: Plan) -> list[str]:
    return [item.adapter for item in result.items]


def test_a_detection_becomes_an_item_with_its_place() -> None:
    (item,) = plan(adapter("drums", "bleed/drums"), strength=0.5).items
    assert (item.start_s, item.end_s, item.low_hz, item.high_hz) == (1.0, 2.0, 100.0, 9000.0)
    assert (item.artifact, item.strength, item.confidence, item.severity) == ("bleed/drums", 0.5, 0.9, 0.5)


def test_the_most_specific_claim_wins_over_a_better_gain() -> None:
    assert chosen(plan(adapter("any", "bleed", gain=9.0), adapter("drums", "bleed/drums", gain=1.0))) == ["drums"]


def test_ties_go_to_the_better_gain_and_then_to_the_name() -> None:
    first, better, same = (adapter(name, "bleed/drums", gain=gain) for name, gain in (("a", 1), ("b", 2), ("c", 2)))
    assert chosen(plan(first, better)) == ["b"]
    assert chosen(plan(better, same)) == chosen(plan(same, better))


def test_a_parent_claims_its_children_and_not_the_other_way_round() -> None:
    parent = Detection("bleed", 0.0, 1.0, 0.0, 1000.0, 0.9, 0.5)
    assert chosen(plan(adapter("any", "bleed"))) == ["any"]
    assert plan(adapter("drums", "bleed/drums"), found=(parent,)).items == ()
    almost = Detection("bleedthrough", 0.0, 1.0, 0.0, 1000.0, 0.9, 0.5)
    assert plan(adapter("any", "bleed"), found=(almost,)).items == ()


def test_an_adapter_for_other_stems_is_used_only_when_named() -> None:
    bass_only = adapter("low", "bleed/drums", stems=("bass",))
    assert plan(bass_only).items == ()
    assert chosen(plan(bass_only, stem_class="bass")) == ["low"]
    assert chosen(plan(bass_only, adapters=[AdapterChoice("low")])) == ["low"]


def test_a_named_adapter_comes_first_for_what_it_claims() -> None:
    named, best = adapter("named", "bleed"), adapter("best", "bleed/drums", gain=5.0)
    other = adapter("phase", "phasiness")
    result = plan(named, best, other, found=(DRUMS, PHASE), adapters=[AdapterChoice("named", 0.8)])
    assert [(item.adapter, item.strength) for item in result.items] == [("named", 0.8), ("phase", 1.0)]


def test_what_nobody_repairs_is_reported_with_advice() -> None:
    result = plan(adapter("phase", "phasiness"), found=(DRUMS, PHASE))
    assert chosen(result) == ["phase"]
    (left,) = result.unrepaired
    assert (left.artifact, left.start_s, left.severity) == ("bleed/drums", 1.0, 0.5)
    assert left.install


@pytest.mark.parametrize(
    ("status", "options", "advice"),
    [
        ("disabled", {}, "stemprover plugins enable drums"),
        ("incompatible", {}, "stemprover plugins doctor (drums is incompatible)"),
        ("ok", {"without": ["drums"]}, "leave out --without drums"),
    ],
)
def test_an_adapter_that_is_there_is_not_to_be_installed_again(status: str, options: Any, advice: str) -> None:
    (left,) = plan(adapter("drums", "bleed/drums", status=status), **options).unrepaired
    assert left.install == advice


def test_the_base_alone_tries_when_asked() -> None:
    result = plan(adapter("phase", "phasiness"), found=(DRUMS, PHASE), generic=True)
    assert chosen(result) == [GENERIC, "phase"]
    assert result.unrepaired == ()


def test_unusable_and_unwanted_adapters_are_left_out() -> None:
    broken, good = adapter("broken", "bleed/drums", gain=9.0, status="broken"), adapter("good", "bleed")
    assert chosen(plan(broken, good)) == ["good"]
    assert plan(broken, good, without=["good"]).items == ()
    assert chosen(plan(adapter("other", "bleed"), good, without=["other"], adapters=[AdapterChoice("good")])) == [
        "good"
    ]


def test_strength_zero_plans_nothing() -> None:
    good = adapter("good", "bleed")
    for options in ({"strength": 0.0}, {"adapters": [AdapterChoice("good", 0.0)]}):
        result = plan(good, **options)
        assert result.items == result.unrepaired == ()
    assert plan(good, auto=False, adapters=[AdapterChoice("good", 0.0)]).items == ()


def test_without_detection_named_adapters_work_on_everything() -> None:
    result = plan(adapter("a", "bleed/drums"), adapter("b", "phasiness"), found=(), auto=False,
                  adapters=[AdapterChoice("b", 0.5), AdapterChoice("a")], nyquist_hz=4000.0)  # fmt: skip
    assert [(item.adapter, item.artifact, item.strength) for item in result.items] == [
        ("b", "phasiness", 0.5),
        ("a", "bleed/drums", 1.0),
    ]
    assert {(item.start_s, item.end_s, item.low_hz, item.high_hz) for item in result.items} == {
        (0.0, 10.0, 0.0, 4000.0)
    }


def test_bands_end_at_the_files_nyquist_frequency() -> None:
    assert plan(adapter("p", "phasiness"), found=(PHASE,), nyquist_hz=8000.0).items[0].high_hz == 8000.0


@pytest.mark.parametrize(
    ("options", "error"),
    [
        ({"adapters": [AdapterChoice("gone")]}, PluginNotFoundError),
        ({"without": ["gone"]}, PluginNotFoundError),
        ({"adapters": [AdapterChoice("broken")]}, PluginError),
        ({"adapters": [AdapterChoice("sound")]}, OptionError),
        ({"adapters": [AdapterChoice("good", 2.5)]}, OptionError),
        ({"adapters": [AdapterChoice("good", -0.1)]}, OptionError),
        ({"adapters": [AdapterChoice("good", float("nan"))]}, OptionError),
    ],
)
def test_adapters_that_cannot_be_used_are_errors(options: dict[str, Any], error: type[Exception]) -> None:
    plugins = adapter("good", "bleed"), adapter("broken", "bleed", status="broken"), vocoder("sound")
    with pytest.raises(error):
        plan(*plugins, **options)
