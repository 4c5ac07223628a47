"""What evaluation says of levels and polarity, and of what it cannot score."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest
import soundfile
from test_cli import run
from test_evaluate import RATE, noise, write

from stemprover.errors import StemSetError
from stemprover.evaluation.arrays import EMPTY_DBFS, SILENCE_DBFS, rms_dbfs
from stemprover.evaluation.bss import pesq, stoi
from stemprover.evaluation.files import EvaluationOptions, evaluate_files
from stemprover.evaluation.pairing import pair_stems
from stemprover.evaluation.sets import score_stem

KIT = Path(__file__).parent.parent / "examples" / "east-bay"
SPEECH = {"pesq", "stoi"}


def test_the_mixture_is_matched_as_well() -> None:
    reference = noise(0)
    mixture = 2.0 * reference + noise(1)
    matched = score_stem("a", reference, 0.25 * mixture, RATE, mixture=mixture, matched_gain=True).scores
    assert matched["sdr_over_mixture"] == pytest.approx(0.0, abs=1e-6), "the same but for its level"


@pytest.mark.parametrize("matched", [False, True])
def test_an_inverted_estimate_is_not_turned_and_named(tmp_path: Path, matched: bool) -> None:
    audio = {"vocals": noise(0, RATE), "drums": noise(1, RATE)}
    truth = write(tmp_path / "truth", **audio)
    found = write(tmp_path / "found", vocals=-audio["vocals"], drums=0.5 * audio["drums"])
    scores = evaluate_files(pair_stems(truth, found), options=EvaluationOptions(match_gain=matched))
    drums, vocals = scores.stems
    assert (vocals.inverted, drums.inverted) == (True, False)
    assert vocals.scores["sdr"] == pytest.approx(-20 * math.log10(2), abs=1e-3)
    assert vocals.scores["phase_coherence"] == pytest.approx(-1.0)
    assert "gain" not in vocals.scores
    assert scores.mean["gain"] == drums.scores["gain"] == pytest.approx(20 * math.log10(2), abs=1e-3)
    assert [note.split(":")[0] for note in scores.notes] == ["vocals is inverted against its reference"]


def test_bss_eval_sees_the_gains_that_all_others_see(tmp_path: Path) -> None:
    audio = {"vocals": noise(0), "drums": noise(1)}
    truth = write(tmp_path / "truth", **audio)
    found = write(tmp_path / "found", **{name: 0.5 * one + 0.01 * noise(2) for name, one in audio.items()})
    plain, matched = (
        evaluate_files(pair_stems(truth, found), options=EvaluationOptions(match_gain=flag)) for flag in (False, True)
    )
    for scores in (plain, matched):  # windows are alike in this noise, so that their median is the whole
        assert scores.mean["bss_sdr"] == pytest.approx(scores.mean["sdr"], abs=0.3)
    assert matched.mean["bss_sdr"] > plain.mean["bss_sdr"] + 20.0
    assert matched.mean["bss_sir"] == pytest.approx(plain.mean["bss_sir"], abs=0.3)


def test_it_is_said_why_bss_eval_has_no_say(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    truth = write(tmp_path / "truth", vocals=noise(0, RATE), drums=noise(1, RATE)[:1])
    (note,) = evaluate_files(pair_stems(truth, truth)).notes
    assert note == "BSS Eval was left out: it needs stems of one length, one sample rate and as many channels"
    twice = write(tmp_path / "twice", **{"vocals": noise(0, RATE), "song_(Vocals)": noise(0, RATE)})
    code, out, err = run(capsys, "evaluate", "--reference", str(truth), "--estimate", str(twice))
    assert (code, err) == (0, "")
    assert "BSS Eval was left out: two estimates have the same reference" in out


def test_estimates_that_are_called_alike_are_refused(tmp_path: Path) -> None:
    truth = write(tmp_path / "truth", vocals=noise(0, RATE))
    soundfile.write(truth / "vocals.flac", noise(1, RATE).T, RATE)
    with pytest.raises(StemSetError, match=r"'vocals\.flac' and 'vocals\.wav'"):
        pair_stems(truth, truth)


@pytest.mark.parametrize("seconds", [0.002, 0.2, 0.35])
def test_words_that_are_too_short_have_no_intelligibility(seconds: float) -> None:
    reference = np.pad(noise(0, round(seconds * RATE)), ((0, 0), (0, RATE if seconds > 0.3 else 0)))
    assert "stoi" not in score_stem("vocals", reference, reference, RATE, speech=True).scores
    longer = noise(0, RATE)
    assert score_stem("vocals", longer, longer, RATE, speech=True).scores["stoi"] == pytest.approx(1.0)


def needs_speech() -> None:
    """Skip where the packages of both are missing."""
    for package in ("pesq", "pystoi"):
        pytest.importorskip(package, reason=f"{package} comes with stemprover[evaluate]")


def strokes(level_dbfs: float, bits: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """A true and a separated snare, whose strokes stand for syllables, at a level; rounded to a format's steps."""
    true, separated = (soundfile.read(KIT / path / "snare.flac")[0].T for path in ("reference", "."))
    gain = 10 ** ((level_dbfs - rms_dbfs(true.mean(0))) / 20)
    steps = 2.0 ** (bits - 1)
    found = [gain * audio if not bits else np.round(gain * audio * steps) / steps for audio in (true, separated)]
    return found[0], found[1]


def speech_scores(reference: np.ndarray, estimate: np.ndarray) -> dict[str, float]:
    scores = score_stem("vocals", reference, estimate, RATE, speech=True).scores
    return {name: scores[name] for name in SPEECH & set(scores)}


@pytest.mark.parametrize("level", [-61.0, -75.0, -89.9])
def test_quiet_words_score_as_loud_ones_do(level: float) -> None:
    """Down to where all other metrics end: PESQ and STOI align levels themselves."""
    needs_speech()
    loud = speech_scores(*strokes(-20.0))
    assert 1.5 < loud["pesq"] < 3.5
    assert 0.5 < loud["stoi"] < 0.99
    reference, estimate = strokes(level)
    assert speech_scores(reference, estimate) == pytest.approx(loud, abs=1e-4)
    assert speech_scores(reference, 1000 * estimate) == pytest.approx(loud, abs=1e-4), "nor does that of one"


def test_few_words_in_a_long_song_are_scored() -> None:
    needs_speech()
    song = [np.pad(audio[:, : 4 * RATE], ((0, 0), (0, 50 * RATE))) for audio in strokes(-50.0)]
    assert EMPTY_DBFS < rms_dbfs(song[0]) < SILENCE_DBFS
    assert set(speech_scores(song[0], song[1])) == SPEECH


def test_below_the_limit_of_stems_there_are_no_words() -> None:
    reference, estimate = strokes(EMPTY_DBFS - 0.1)
    wide = np.array([[10.0], [-10.0]]) * reference.mean(0)  # there, but nothing of it in mono
    assert rms_dbfs(wide) > EMPTY_DBFS
    for metric in (pesq, stoi):
        assert math.isnan(metric(reference, estimate, RATE))
        assert math.isnan(metric(wide, estimate, RATE))


@pytest.mark.parametrize(("bits", "off"), [(16, True), (24, False)])
def test_what_16_bits_round_away_counts_and_24_bits_keep_enough(bits: int, off: bool) -> None:
    needs_speech()
    exact, rounded = (speech_scores(*strokes(-75.0, depth)) for depth in (0, bits))
    assert (abs(rounded["pesq"] - exact["pesq"]) > 0.1) is off
    assert (abs(rounded["stoi"] - exact["stoi"]) > 0.005) is off
