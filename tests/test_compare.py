"""Comparison of files: what the page and the picture show of signals that are known."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest
import soundfile
from browser import open_in_browser
from PIL import Image
from test_cli import run
from test_report import signal

from stemprover.errors import OptionError, OutputError, StemSetError
from stemprover.report.comparing import compare_files
from stemprover.report.comparison import open_comparison
from stemprover.report.comparison_page import apart_db, closest
from stemprover.report.waveforms import waveform, waveform_path
from stemprover.stems import Stem

RATE = 44_100


def write(path: Path, audio: np.ndarray, rate: int = RATE) -> Path:
    soundfile.write(path, audio.T, rate, "FLOAT")
    return path


@pytest.fixture(name="files", scope="module")
def three_files(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    folder, audio = tmp_path_factory.mktemp("files"), signal(2.0)
    noise = 0.1 * np.random.default_rng(1).standard_normal(audio.shape)
    return {
        "true": write(folder / "true.wav", audio),
        "close": write(folder / "close.wav", audio + 0.01 * noise),
        "far": write(folder / "far.wav", audio + noise),
        "folder": folder,
    }


@pytest.fixture(name="page", scope="module")
def page_of_three(files: dict[str, Path], tmp_path_factory: pytest.TempPathFactory) -> Path:
    page = tmp_path_factory.mktemp("page") / "compare.html"
    compare_files([files["far"], files["close"]], page, reference=files["true"])
    return page


def test_the_page_says_which_file_is_closest_and_by_how_much(page: Path) -> None:
    text = page.read_text("utf-8")
    assert re.search(r"B is closest to the reference: 4\d\.\d dB SI-SDR\.", text)
    assert "R \u2212" not in text
    assert all(f"{letter} \u2212 R" in text for letter in "AB")
    assert all(name in text for name in ("true.wav", "far.wav", "close.wav", "Log-spectral distance"))


def test_the_page_holds_everything(page: Path) -> None:
    text = page.read_text("utf-8")
    assert not re.findall(r"""(?:src|href|action)=["'](?!data:)""", text)
    assert len(re.findall("<audio ", text)) == 5
    assert all("alt=" in tag for tag in re.findall("<img [^>]*>", text))
    for tag in re.findall(r"<svg [^>]*>", text):
        assert "aria-label=" in tag or 'aria-hidden="true"' in tag
    assert str(page.parent) not in text


def test_files_are_measured_against_the_first(files: dict[str, Path]) -> None:
    with open_comparison([files["true"], files["far"], files["true"]]) as comparison:
        apart, same = comparison.analyses()
        with Stem.open(files["true"]) as stem:
            level = np.sqrt(np.mean(stem.read(0, 2 * RATE) ** 2))
    assert apart_db(apart) == pytest.approx(20 * np.log10(0.1 / level), abs=0.3)
    assert apart_db(same) <= -99.0
    assert closest(comparison) is None
    assert [file.letter for file in comparison.files] == ["A", "B", "C"]


def test_files_that_are_called_alike_are_told_apart_by_their_folders(tmp_path: Path) -> None:
    paths = [tmp_path / one / "song" / "drums.wav" for one in ("stems", "clean")] + [tmp_path / "true" / "bass.wav"]
    for path in paths:
        path.parent.mkdir(parents=True)
        write(path, signal(0.1))
    with open_comparison(paths) as comparison:
        names = [file.name for file in comparison.files]
    assert names == ["stems/song/drums.wav", "clean/song/drums.wav", "bass.wav"]


def test_a_late_file_is_named_and_moved_back(files: dict[str, Path], tmp_path: Path) -> None:
    noise = 0.1 * np.random.default_rng(2).standard_normal((2, RATE))
    true, late = write(tmp_path / "a.wav", noise), write(tmp_path / "b.wav", np.pad(noise, ((0, 0), (300, 0))))
    with open_comparison([true, late]) as comparison:
        assert comparison.files[1].offset == 300
        assert comparison.format.samples == RATE + 300
        assert apart_db(*comparison.analyses()) > 0.0
    with open_comparison([true, late], align=True) as comparison:
        assert comparison.format.samples == RATE
        assert apart_db(*comparison.analyses()) <= -99.0


def test_mono_beside_stereo(tmp_path: Path) -> None:
    audio = signal(1.0)
    paths = [write(tmp_path / "stereo.wav", audio), write(tmp_path / "mono.wav", audio[:1])]
    compare_files(paths, tmp_path / "compare.html")
    with open_comparison(paths) as comparison:
        assert comparison.files[1].source.read(0, 10).shape == (2, 10)


