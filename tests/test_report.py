"""The report: pictures that show what is in the audio, and a page that holds and loads nothing else."""

from __future__ import annotations

import base64
import io
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
from PIL import Image

from stemprover.evaluation import compare
from stemprover.report import ReportInput, plot_png, write_html
from stemprover.report.analysis import FLOOR_DB, analyse
from stemprover.report.axes import MelAxis, clock, frequency_ticks, time_ticks
from stemprover.report.boxes import draw_boxes, merge_regions
from stemprover.report.charts import area_path, downsample_max, level_range, line_path, step_path
from stemprover.report.pictures import change_image, spectrogram_image, top_db
from stemprover.report.players import EXCERPT_S, cut_excerpt
from stemprover.report.regions import collect_regions, most_repaired_start
from stemprover.report.styles import artifact_styles, glow
from stemprover.report.wording import finding, setting_rows, without_folders
from stemprover.stems import Stem

RATE = 44_100
SECONDS = 4.0


def signal(seconds: float = SECONDS, rate: int = RATE, channels: int = 2) -> np.ndarray:
    time = np.arange(round(seconds * rate)) / rate
    tones = 0.3 * np.sin(2 * np.pi * 440 * time) + 0.1 * np.sin(2 * np.pi * 5000 * time)
    return np.tile(tones, (channels, 1)) + 1e-4 * np.random.default_rng(0).standard_normal((channels, time.size))


def repaired(audio: np.ndarray, rate: int = RATE) -> np.ndarray:
    """Turn seconds 1 to 2 down, and leave every other sample alone."""
    result = audio.copy()
    result[:, rate : 2 * rate] *= 0.5
    return result


def item(artifact: str, start: float, end: float, low: float = 300.0, high: float = 6000.0, **more: Any) -> dict:
    return {"artifact": artifact, "start_s": start, "end_s": end, "low_hz": low, "high_hz": high, **more}


def summary(**more: Any) -> dict[str, Any]:
    found = {"confidence": 0.91, "severity": 0.4}
    left = item("hf-distortion", 2.5, 3.0, 9000.0, 20_000.0, **found)
    return {
        "version": "0.1.0",
        "input": "/home/someone/secret project/vocals.wav",
        "output": "/home/someone/secret project/vocals.enhanced.wav",
        "detections": [item("bleed/drums", 1.0, 2.0, **found), left],
        "plan": [item("bleed/drums", 1.0, 2.0, adapter="drumbleed", strength=0.8)],
        "unrepaired": [left | {"install": "pip install stemprover-lora-hfdistortion"}],
        "repaired_s": 1.0,
        "timings_s": {"detect": 0.5, "restore": 1.5},
        "settings": {"quality": "fast", "mixture": "/home/someone/secret project/song.wav", "adapters": []},
        **more,
    }


def report_input(with_after: bool = True, **more: Any) -> ReportInput:
    audio = signal()
    after = Stem.from_array(repaired(audio), RATE) if with_after else None
    lanes = {"bleed/drums": np.linspace(0, 1, 11, dtype=np.float32), "hf-distortion": np.zeros(11, np.float32)}
    return ReportInput(summary(**more), Stem.from_array(audio, RATE), after, lanes, 0.3715)


