"""Evaluation of stem sets, from arrays and from the command line."""

from __future__ import annotations

import csv
import io
import json
import math
import re
import shutil
from pathlib import Path

import numpy as np
import pytest
import soundfile
from plugin_site import code_plugin, listed
from plugin_site import plugin_site as plugin_site
from test_cli import run

from stemprover.errors import AudioError, StemSetError
from stemprover.evaluation import METRICS, Metric
from stemprover.evaluation import sets as scoring
from stemprover.evaluation.files import EvaluationOptions, SetScores, evaluate_files
from stemprover.evaluation.guarded import guarded_metrics
from stemprover.evaluation.pairing import StemPair, pair_stems
from stemprover.evaluation.sets import COLUMNS, NEEDS, mean_scores, score_stem
from stemprover.evaluation.spectral import sdr_bands
from stemprover.plugins import PluginRunner

ROOT = Path(__file__).parent.parent
KIT = ROOT / "examples" / "east-bay"
RATE = 44_100


def noise(seed: int, samples: int = 2 * RATE) -> np.ndarray:
    return 0.1 * np.random.default_rng(seed).standard_normal((2, samples))


def write(folder: Path, rate: int = RATE, **stems: np.ndarray) -> Path:
    folder.mkdir(exist_ok=True)
    for name, audio in stems.items():
        soundfile.write(folder / f"{name}.wav", audio.T, rate, "FLOAT")
    return folder


def test_sdr_of_a_band_sees_that_band_only() -> None:
    reference = noise(0)
    spectrum = np.fft.rfft(noise(1))
    hertz = np.fft.rfftfreq(2 * RATE, 1 / RATE)
    spectrum[:, (hertz < 2100) | (hertz > 3900)] = 0.0
    bands = sdr_bands(reference, reference + np.fft.irfft(spectrum, 2 * RATE), RATE)
    assert bands[5] == pytest.approx(-10 * math.log10(1800 / 2000), abs=0.2)  # 2 to 4 kHz, noise of the same density
    assert min(np.delete(bands, 5)) > 25.0
    assert np.isnan(sdr_bands(0.1 * np.sin(np.arange(RATE) * 2 * np.pi * 5500 / RATE), np.zeros(RATE), RATE)[0])


def test_an_exact_copy_has_the_best_scores() -> None:
    scores = score_stem("vocals", noise(0), noise(0), RATE, mixture=noise(0) + noise(1)).scores
    assert {name: scores[name] for name in METRICS} == pytest.approx(
        {m.name: m.best for m in METRICS.values()}, abs=1e-9
    )
    assert scores["gain"] == 0.0
    assert scores["sdr_over_mixture"] == pytest.approx(100.0, abs=0.2)


def test_matched_gain_forgives_level_and_says_how_much() -> None:
    reference = noise(0)
    plain, matched = (score_stem("a", reference, 0.5 * reference, RATE, matched_gain=flag).scores for flag in (0, 1))
    assert plain["gain"] == matched["gain"] == pytest.approx(20 * math.log10(2))
    assert plain["log_spectral_distance"] == pytest.approx(20 * math.log10(2), abs=0.01)
    assert matched["log_spectral_distance"] == pytest.approx(0.0, abs=1e-6)
    assert plain["bleedless"] == matched["bleedless"] == 100.0, "gains are always matched here"


