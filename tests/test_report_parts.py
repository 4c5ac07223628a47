"""The report's parts: pictures, players, regions, words and axes; test_report.py has the page."""

from __future__ import annotations

import base64
import io

import numpy as np
import pytest
import soundfile
from report_inputs import RATE, SECONDS, item, repaired, signal

from stemprover.report.analysis import FLOOR_DB, analyse
from stemprover.report.axes import MelAxis, clock, frequency_ticks, time_ticks
from stemprover.report.boxes import draw_boxes, merge_regions
from stemprover.report.charts import area_path, downsample_max, level_range, line_path, step_path
from stemprover.report.pictures import change_image, spectrogram_image, top_db
from stemprover.report.players import EXCERPT_S, cut_excerpt
from stemprover.report.regions import collect_regions, most_repaired_start
from stemprover.report.styles import artifact_styles
from stemprover.report.wording import finding, setting_rows, without_folders
from stemprover.stems import Stem


def test_spectrogram_peaks_at_the_tones() -> None:
    analysis = analyse(Stem.from_array(signal(), RATE), None)
    edges = analysis.axis.edges_hz(analysis.before_db.shape[0])
    middle = analysis.before_db[:, analysis.before_db.shape[1] // 2]
    assert edges[middle.argmax()] <= 440 + 15
    assert edges[middle.argmax() + 1] >= 440 - 15
    high = np.flatnonzero(edges[:-1] > 3000)
    row = high[middle[high].argmax()]
    assert edges[row] - 25 <= 5000 <= edges[row + 1] + 25
    assert analysis.level_before_db[100] == pytest.approx(10 * np.log10(0.3**2 / 2 + 0.1**2 / 2), abs=0.3)


def test_difference_is_blank_outside_the_repair() -> None:
    audio = signal()
    analysis = analyse(Stem.from_array(audio, RATE), Stem.from_array(repaired(audio), RATE))
    image = change_image(analysis, top_db(analysis))
    opacity = np.asarray(image.convert("RGBA"))[:, :, 3]
    seconds = (np.arange(opacity.shape[1]) + 0.5) / opacity.shape[1] * SECONDS
    assert not opacity[:, (seconds < 0.95) | (seconds > 2.05)].any()
    inside = (seconds > 1.1) & (seconds < 1.9)
    assert opacity[:, inside].max() > 200
    row, column = np.unravel_index(opacity.argmax(), opacity.shape)
    red, _, blue, _ = image.convert("RGBA").getpixel((int(column), int(row)))
    assert blue > red  # energy was removed
    assert (analysis.level_difference_db[seconds < 0.95] == FLOOR_DB).all()


def test_both_spectrograms_share_one_scale() -> None:
    audio = signal()
    analysis = analyse(Stem.from_array(audio, RATE), Stem.from_array(0.1 * audio, RATE))
    before, after = (
        np.asarray(spectrogram_image(picture, top_db(analysis)).convert("L"), dtype=float)
        for picture in (analysis.before_db, analysis.after_db)
    )
    assert after.max() < before.max()


class Counting:
    """A long file that is never there as a whole; remembers the longest read."""

    def __init__(self, samples: int) -> None:
        self.format = type("Format", (), {"sample_rate": RATE, "channels": 2, "samples": samples})()
        self.longest = 0

    def read(self, start: int, stop: int) -> np.ndarray:
        self.longest = max(self.longest, stop - start)
        return np.full((2, stop - start), 0.1)


def test_a_long_file_is_read_in_blocks_and_makes_a_picture_of_bounded_size() -> None:
    minutes = [Counting(60 * RATE * length) for length in (2, 8)]
    pictures = [analyse(source, None) for source in minutes]
    assert max(source.longest for source in minutes) * 2 < 1 << 22
    assert pictures[0].before_db.shape == pictures[1].before_db.shape
    assert pictures[1].before_db.shape[1] <= 1200


def test_players_hold_the_same_excerpt() -> None:
    audio = signal()
    excerpt = cut_excerpt(Stem.from_array(audio, RATE), Stem.from_array(repaired(audio), RATE), 0.0)
    assert (excerpt.codec, excerpt.whole, excerpt.gain_db) == ("FLAC", True, 0.0)
    decoded = {}
    for track in excerpt.tracks:
        data, rate = soundfile.read(io.BytesIO(base64.b64decode(track.uri.split(",")[1])))
        assert rate == RATE
        decoded[track.name] = data.T
    assert np.abs(decoded["before"] - audio).max() < 1 / 32_000
    boost = 10 ** (excerpt.tracks[2].boost_db / 20)
    assert np.abs(decoded["difference"] / boost - (decoded["after"] - decoded["before"])).max() < 1e-4


def test_long_excerpts_are_cut_and_packed() -> None:
    audio = 0.3 * np.random.default_rng(0).standard_normal((1, 70 * 22_050)).clip(-3, 3)
    stem = Stem.from_array(audio, 22_050)
    excerpt = cut_excerpt(stem, None, 5.0)
    assert excerpt.codec == "MP3"
    assert not excerpt.whole
    assert excerpt.end_s - excerpt.start_s == pytest.approx(EXCERPT_S)
    assert len(excerpt.tracks[0].uri) < 5_000_000


def test_players_do_not_clip() -> None:
    audio = 4.0 * signal(1.0)
    excerpt = cut_excerpt(Stem.from_array(audio, RATE), Stem.from_array(1.1 * audio, RATE), 0.0)
    data, _ = soundfile.read(io.BytesIO(base64.b64decode(excerpt.tracks[1].uri.split(",")[1])))
    assert excerpt.gain_db < 0
    assert np.abs(data).max() < 1.0
    assert np.abs(data.T - 1.1 * audio * 10 ** (excerpt.gain_db / 20)).max() < 1e-4


def test_regions_join_detections_and_plan() -> None:
    plan = [
        item("phasiness", 0.0, 1.0, adapter="other", strength=1.0),
        item("bleed", 2.0, 4.0, adapter="bleed", strength=0.5),
        item("bleed", 2.9, 3.1, adapter="small", strength=0.5),
    ]
    found = item("bleed", 2.5, 3.5, confidence=0.8, severity=0.2)
    regions = collect_regions(
        {"detections": [found, item("bleed", 5.0, 6.0, confidence=0.6, severity=0.1)], "plan": plan}
    )
    by_start = {region.start_s: region for region in regions}
    assert by_start[2.5].adapter == "bleed"
    assert by_start[5.0].adapter is None
    assert (by_start[0.0].adapter, by_start[0.0].confidence) == ("other", None)


def test_neighbours_are_drawn_as_one_box() -> None:
    plan = [
        item("bleed", 0.0, 1.0, adapter="a"),
        item("bleed", 1.02, 2.0, 500.0, 7000.0, adapter="a"),
        item("bleed", 0.5, 1.5, 9000.0, 20_000.0, adapter="a"),
        item("bleed", 3.0, 4.0, adapter="a"),
        item("phasiness", 1.0, 2.0, adapter="a"),
    ]
    axis = MelAxis(RATE / 2)
    merged = merge_regions(collect_regions({"plan": plan}), axis, 10.0)
    first = merged[0][0]
    assert (first.start_s, first.end_s, first.low_hz, first.high_hz) == (0.0, 2.0, 300.0, 7000.0)
    assert sorted(parts for _, parts in merged) == [1, 1, 1, 2]
    boxes = draw_boxes(collect_regions({"plan": plan}), axis, 10.0, {"bleed": 0, "phasiness": 5}, most=2)
    assert len(boxes) == 2


def test_excerpt_starts_at_the_most_repaired_minute() -> None:
    places = [(10.0, 11.0, "a"), (300.0, 320.0, "a"), (330.0, 350.0, "a"), (500.0, 590.0, None)]
    plan = [item("bleed", start, end, adapter=name) for start, end, name in places if name]
    found = [item("bleed", start, end, confidence=0.9, severity=0.5) for start, end, _ in places]
    regions = collect_regions({"detections": found, "plan": plan})
    assert most_repaired_start(regions, 600.0, 60.0) == pytest.approx(299.5)
    assert most_repaired_start(regions, 50.0, 60.0) == 0.0
    assert most_repaired_start((), 600.0, 60.0) == 0.0


def test_sentences() -> None:
    plan = [item("bleed", 0, 1)] * 12
    assert (
        finding({"plan": plan, "repaired_s": 8.4}, 30.0, repaired=True)
        == "12 repairs planned, 8.4 s of 30.0 s repaired."
    )
    applied = [{"start_s": 0.0, "end_s": 1.0, "share": 0.2}, {"start_s": 5.0, "end_s": 8.0, "share": 0.6}]
    text = finding({"plan": plan, "repaired_s": 4.0, "applied": applied}, 30.0, repaired=True)
    assert text == "12 repairs planned, 4.0 s of 30.0 s repaired, on average 50% of each let through by the gate."
    heard = [{**applied[0], "opinion": 0.1}, {**applied[1], "opinion": None}]
    text = finding({"plan": plan, "repaired_s": 4.0, "applied": heard}, 30.0, repaired=True)
    assert text.endswith("on average 50% of each let through by the gates (10% of second opinions).")
    text = finding({"plan": plan, "repaired_s": 0.0, "applied": applied}, 30.0, repaired=True)
    assert text == "12 repairs planned in 30.0 s, none worth making: the stem is exactly as it was."
    summed = {"plan": plan, "repaired_s": 0.0, "unrepaired": plan, "settings": {"mixture_consistent": True}}
    text = finding(summed, 30.0, repaired=True)
    assert "exactly" not in text
    assert text.endswith("12 regions left as found.")
    assert finding({"plan": plan}, 90.0, repaired=False).startswith("12 repairs planned in 1:30 min")
    assert finding({}, 30.0, repaired=True) == "Nothing to repair in 30.0 s: the stem is exactly as it was."


def test_settings_are_words_without_folders() -> None:
    rows = dict(setting_rows({"auto_detect": True, "adapters": [{"name": "x", "strength": 0.5}], "vocoder": "me/gan"}))
    assert rows == {"auto detect": "yes", "adapters": "name x, strength 0.5", "vocoder": "me/gan"}
    for path in ("/home/me/a.wav", "C:\\Users\\me\\a.wav", "~/a.wav", "music/a.wav"):
        assert without_folders(path) == "a.wav"


def test_axes() -> None:
    axis = MelAxis.for_rate(RATE)
    assert axis.fraction(0.0) == 0.0
    assert axis.fraction(22_050) == pytest.approx(1.0)
    assert MelAxis.for_rate(192_000).top_hz == 24_000
    edges = axis.edges_hz(64)
    assert axis.fraction(float(edges[32])) == pytest.approx(0.5)
    assert [tick.label for tick in frequency_ticks(axis)][-1] == "16k"
    assert [clock(59.96, 1), clock(3661), clock(0.04, 1)] == ["1:00.0", "1:01:01", "0:00.0"]
    for duration in (0.05, 3.0, 29.9, 1800.0, 40_000.0):
        ticks = time_ticks(duration)
        assert len(ticks) <= 11
        assert ticks[-1].at <= 1.0


def test_paths() -> None:
    assert line_path(np.array([0.0, 1.0]), 0.0, 1.0) == "M0.0 100.0L1000.0 0.0"
    assert line_path(np.array([]), 0.0, 1.0) == area_path(np.array([]), 0.0, 1.0) == step_path(np.array([]), 0, 1) == ""
    assert step_path(np.array([1.0, 0.5]), 0.0, 1.0) == "M0 100V0.0H500.0V50.0H1000.0V100Z"
    quiet = np.array([1.0, 0.0, 0.0, 0.0, 1.0])
    assert line_path(quiet, 0.0, 1.0) == "M0.0 0.0L300.0 100.0M700.0 100.0L1000.0 0.0"
    assert line_path(np.zeros(5), 0.0, 1.0) == ""
    peak = np.zeros(10_000)
    peak[1234] = 1.0
    assert downsample_max(peak).max() == 1.0
    assert level_range(np.array([-13.0])).high == -12.0


def test_artifacts_keep_their_colours() -> None:
    assert artifact_styles(["phasiness"]) == {"phasiness": 5}
    mixed = artifact_styles(["phasiness", "bleed/drums", "my-own", "another"])
    assert (mixed["phasiness"], mixed["bleed/drums"]) == (5, 1)
    assert len(set(mixed.values())) == 4