@pytest.fixture(scope="module")
def page(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("report") / "vocals.report.html"
    report = report_input()
    reference = signal()
    metrics = compare(reference, reference + 0.01, repaired(reference), RATE, names=["si_sdr", "phase_coherence"])
    write_html(path, ReportInput(report.summary, report.before, report.after, report.lanes, report.cell_s, metrics))
    return path


def test_page_says_what_was_found_in_one_sentence(page: Path) -> None:
    text = page.read_text("utf-8")
    assert "1 repair in 1.0 s of 4.0 s; 1 region left as found." in text
    assert "<h1>vocals.wav</h1>" in text
    for part in ("drumbleed", "pip install stemprover-lora-hfdistortion", "SI-SDR", "Against the reference", "restore"):
        assert part in text


def test_page_holds_everything_and_no_folder(page: Path) -> None:
    text = page.read_text("utf-8")
    assert not re.findall(r"""(?:src|href|action)=["'](?!data:)""", text)
    assert "url(" not in text
    assert "@import" not in text
    assert "default-src 'none'" in text
    assert "secret project" not in text
    assert "song.wav" in text
    assert [entry.name for entry in page.parent.iterdir()] == [page.name]


def test_pictures_and_players_have_names_for_screen_readers(page: Path) -> None:
    text = page.read_text("utf-8")
    assert all('alt="Spectrogram' in tag for tag in re.findall(r"<img [^>]*>", text))
    assert len(re.findall(r"<img ", text)) == 3
    for tag in re.findall(r"<svg [^>]*>", text):
        assert "aria-label=" in tag or 'aria-hidden="true"' in tag
    assert re.findall(r'data-track="(\w+)"', text) == ["before", "after", "difference"]


def test_regions_lie_where_they_were_found(page: Path) -> None:
    text = page.read_text("utf-8")
    box = re.search(
        r'<g class="art-1" data-tip="bleed/drums\n([^"]*)"><rect class="halo" x="([\d.]+)" y="([\d.]+)"', text
    )
    assert box is not None
    assert "confidence 91%, severity 40%" in box[1]
    assert "adapter drumbleed at 0.8" in box[1]
    assert float(box[2]) == pytest.approx(250.0, abs=0.1)
    assert float(box[3]) == pytest.approx(1000 * (1 - MelAxis(RATE / 2).fraction(6000.0)), abs=0.1)
    assert '<g class="art-6 left" data-tip="hf-distortion' in text


def test_names_are_escaped(tmp_path: Path) -> None:
    hostile = "<script>alert(1)</script>"
    more = {"input": f"{hostile}.wav", "detections": [item(f'"{hostile}', 1.0, 2.0)], "settings": {"quality": hostile}}
    write_html(tmp_path / "page.html", report_input(**more))
    text = (tmp_path / "page.html").read_text("utf-8")
    assert "<script>alert" not in text
    assert text.count("<script>") == 1


def test_page_without_repair_shows_only_before(tmp_path: Path) -> None:
    write_html(tmp_path / "page.html", report_input(with_after=False, plan=[], unrepaired=[], output=None))
    text = (tmp_path / "page.html").read_text("utf-8")
    assert "2 regions found in 4.0 s." in text
    assert re.findall(r'data-track="(\w+)"', text) == ["before"]
    assert len(re.findall("<img ", text)) == 1


def test_failure_leaves_the_old_page_and_no_litter(tmp_path: Path) -> None:
    path = tmp_path / "page.html"
    path.write_text("old")

    class Broken:
        format = Stem.from_array(signal(), RATE).format

        def read(self, start: int, stop: int) -> np.ndarray:
            raise OSError("disk gone")

    report = report_input()
    with pytest.raises(OSError, match="disk gone"):
        write_html(path, ReportInput(report.summary, Broken(), None, report.lanes, report.cell_s))
    assert path.read_text() == "old"
    path.unlink()
    path.mkdir()
    with pytest.raises(OSError, match=r"page\.html"):
        write_html(path, report)
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize(
    ("audio", "rate"),
    [
        (np.zeros((1, 3000)), 8000),
        (signal(0.5, 192_000, 6), 192_000),
        (3.0 * signal(1.0), RATE),
        (np.ones((2, 1)), RATE),
        (signal(1.0, 37_800, 1), 37_800),
    ],
    ids=["silent 8 kHz mono", "192 kHz 5.1", "beyond full scale", "one sample", "odd rate"],
)
def test_any_audio_makes_a_page_and_a_plot(tmp_path: Path, audio: np.ndarray, rate: int) -> None:
    stem = Stem.from_array(audio, rate)
    report = ReportInput({"input": "stem.wav"}, stem, Stem.from_array(0.5 * audio, rate), {}, 0.3715)
    write_html(tmp_path / "page.html", report)
    plot_png(tmp_path / "plot.png", report)
    assert "Nothing to repair" in (tmp_path / "page.html").read_text("utf-8")
    assert "nan" not in re.sub(r"base64,[^\"]*", "", (tmp_path / "page.html").read_text("utf-8"))
    assert Image.open(tmp_path / "plot.png").size[0] > 1000


def test_plot_draws_regions_and_lanes(tmp_path: Path) -> None:
    report = report_input()
    plot_png(tmp_path / "with.png", report)
    plot_png(tmp_path / "without.png", ReportInput({"input": "x"}, report.before, None, {}, 0.3715))
    image, plain = Image.open(tmp_path / "with.png"), Image.open(tmp_path / "without.png")
    assert image.height > plain.height  # lanes
    colours = {colour for _, colour in image.convert("RGB").getcolors(1 << 24)}
    assert tuple(bytes.fromhex(glow(1)[1:])) in colours
    assert sorted(entry.name for entry in tmp_path.iterdir()) == ["with.png", "without.png"]


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
    assert finding({"plan": plan, "repaired_s": 8.4}, 30.0, repaired=True) == "12 repairs in 8.4 s of 30.0 s."
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


def open_in_browser(page: Path, profile: Path) -> str:
    """The ``<html ...>`` tag after the page's scripts have run."""
    browser = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
    if browser is None:
        pytest.skip("Chromium is not installed")
    switches = (
        "--headless --no-sandbox --disable-gpu --disable-quic --no-first-run --disable-background-networking "
        "--disable-component-update --disable-sync --virtual-time-budget=10000 --dump-dom"
    )
    command = [browser, *switches.split(), f"--user-data-dir={profile}", page.as_uri()]
    result = subprocess.run(command, capture_output=True, text=True, timeout=120, check=True)
    opening = re.search(r"<html[^>]*>", result.stdout)
    assert opening is not None
    return opening[0]


@pytest.mark.browser
def test_page_opens_in_a_browser(page: Path, tmp_path: Path) -> None:
    """Every player knows its length, every picture is decoded, no script error, and nothing was asked for outside."""
    opening = open_in_browser(page, tmp_path)
    assert 'data-ready="3 players, 3 pictures"' in opening, opening
    assert 'data-requests="0"' in opening
    assert "data-error" not in opening


_SWITCH_AND_SEEK = """<script>
const audible = () => [...document.querySelectorAll("audio")].filter((audio) => !audio.muted);
const seek = document.querySelector(".seek");
const began = audible()[0].dataset.track;
seek.value = 1.5;
seek.dispatchEvent(new Event("input"));
document.querySelector('input[value="after"]').click();
const heard = audible().map((audio) => audio.dataset.track + "@" + audio.currentTime);
document.dispatchEvent(new KeyboardEvent("keydown", { key: "3" }));
const difference = audible()[0];
document.documentElement.dataset.seen = [began, ...heard, difference.dataset.track, difference.volume < 1].join(" ");
document.querySelector('[data-toggle="1"]').click();
document.documentElement.dataset.hidden = [...document.querySelectorAll(".boxes .art-1")].every(
  (box) => box.style.display === "none");
</script>"""


@pytest.mark.browser
def test_switching_players_keeps_the_position(page: Path, tmp_path: Path) -> None:
    copy = tmp_path / "page.html"
    copy.write_text(page.read_text("utf-8").replace("</body>", _SWITCH_AND_SEEK + "</body>"), encoding="utf-8")
    opening = open_in_browser(copy, tmp_path / "profile")
    assert 'data-seen="before after@1.5 difference true"' in opening, opening
    assert 'data-hidden="true"' in opening
    assert "data-error" not in opening
