"""The report: pictures that show what is in the audio, and a page that holds and loads nothing else."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest
from browser import open_in_browser
from PIL import Image
from report_inputs import RATE, item, repaired, report_input, signal

from stemprover.evaluation import compare
from stemprover.report import ReportInput, plot, plot_png, write_html
from stemprover.report.axes import MelAxis
from stemprover.report.styles import glow
from stemprover.report.wording import finding
from stemprover.stems import Stem


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
    assert "1 repair planned, 1.0 s of 4.0 s repaired; 1 region left as found." in text
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


def test_the_time_spent_is_the_total_and_not_a_stage(page: Path) -> None:
    text = page.read_text("utf-8")
    assert "<strong>2.5 s</strong>" in text
    assert "1.6 \u00d7 real time" in text
    assert re.findall(r"<dt>(\w+)</dt><dd><span", text) == ["detect", "restore"]


def test_plugins_that_failed_are_named_with_their_reason(tmp_path: Path) -> None:
    write_html(tmp_path / "page.html", report_input(faults=[{"name": "acme", "reason": "ValueError: <no>"}]))
    text = (tmp_path / "page.html").read_text("utf-8")
    assert "<td>acme</td><td>ValueError: &lt;no&gt;</td>" in text
    write_html(tmp_path / "page.html", report_input())
    assert "Plugins that failed" not in (tmp_path / "page.html").read_text("utf-8")


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


def test_plot_says_what_was_found_and_not_what_would_be_done(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    said: list[str] = []
    monkeypatch.setattr(plot, "finding", lambda *args, **named: said.append(finding(*args, **named)) or said[-1])
    report = report_input()
    assert report.summary["plan"]
    plot_png(tmp_path / "plot.png", report)
    (sentence,) = said
    assert sentence.startswith(f"{len(report.summary['detections'])} region")
    assert "planned" not in sentence


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
    opening = open_in_browser(page, tmp_path, _SWITCH_AND_SEEK, ("ready", "seen", "hidden"))
    assert 'data-seen="before after@1.5 difference true"' in opening, opening
    assert 'data-hidden="true"' in opening
    assert "data-error" not in opening