@pytest.mark.parametrize(
    ("first", "second", "finding"),
    [
        ("silence", "silence", "B is the same as A: nothing above -140 dBFS is left."),
        ("true", "true", "B is the same as A: nothing above -140 dBFS is left."),
        ("silence", "true", "A is silent: how far others are from it says nothing."),
        ("true", "silence", "B against A: its difference is 0.0 dB below A."),
        ("true", "twice", "B against A: its difference is 6.0 dB above A."),
        ("true", "one", "B against A: its difference is 0.0 dB below A."),
    ],
)
def test_silent_short_and_equal_files_are_shown(tmp_path: Path, first: str, second: str, finding: str) -> None:
    audio = signal(0.5)
    sounds = {"silence": 0.0 * audio, "true": audio, "twice": -audio, "one": 0.1 * audio[:1, :1]}
    paths = [write(tmp_path / f"{place}.wav", sounds[name]) for place, name in enumerate((first, second))]
    for suffix in ("html", "png"):
        compare_files(paths, tmp_path / f"c.{suffix}")
    text = (tmp_path / "c.html").read_text("utf-8")
    assert finding in text
    assert "NaN" not in text
    assert "nan" not in re.sub(r'"data:[^"]*"', "", text)


def test_a_silent_reference_gives_no_scores(tmp_path: Path) -> None:
    audio = signal(0.5)
    paths = [
        write(tmp_path / f"{name}.wav", part) for name, part in (("true", 0.0 * audio), ("a", audio), ("b", -audio))
    ]
    found = compare_files(paths[1:], tmp_path / "c.html", reference=paths[0])
    assert found.metrics == {}
    assert "The reference is silent" in (tmp_path / "c.html").read_text("utf-8")


def test_waveforms_keep_every_peak() -> None:
    audio = np.zeros((2, 100_000))
    audio[0, 12_345], audio[1, 54_321] = 0.5, -0.25
    low, high = waveform(Stem.from_array(audio, RATE))
    assert (high.max(), low.min()) == (0.5, -0.25)
    assert (int(np.argmax(high)), int(np.argmin(low))) == (123, 543)
    assert waveform_path((low, high), 0.5).count("L") == 1999


def test_the_picture_shows_the_difference_where_it_is(files: dict[str, Path], tmp_path: Path) -> None:
    audio = signal(2.0)
    louder = audio.copy()
    louder[:, RATE:] *= 2.0
    paths = [files["true"], write(tmp_path / "louder.wav", louder)]
    compare_files(paths, tmp_path / "c.png")
    image = np.asarray(Image.open(tmp_path / "c.png").convert("RGB")).astype(int)
    height, width = image.shape[:2]
    panel = image[height // 2 :, width // 2 + 60 : width - 20]
    orange = (panel[..., 0] > panel[..., 2] + 60).mean(0)
    half = orange.size // 2
    assert orange[half + 20 :].mean() > 10 * max(orange[: half - 20].mean(), 1e-6)


def test_what_cannot_be_compared(files: dict[str, Path], tmp_path: Path) -> None:
    other = write(tmp_path / "other.wav", signal(1.0), 48_000)
    for error, paths, output, words in (
        (OptionError, [files["true"]], "c.html", "two to 8 files"),
        (StemSetError, [files["true"], other], "c.html", "48000 Hz"),
        (OutputError, [files["true"], files["far"]], "c.gif", r"\.html or \.png"),
        (OutputError, [files["true"], files["far"]], "other.wav", r"\.html or \.png"),
    ):
        with pytest.raises(error, match=words):
            compare_files(paths, tmp_path / output)
    assert [path.name for path in tmp_path.iterdir()] == ["other.wav"]


def test_command_writes_once_and_overwrites_when_told(
    files: dict[str, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = ("compare", str(files["true"]), str(files["far"]), "-o", str(tmp_path / "new" / "c.html"))
    assert run(capsys, *arguments)[:2] == (0, f"wrote {tmp_path / 'new' / 'c.html'}\n")
    assert run(capsys, *arguments)[0] == 2
    assert run(capsys, *arguments, "--overwrite")[0] == 0


_LISTEN = """<script>
const players = () => [...document.querySelectorAll("audio")];
const audible = () => players().filter((audio) => !audio.muted).map((audio) => audio.dataset.track);
const began = audible()[0];
document.querySelector('[data-hear="B"]').dispatchEvent(new MouseEvent("click", { clientX: 400, bubbles: true }));
const chosen = audible()[0];
document.dispatchEvent(new KeyboardEvent("keydown", { key: "4" }));
document.documentElement.dataset.seen = [began, chosen, ...audible()].join(" ");
</script>"""


@pytest.mark.browser
def test_players_stay_in_step_in_a_browser(page: Path, tmp_path: Path) -> None:
    opening = open_in_browser(page, tmp_path / "browser", _LISTEN, ("ready", "seen"))
    assert 'data-seen="R B A \u2212 R"' in opening, opening
    assert 'data-ready="5 players, 5 pictures"' in opening
    assert 'data-requests="0"' in opening
    assert "data-error" not in opening
