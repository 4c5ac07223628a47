"""The quality benchmark's scores, targets and page; the measurements themselves are run by hand."""

from __future__ import annotations

import dataclasses
import json
import math
from pathlib import Path

import pytest
import quality_pictures
from PIL import Image
from quality import read_results, write_results
from quality_material import RATE, item, noise, row
from quality_page import page
from quality_runs import BLIND, SIBLINGS, Method
from quality_scores import Judge, Repaired, Row, gains, harm_of, of_artifact
from quality_sets import CLEAN, KITS, SYNTHETIC, Item
from quality_tables import artifact_table, band_table, measure_table, worst_table
from quality_targets import targets
from tiny_base import tiny_base as tiny_base

from stemprover.evaluation import METRICS


def test_judge_scores_what_a_method_changed() -> None:
    one = item(seconds=6.0)
    halved = {n: one.references[n] + 0.5 * (e - one.references[n]) for n, e in one.estimates.items()}
    repaired = {name: Repaired(audio, 0.5) for name, audio in halved.items()}
    rows = Judge(one).rows("halve", SIBLINGS, repaired, full=True, sources=False)
    assert [found.stem for found in rows] == ["vocals", "drums"]
    for found in rows:
        assert set(found.scores) == set(METRICS)
        assert gains([found]).mean == pytest.approx(20 * math.log10(2), abs=0.2)
        assert found.starts == [0.0, 3.0]
        assert set(found.artifacts) == {"bleed/drums" if found.stem == "vocals" else "bleed/vocals"}
        assert all(after > before for before, after in (pair for pair in found.bands["phase_coherence"] if pair))
    assert json.loads(json.dumps(dataclasses.asdict(rows[0])))["repaired"] == 0.5


def test_scores_leave_silent_references_to_the_pauses() -> None:
    reference = noise(3, 6.0)
    reference[:, 3 * RATE :] = 0.0
    before = reference + 0.1 * noise(4, 6.0)
    after = before.copy()
    after[:, 3 * RATE :] *= 0.1
    one = Item(KITS, "kit", "x", "no", {"snare": reference}, {"snare": before}, before)
    (found,) = Judge(one).rows("m", BLIND, {"snare": Repaired(after, 1.0)}, full=False, sources=False)
    assert found.starts == [0.0]
    assert gains([found]).mean == 0.0
    pauses, changed, segments = harm_of(reference, before, after)
    assert pauses == found.pauses == [-20.0]
    assert (len(changed), segments) == (1, 2)
    assert changed[0] == pytest.approx(20 * math.log10(0.9), abs=0.01)


def test_gains_count_what_is_better_and_worse_by_more_than_the_tolerance() -> None:
    found = gains([row(0.05), row(-0.05), row(1.0), row(-0.2)])
    assert (found.n, found.improved, found.harmed, found.worst) == (4, 0.25, 0.25, pytest.approx(-0.2))
    assert found.mean == pytest.approx(0.2)
    assert found.lsd_change == pytest.approx(-0.25)
    assert gains([]).n == 0


def test_segments_are_kept_by_artifact() -> None:
    pairs = {name: [(1.0, 2.0), (1.0, 3.0)] for name in ("si_sdr", "log_spectral_distance")}
    both = row(0.0, starts=[0.0, 3.0], artifacts=["bleed/drums", "phasiness"], scores=pairs)
    assert of_artifact([both], "bleed")[0].scores["si_sdr"] == [(1.0, 2.0)]
    assert of_artifact([both], "phasiness")[0].starts == [3.0]
    assert of_artifact([both], "hf-distortion") == []


def test_targets_are_judged_from_the_rows() -> None:
    repairs = [row(1.5), row(0.1, context="blind"), row(0.0, group=CLEAN, changed=[-45.0], segments=10)]
    plain = row(0.0, method="input phase", artifacts=["phasiness"])
    baselines = [
        row(1.2, method="base without LoRA", scores=row(1.2).scores | {"log_spectral_distance": [(4.0, 3.5)]}),
        row(0.3, method="gate", context="blind"),
        plain,
    ]
    adapters = [
        row(gain, seen="drumbleed:bleed/drums", method=method)
        for gain, method in ((0.1, "base alone"), (0.5, "adapter"), (0.2, "wrong adapter"))
    ]
    detectors = [
        {"group": group, "context": "siblings", "artifact": "bleed", "roc_auc": auc, "iou": 0.7}
        for group, auc in ((SYNTHETIC, 0.96), (KITS, 0.8))
    ]
    lines = targets({"repairs": repairs, "baselines": baselines, "adapters": adapters}, detectors)
    verdicts = {str(line[0]): line[3] for line in lines}
    assert verdicts["SI-SDR gain with siblings, mean over stems"] == "met"
    assert verdicts["SI-SDR gain, blind, mean over stems"] == "**not met**"
    assert verdicts["clean stems: segments touched"] == "**not met**"
    assert verdicts["clean stems: change where touched"] == "met"
    assert verdicts["ahead of: base without LoRA"] == "met"
    assert verdicts["ahead of: gate"] == "**not met**"  # a blind one is compared with blind repairs
    assert verdicts["adapter drumbleed against the base, own artifact"] == "met"
    assert verdicts["the wrong adapter against drumbleed"] == "met"
    assert verdicts["detectors: lowest ROC-AUC, synthetic"] == "met"
    assert verdicts["detectors: lowest ROC-AUC, real"] == "**not met**"
    assert verdicts["vocoder against input phase, on phasiness"] == "not measured"
    better = dataclasses.replace(
        row(1.5), artifacts=["phasiness"], scores=row(1.5).scores | {"phase_coherence": [(0.8, 0.95)]}
    )
    worse = dataclasses.replace(plain, scores=row(0.0).scores | {"mr_stft": [(0.5, 0.45)]})
    (line,) = (one for one in targets({"repairs": [better], "baselines": [worse]}, []) if "vocoder" in str(one[0]))
    assert line[3] == "met"