def test_silence_is_measured_by_its_level_and_never_divides() -> None:
    silent, left = np.zeros((2, RATE)), np.full((2, RATE), 0.01)
    scored = score_stem("toms", silent, left, RATE)
    assert scored.scores == {"silence_level": pytest.approx(-40.0)}
    assert scored.segments == scored.bands == ()
    reference = noise(0)
    reference[:, RATE // 2 : RATE] = 0.0
    parts = score_stem("a", reference, reference + 0.001, RATE, segment_s=0.5).segments
    assert [set(part.scores) == {"silence_level"} for part in parts] == [False, True, False, False]
    assert parts[1].scores["silence_level"] == pytest.approx(-60.0)
    everything = score_stem("a", noise(0), np.zeros((2, 2 * RATE)), RATE)
    assert all(math.isfinite(value) for value in everything.scores.values())


def test_mean_is_over_stems_that_have_the_score() -> None:
    stems = [score_stem(n, r, r + 0.01 * noise(3), RATE) for n, r in (("a", noise(0)), ("b", np.zeros((2, 2 * RATE))))]
    means = mean_scores(stems)
    assert means["sdr"] == stems[0].scores["sdr"]
    assert means["silence_level"] == stems[1].scores["silence_level"]


def test_pairs_by_name_by_class_and_by_what_is_left(tmp_path: Path) -> None:
    audio = {name: noise(seed, 100) for seed, name in enumerate(("vocals", "drums", "bass", "other", "mixture"))}
    truth = write(tmp_path / "truth", **audio)
    estimates = tmp_path / "estimates"
    estimates.mkdir()
    for name in ("vocals", "song_(Drums)_htdemucs", "no_bass", "minus drum", "1_song_(Instrumental)", "mix"):
        shutil.copy(truth / "vocals.wav", estimates / f"{name}.wav")
    pairs = {pair.name: [path.stem for path in pair.references] for pair in pair_stems(truth, estimates)}
    assert pairs == {
        "vocals": ["vocals"],
        "song_(Drums)_htdemucs": ["drums"],
        "no_bass": ["drums", "other", "vocals"],
        "minus drum": ["bass", "other", "vocals"],
        "1_song_(Instrumental)": ["bass", "drums", "other"],
    }
    (estimates / "piano.wav").write_bytes((truth / "bass.wav").read_bytes())
    with pytest.raises(StemSetError, match=r"'piano\.wav'"):
        pair_stems(truth, estimates)
    with pytest.raises(StemSetError, match="two files or two folders"):
        pair_stems(truth, estimates / "vocals.wav")


def test_the_sum_of_references_is_what_an_instrumental_should_be(tmp_path: Path) -> None:
    parts = {"vocals": noise(0, RATE), "drums": noise(1, RATE), "bass": noise(2, RATE)}
    truth = write(tmp_path / "truth", **parts)
    found = write(tmp_path / "found", instrumental=parts["drums"] + parts["bass"])
    (scored,) = evaluate_files(pair_stems(truth, found)).stems
    assert scored.scores["sdr"] > 90.0  # rounding to float32


def test_what_does_not_fit_is_said(tmp_path: Path) -> None:
    truth = write(tmp_path / "truth", a=noise(0, 2 * RATE))
    for other, words in (
        (write(tmp_path / "short", a=noise(0, RATE)), "--align"),
        (write(tmp_path / "rate", 48_000, a=noise(0, 2 * RATE)), "48000 Hz"),
        (write(tmp_path / "mono", a=noise(0, 2 * RATE)[:1]), "1 channels"),
    ):
        pairs = pair_stems(truth, other)
        with pytest.raises(StemSetError, match=words):
            evaluate_files(pairs)
    with pytest.raises(AudioError):
        evaluate_files((StemPair("a", "generic", tmp_path / "nothing.wav", (truth / "a.wav",)),))


def test_late_estimates_are_aligned(tmp_path: Path) -> None:
    audio = noise(0, 2 * RATE)
    truth = write(tmp_path / "truth", a=audio)
    late = write(tmp_path / "late", a=np.pad(audio, ((0, 0), (529, 0))))
    (scored,) = evaluate_files(pair_stems(truth, late), options=EvaluationOptions(align=True)).stems
    assert scored.scores["sdr"] == 100.0


@pytest.mark.parametrize(("samples", "way"), [(529, "529 samples late"), (-64, "64 samples early"), (0, "")])
def test_estimates_that_are_late_or_early_are_named(tmp_path: Path, samples: int, way: str) -> None:
    """A fixed offset costs all of SI-SDR; without a word one would blame the separator."""
    audio = noise(0, 2 * RATE)
    truth = write(tmp_path / "truth", a=audio)
    moved = write(tmp_path / "moved", a=np.roll(audio, samples, axis=1) + noise(1))
    notes = evaluate_files(pair_stems(truth, moved)).notes
    assert [note for note in notes if "--align" in note] == (
        [f"a is {way} against its reference, which most scores punish: --align mends it"] if way else []
    )
    aligned = evaluate_files(pair_stems(truth, moved), options=EvaluationOptions(align=True))
    assert not [note for note in aligned.notes if "--align" in note]


def test_an_estimate_of_a_sum_is_aligned_to_the_sum(tmp_path: Path) -> None:
    """Its first part may be silent, or hardly heard in it."""
    parts = {"bass": np.zeros((2, 2 * RATE)), "drums": noise(1), "other": 0.3 * noise(2)}
    truth = write(tmp_path / "truth", **parts)
    late = write(tmp_path / "late", instrumental=np.roll(sum(parts.values()), 529, axis=1))
    pair = StemPair("a", "generic", late / "instrumental.wav", tuple(truth / f"{name}.wav" for name in parts))
    (scored,) = evaluate_files([pair], options=EvaluationOptions(align=True)).stems
    assert scored.scores["si_sdr"] > 15.0


def test_metrics_of_plugins_are_scored_like_the_host_s(tmp_path: Path) -> None:
    truth = write(tmp_path / "truth", a=noise(0, RATE))
    metric = Metric("peak_error", "Peak error", "", False, 0.0, lambda r, e, rate: float(abs(r.max() - e.max())))
    scores = evaluate_files(pair_stems(truth, truth), options=EvaluationOptions(metrics={"peak_error": metric}))
    assert scores.mean["peak_error"] == 0.0
    assert scores.columns["peak_error"].label == "Peak error"


METRIC = """
from stemprover.evaluation import Metric

def score(reference, estimate, sample_rate):
    print("noise")
    {does}
    reference[:] = 0.0
    return 1.0

def entry():
    return Metric("{name}", "A metric", "", True, 1.0, score)
"""


def evaluated(site: Path, tmp_path: Path, does: str, label: str = "A metric") -> tuple[PluginRunner, SetScores]:
    """Scores of two stems, with a metric of a plugin."""
    text = METRIC.format(does=does, name="it").replace("A metric", label)
    code_plugin(site, "acme", "metric", text)
    runner = PluginRunner([listed()["acme-acme"]], 0.3 if "wait" in does else 60)
    truth = write(tmp_path / "truth", a=noise(0, RATE), b=noise(1, RATE))
    options = EvaluationOptions(metrics=guarded_metrics(runner))
    return runner, evaluate_files(pair_stems(truth, truth), options=options)


@pytest.mark.parametrize(
    ("does", "reason"),
    [
        ("raise RuntimeError('no idea')", "RuntimeError: 'no idea'"),
        ("raise SystemExit(3)", "SystemExit: '3'"),
        ("import threading; threading.Event().wait()", "TimeoutError: 'no answer within 0.3 s'"),
        ("return 'much'", "ValueError"),
    ],
)
def test_a_metric_that_fails_is_left_out_and_the_others_stand(
    site: Path, tmp_path: Path, does: str, reason: str
) -> None:
    runner, scores = evaluated(site, tmp_path, does)
    assert [fault.name for fault in runner.faults] == ["acme"]
    assert reason in runner.faults[0].reason
    assert scores.mean["sdr"] == 100.0
    assert "acme" not in scores.columns


def test_a_metric_cannot_print_or_change_what_others_measure(
    site: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    runner, scores = evaluated(site, tmp_path, "pass")
    assert runner.faults == []
    assert (scores.mean["acme"], scores.mean["sdr"]) == (1.0, 100.0)
    assert capsys.readouterr().out == ""


def test_a_score_that_is_no_number_is_left_out(site: Path, tmp_path: Path) -> None:
    runner, scores = evaluated(site, tmp_path, "return float('nan')")
    assert runner.faults == []
    assert "acme" not in scores.mean


def test_a_metric_with_a_label_for_terminals_is_refused(site: Path, tmp_path: Path) -> None:
    runner, _ = evaluated(site, tmp_path, "pass", label="\\x1b[31mred")
    assert "is no label or unit" in runner.faults[0].reason


def cut_kit(folder: Path, names: tuple[str, ...], seconds: float) -> tuple[Path, Path]:
    """The beginning of real stems and of the true ones."""
    for source in (KIT, KIT / "reference"):
        for name in names:
            audio = soundfile.read(source / f"{name}.flac", frames=round(seconds * RATE), always_2d=True)[0].T
            write(folder / source.name, **{name: audio})
    return folder / "reference", folder / KIT.name


def test_command_prints_json_csv_and_tables_that_agree(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    truth, found = cut_kit(tmp_path, ("kick", "snare"), 2.0)
    mixture = write(tmp_path, mix=sum(soundfile.read(path)[0].T for path in truth.iterdir())) / "mix.wav"
    arguments = ("evaluate", "--reference", str(truth), "--estimate", str(found), "--segment", "1")
    code, out, _ = run(capsys, *arguments, "--mixture", str(mixture), "--json")
    data = json.loads(out)
    assert code == 0
    assert set(data["stems"]) == {"kick", "snare"}
    kick = data["stems"]["kick"]
    assert {"si_sdr", "sdr_over_mixture", "bss_sir", "bleedless"} <= set(kick["scores"])
    assert [(part["start_s"], part["end_s"]) for part in kick["segments"]] == [(0.0, 1.0), (1.0, 2.0)]
    assert data["mean"]["sdr"] == pytest.approx(np.mean([s["scores"]["sdr"] for s in data["stems"].values()]), abs=1e-5)
    code, out, _ = run(capsys, *arguments, "--csv")
    rows = list(csv.DictReader(io.StringIO(out)))
    whole = {row["metric"]: float(row["value"]) for row in rows if (row["stem"], row["scope"]) == ("kick", "stem")}
    assert whole.items() <= kick["scores"].items()
    assert {row["scope"] for row in rows} == {"stem", "segment", "band"}
    code, out, _ = run(capsys, *arguments)
    assert re.search(rf"SI-SDR, dB .* {kick['scores']['si_sdr']:.2f} ", out)
    assert "8000 - 16000" in out


def test_command_says_which_scores_need_a_package(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    truth = write(tmp_path / "truth", vocals=noise(0, RATE), drums=noise(1, RATE))
    found = scoring.importlib.util.find_spec
    monkeypatch.setattr(scoring.importlib.util, "find_spec", lambda name: None if name in NEEDS else found(name))
    code, out, err = run(capsys, "evaluate", "--reference", str(truth), "--estimate", str(truth))
    assert (code, err) == (0, "")
    for package, scores in NEEDS.items():
        assert re.search(
            rf"{', '.join(scores)} needs? the package {package}: pip install 'stemprover\[evaluate\]'", out
        )
    assert json.loads(run(capsys, "evaluate", "--reference", str(truth), "--estimate", str(truth), "--json")[1])[
        "missing"
    ] == {package: list(scores) for package, scores in NEEDS.items()}


def test_the_page_on_metrics_has_a_section_for_every_score() -> None:
    text = (ROOT / "docs" / "metrics.md").read_text("utf-8")
    sections = re.findall(r"^## .*?`(\w+)`((?:, `\w+`)*)$", text, re.M)
    named = {name for first, rest in sections for name in (first, *re.findall(r"`(\w+)`", rest))}
    assert named == set(COLUMNS)
    for body in re.split(r"^## ", text, flags=re.M)[1:]:
        if "`" in body.splitlines()[0]:
            assert all(f"**{word}**" in body for word in ("Range", "Unit", "Better", "Misleads"))