def test_tables_tell_the_worst_and_every_measure() -> None:
    rows = [row(0.5, bands={"phase_coherence": [(0.5, 0.6), None], "frequency_response": [(-2.0, -1.0), None]})]
    rows.append(row(-0.7, song="other kit", whole={"pesq": (2.0, 2.5)}))
    assert worst_table(rows, 1).splitlines()[2].startswith("| other kit | LarsNet | snare | siblings | 0 s |")
    assert "| siblings | PESQ | higher | 1 | 2.000 | 2.500 | +0.500 |" in measure_table(rows)
    assert "| 0 to 125 Hz | 1 | 0.500 | 0.600 | 2.000 | 1.000 |" in band_table(rows)
    assert "| bleed | siblings | 2 |" in artifact_table(rows)


def test_the_worst_segment_is_drawn_with_what_is_noted_about_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    one = item(seconds=6.0)
    worse = {name: Repaired(0.5 * audio, 1.0) for name, audio in one.estimates.items()}
    method = Method("StemProver", SIBLINGS, lambda _: worse, (one.group,))
    monkeypatch.setattr(quality_pictures, "shipped", lambda _: [method])
    rows = Judge(one).rows("StemProver", SIBLINGS, worse, full=False, sources=False)
    lost = dataclasses.replace(rows[0], scores=rows[0].scores | {"si_sdr": [(5.0, 4.0), (5.0, 1.0)]})
    (drawn,) = quality_pictures.draw_worst(None, [one], [dataclasses.replace(lost, starts=[0.0, 3.0])], tmp_path)[:1]
    assert drawn["segment"].endswith(f"{rows[0].stem}, siblings, 3 s")
    with Image.open(tmp_path / drawn["picture"]) as picture:
        assert picture.width > 1000
        assert len(picture.getcolors() or []) > 20
    notes = tmp_path / "notes.json"
    notes.write_text(json.dumps({drawn["segment"]: "It is only half as loud."}), encoding="utf-8")
    monkeypatch.setattr(quality_pictures, "_NOTES", notes)
    text = quality_pictures.worst_section([drawn])
    assert "It is only half as loud." in text
    assert f"]({drawn['picture']})" in text
    assert quality_pictures.worst_section([]) == ""


def _part(rows: list[Row], **more: object) -> dict[str, object]:
    return {
        "date": "2026-01-01",
        "environment": {"CPU": "some"},
        "weights": {"base": "abc"},
        "settings": {"seconds": 3, "quick": True, "quality": "fast", "vocoder": "embedded", "generic": False},
        "minutes": 1.0,
        "rows": [dataclasses.asdict(one) for one in rows],
        **more,
    }


def test_page_shows_what_was_measured_and_says_what_was_not() -> None:
    repairs = [row(0.5), row(0.0, group=CLEAN, context="blind")]
    results = {"repairs": _part(repairs), "baselines": _part([row(0.1, method="do nothing")])}
    text = page(results)
    assert "| LarsNet | yes | snare | siblings | 1 | 10.0 | +0.50 |" in text
    assert "| do nothing | siblings |" in text
    assert "nothing touched" in text
    assert "not measured" in text
    assert "compare with care" not in text
    text = page(results | {"ablations": _part([row(0.3, method="no ControlNet")], weights={"base": "def"})})
    assert "| no ControlNet | 1 | 10.0 | +0.30 |" in text
    assert "compare with care" in text


def test_parts_are_merged_into_what_was_measured_before(tmp_path: Path) -> None:
    out = tmp_path / "quality.md"
    write_results({"repairs": _part([row(0.5)])}, out)
    results = read_results(out.with_suffix(".json"))
    results["detectors"] = _part([], figures=[])
    write_results(results, out)
    found = read_results(out.with_suffix(".json"))
    assert list(found) == ["repairs", "detectors"]
    assert found["repairs"]["rows"][0]["scores"]["si_sdr"] == [[10.0, 10.5]]
    assert out.read_text().startswith("# Quality")
    out.with_suffix(".json").write_text('{"date": "2020-01-01", "rows": []}')
    assert read_results(out.with_suffix(".json")) == {}
    assert read_results(tmp_path / "absent.json") == {}
