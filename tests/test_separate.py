"""From songs to stems, and on to clean ones."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch
from plugin_site import code_plugin, listed
from plugin_site import plugin_site as plugin_site
from test_cli import run

from stemprover.batch.songs import plan_songs
from stemprover.errors import AudioError, OptionError, OutputError, PluginError
from stemprover.plugins import installed
from stemprover.separation.base import Separator
from stemprover.separation.choose import choose_separator
from stemprover.separation.embedded import EmbeddedSeparator
from stemprover.separation.hpss import split_percussive
from stemprover.separation.layout import STEMS
from stemprover.separation.mask_unet import MaskUNet
from stemprover.separation.songs import separate_song, stem_paths

RATE = 44_100
KIT = Path(__file__).parent.parent / "examples" / "east-bay"


@dataclasses.dataclass
class Shares:
    """Splits a mixture 3 : 1, whatever it holds; remembers how much it was given at a time."""

    sample_rate: int = 8_000
    name: str = "shares"
    stems: tuple[str, ...] = ("vocals", "instrumental")
    longest: int = 0

    def separate(self, audio: torch.Tensor) -> Mapping[str, torch.Tensor]:
        self.longest = max(self.longest, audio.shape[-1])
        return {"vocals": 0.75 * audio, "instrumental": 0.25 * audio}


class Wrong(Shares):
    """Forgets a stem in the second stretch."""

    calls = 0

    def separate(self, audio: torch.Tensor) -> Mapping[str, torch.Tensor]:
        self.calls += 1
        found = super().separate(audio)
        return found if self.calls == 1 else {"vocals": found["vocals"]}


def song(path: Path, seconds: float, rate: int, channels: int = 2, seed: int = 0) -> Path:
    audio = 0.1 * np.random.default_rng(seed).standard_normal((round(seconds * rate), channels))
    soundfile.write(path, audio, rate, "FLOAT")
    return path


def read(path: Path) -> np.ndarray:
    return soundfile.read(path, always_2d=True)[0].T


@pytest.mark.parametrize(("seconds", "channels"), [(150.0, 1), (61.3, 2), (60.0, 2), (3.9, 2), (0.01, 1)])
def test_stretches_join_without_a_trace(tmp_path: Path, seconds: float, channels: int) -> None:
    """A separator that does the same everywhere must give the same as if it had got the song in one piece."""
    path, separator = song(tmp_path / "song.wav", seconds, 8_000, channels), Shares()
    outputs = stem_paths(path, separator, tmp_path / "stems")
    separate_song(path, separator, outputs)
    audio = read(path)
    for name, share in (("vocals", 0.75), ("instrumental", 0.25)):
        assert outputs[name] == tmp_path / "stems" / "song" / f"{name}.wav"
        assert soundfile.info(outputs[name]).subtype == "FLOAT"
        found = read(outputs[name])
        assert found.shape == audio.shape
        assert np.abs(found - share * audio).max() < 1e-6
    assert separator.longest <= 60 * 8_000


def test_other_rates_are_converted_there_and_back(tmp_path: Path) -> None:
    rate = 11_025
    time = np.arange(70 * rate) / rate
    soundfile.write(tmp_path / "song.wav", 0.3 * np.sin(2 * np.pi * 440 * time), rate, "FLOAT")
    outputs = stem_paths(tmp_path / "song.wav", Shares(), tmp_path)
    separate_song(tmp_path / "song.wav", Shares(), outputs)
    found, audio = read(outputs["vocals"]), read(tmp_path / "song.wav")
    assert found.shape == audio.shape
    assert np.abs(found - 0.75 * audio)[:, 200:-200].max() < 1e-4


def test_a_separator_that_breaks_its_promise_leaves_nothing(tmp_path: Path) -> None:
    path = song(tmp_path / "song.wav", 70.0, 8_000)
    with pytest.raises(PluginError, match=r"shares to return .* for instrumental, got nothing"):
        separate_song(path, Wrong(), stem_paths(path, Wrong(), tmp_path / "stems"))
    assert [found.name for found in tmp_path.iterdir()] == ["song.wav"]


def test_songs_that_cannot_be_separated(tmp_path: Path) -> None:
    surround = song(tmp_path / "surround.wav", 0.1, 8_000, 6)
    with pytest.raises(AudioError, match="6 channels"):
        separate_song(surround, Shares(), stem_paths(surround, Shares(), tmp_path / "stems"))
    twice = [tmp_path / "a" / "song.wav", tmp_path / "b" / "song.wav"]
    jobs, failures = plan_songs([*twice, twice[0]], Shares(), tmp_path)
    assert [job.song for job in jobs] == twice[:1]
    assert [failure.source.place for failure in failures] == [str(twice[1])]
    assert "different names" in str(failures[0].error)
    (tmp_path / "song").mkdir()
    (tmp_path / "song" / "vocals.wav").touch()
    jobs, failures = plan_songs([*twice[:1], tmp_path / "other.wav"], Shares(), tmp_path)
    assert [job.song.name for job in jobs] == ["other.wav"]
    assert isinstance(failures[0].error, OutputError)
    assert "which exists" in str(failures[0].error)
    assert len(plan_songs(twice[:1], Shares(), tmp_path, overwrite=True)[0]) == 1


def test_drums_and_the_rest_sum_to_the_mixture_and_hold_what_they_should() -> None:
    time = torch.arange(2 * RATE) / RATE
    tone = 0.2 * torch.sin(2 * torch.pi * 440 * time)
    clicks = torch.zeros(2 * RATE)
    clicks[RATE // 4 :: RATE // 4] = 0.8
    mixture = (tone + clicks).repeat(2, 1)
    found = split_percussive(mixture)
    assert torch.allclose(found["drums"] + found["other"], mixture, atol=1e-6)
    for name, wanted in (("drums", clicks), ("other", tone)):
        assert float((found[name][0] - wanted).square().sum()) < 0.25 * float(wanted.square().sum()), name


def test_the_light_separator_uses_its_network_as_soon_as_there_is_one(tmp_path: Path) -> None:
    assert EmbeddedSeparator(tmp_path).stems == ("drums", "other")
    torch.manual_seed(0)
    MaskUNet().save_pretrained(tmp_path)
    separator = EmbeddedSeparator(tmp_path)
    assert isinstance(separator, Separator)
    assert separator.stems == STEMS
    audio = 0.1 * torch.randn(2, RATE, generator=torch.Generator().manual_seed(1))
    found = separator.separate(audio)
    assert all(part.shape == audio.shape and part.isfinite().all() for part in found.values())
    assert not any(part.any() for part in separator.separate(torch.zeros(2, RATE)).values())


@pytest.mark.parametrize("seconds", [0.01, 2.0, 11.0])
def test_stems_of_the_light_separator_sum_to_the_song(seconds: float) -> None:
    """Its masks alone leave a tenth of this one, more than ``--mixture-consistent`` takes for all stems of a song."""
    groove = torch.from_numpy(soundfile.read(KIT / "mix.flac", dtype="float32")[0].T)
    audio = groove.repeat(1, 2)[:, : round(seconds * RATE)]
    found = EmbeddedSeparator().separate(audio)
    assert torch.allclose(sum(found.values(), torch.zeros_like(audio)), audio, atol=1e-6)


def test_separators_are_chosen_by_name() -> None:
    assert choose_separator("light").name == "light"
    assert choose_separator("hpss").stems == ("drums", "other")
    with pytest.raises(OptionError, match=r"\(light, .*hpss.*\), got 'demux'"):
        choose_separator("demux")
    off = [dataclasses.replace(p, status="disabled", reason="switched off") for p in installed() if p.name == "hpss"]
    with pytest.raises(PluginError, match="status disabled"):
        choose_separator("hpss", off)


@pytest.mark.parametrize("name", ["light", "hpss"])
def test_info_says_what_a_separator_makes_at_which_rate_and_what_it_fetches(
    capsys: pytest.CaptureFixture[str], name: str
) -> None:
    separator = choose_separator(name)
    facts = json.loads(run(capsys, "plugins", "info", name, "--json")[1])
    assert (tuple(facts["stems"]), facts["sample_rate_hz"]) == (separator.stems, separator.sample_rate)
    assert (facts["download_mb"], facts["license"]) == (0, "Apache-2.0")
    assert "download_mb     0\n" in run(capsys, "plugins", "info", name)[1]


PLUGIN = """
import sys

class entry:
    name, stems, sample_rate = "acme", {stems}, 8000

    def separate(self, audio):
        print("noise")
        {does}
        return {{"vocals": audio, "other": audio}}
"""


def made_by_plugin(site: Path, does: str = "pass", stems: str = "('vocals', 'other')", megabytes: int = 0) -> Separator:
    package = code_plugin(site, "acme", "separator", PLUGIN.format(does=does, stems=stems))
    manifest = json.loads((package / "stemprover.json").read_text())
    manifest |= {"stems": ["vocals", "other"], "sample_rate": 8000, "download_size_mb": megabytes}
    (package / "stemprover.json").write_text(json.dumps(manifest))
    return choose_separator("acme", list(listed().values()))


@pytest.mark.parametrize(
    ("does", "reason"),
    [
        ("raise RuntimeError('out of memory')", "RuntimeError: 'out of memory'"),
        ("sys.exit(3)", "SystemExit: '3'"),
        ("return {'vocals': 'no tensor'}", "'vocals' is str, no tensor"),
        ("return None", "TypeError"),
        ("import threading; threading.Event().wait()", "no answer within 1.2 s"),
    ],
)
def test_a_plugin_that_fails_at_a_song_is_named_with_the_way_out(
    site: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, does: str, reason: str
) -> None:
    monkeypatch.setenv("STEMPROVER_PLUGIN_TIMEOUT", "0.2" if "wait" in does else "60")
    separator = made_by_plugin(site, does)
    path = song(tmp_path / "song.wav", 1.0, 8_000)
    for _ in range(2):  # the second time it is not asked again
        with pytest.raises(PluginError, match=r"--separator light") as caught:
            separate_song(path, separator, stem_paths(path, separator, tmp_path / "stems"))
        assert "plugin acme" in str(caught.value)
        assert reason in str(caught.value)
    assert not list(tmp_path.rglob("vocals.wav"))


def test_a_plugin_that_works_is_used_and_its_prints_stay_off_standard_output(
    site: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    separator, path = made_by_plugin(site), song(tmp_path / "song.wav", 1.0, 8_000)
    outputs = stem_paths(path, separator, tmp_path / "stems")
    separate_song(path, separator, outputs)
    assert np.abs(read(outputs["vocals"]) - read(path)).max() < 1e-6
    captured = capsys.readouterr()
    assert (captured.out, captured.err) == ("", "noise\n")


@pytest.mark.parametrize("stems", ["('../../up',)", "()", "('vocals', 'vocals')", "(1,)", "1 / 0"])
def test_stems_that_cannot_be_names_of_files_are_refused(site: Path, stems: str) -> None:
    with pytest.raises(PluginError, match=r"separator acme .*plugins? .*acme"):
        made_by_plugin(site, stems=stems)


def test_only_the_first_call_of_a_separator_that_downloads_may_take_very_long(
    site: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("STEMPROVER_PLUGIN_TIMEOUT", "0.2")  # six times that is 1.2 s, 24 times 4.8 s
    separator = made_by_plugin(site, "import time; time.sleep(1.8)", megabytes=1)
    assert set(separator.separate(torch.zeros(2, 80))) == {"vocals", "other"}
    with pytest.raises(PluginError, match=r"no answer within 1\.2 s"):
        separator.separate(torch.zeros(2, 80))


def cut(path: Path, seconds: float) -> Path:
    soundfile.write(path, soundfile.read(KIT / "mix.flac", frames=round(seconds * RATE))[0], RATE)
    return path


def test_separate_writes_a_stem_set_that_enhance_understands(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    mix = cut(tmp_path / "groove.flac", 2.0)
    code, out, err = run(capsys, "separate", str(mix), "--separator", "hpss", "-o", str(tmp_path / "stems"))
    assert (code, err) == (0, "")
    stems = tmp_path / "stems" / "groove"
    assert sorted(path.name for path in stems.iterdir()) == ["drums.wav", "other.wav"]
    assert f"stemprover enhance {stems} --mixture {mix} --auto-detect" in out
    assert np.abs(read(stems / "drums.wav") + read(stems / "other.wav") - read(mix)).max() < 1e-6
    assert run(capsys, "separate", str(mix), "-o", str(tmp_path / "stems"))[0] == 2
    code, _, err = run(
        capsys, "separate", str(tmp_path / "no.wav"), str(mix), "--separator", "hpss", "-o", str(tmp_path)
    )
    assert code == 1  # the other file was separated
    assert "no.wav" in err
    assert (tmp_path / "groove" / "drums.wav").is_file(), "one song that is missing does not stop the others"


def test_clean_separates_repairs_and_reports(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    mix = cut(tmp_path / "groove.flac", 2.0)
    arguments = ("--separator", "hpss", "--quality", "fast", "--mixture-consistent", "--device", "cpu", "--json")
    code, out, err = run(capsys, "clean", str(mix), "-o", str(tmp_path / "clean"), *arguments)
    assert (code, err) == (0, "")
    folder = tmp_path / "clean" / "groove"
    found = {str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file()}
    assert found == {
        f"{stem}.{kind}" for stem in ("drums", "other") for kind in ("wav", "report.html", "report.json")
    } | {"separated/drums.wav", "separated/other.wav"}
    summaries = [json.loads(line) for line in out.splitlines()]
    assert [summary["late_samples"] for summary in summaries] == [0, 0]
    assert any(summary["plan"] for summary in summaries)
    total = read(folder / "drums.wav") + read(folder / "other.wav")
    assert np.abs(total - read(mix)).max() < 1e-5
    changed = [not np.array_equal(read(folder / name), read(folder / "separated" / name)) for name in ("drums.wav",)]
    assert all(changed)


class Moody(Shares):
    """Cannot stand some songs."""

    def separate(self, audio: torch.Tensor) -> Mapping[str, torch.Tensor]:
        if audio.shape[-1] == 8_000:
            raise PluginError("a song", "a short one", "take another")
        if audio.shape[-1] == 16_000:
            raise ZeroDivisionError("nobody foresaw this")
        return super().separate(audio)


@pytest.mark.parametrize("command", ["separate", "clean"])
def test_songs_that_fail_do_not_stop_the_others(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, command: str
) -> None:
    monkeypatch.setattr("stemprover.separation.choose.choose_separator", lambda name: Moody())
    out = tmp_path / "out"
    names = ("short", "odd", "there", "good")
    songs = [song(tmp_path / f"{name}.wav", seconds, 8_000) for name, seconds in zip(names, (1, 2, 3, 3), strict=True)]
    (tmp_path / "b").mkdir()
    again = song(tmp_path / "b" / "short.wav", 3, 8_000)
    (out / "there").mkdir(parents=True)
    (out / "there" / "vocals.wav").touch()
    code, printed, err = run(capsys, command, *map(str, [*songs[:3], again, songs[3]]), "-o", str(out), "--quiet")
    assert (code, printed) == (1, "")
    assert "Traceback" not in err
    for reason in ("a short one", "ZeroDivisionError", "which exists", "different names"):
        assert reason in err
    assert (out / "good" / "vocals.wav").is_file()
    rows = (out / "failures.csv").read_text().splitlines()
    assert sorted(Path(row.split(",")[0]).name for row in rows[1:]) == [
        "odd.wav",
        "short.wav",
        "short.wav",
        "there.wav",
    ]


def test_clean_refuses_options_before_it_separates(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def no_work(*arguments: object, **options: object) -> None:
        pytest.fail("separated in vain")

    monkeypatch.setattr("stemprover.batch.songs.separate_song", no_work)
    mix, out = str(song(tmp_path / "song.wav", 1.0, 8_000)), str(tmp_path / "out")
    code, _, err = run(capsys, "clean", mix, "-o", out, "--separator", "hpss", "--strength", "3")
    assert code == 2
    assert "a strength from 0 to 1" in err
    with monkeypatch.context() as without:
        without.setattr("stemprover.plugins.PluginRunner.detectors", lambda self: {})
        code, _, err = run(capsys, "clean", mix, "-o", out, "--separator", "hpss")
    assert code == 2
    assert "a detector" in err
    for place in ("stemprover.models.EMBEDDED_VOCODER", "stemprover.restoration.weights.EMBEDDED_BASE"):
        with monkeypatch.context() as without:
            without.setattr(place, tmp_path / "nothing")
            code, _, err = run(capsys, "clean", mix, "-o", out, "--separator", "hpss", "--device", "cpu")
        assert (code, err.count("\n")) == (2, 1)
        assert str(tmp_path / "nothing") in err
    monkeypatch.setattr("stemprover.separation.choose.choose_separator", lambda name: Shares(stems=("vocals",)))
    code, _, err = run(capsys, "clean", mix, "-o", out, "--mixture-consistent")
    assert code == 2
    assert "a separator of several stems for --mixture-consistent, got shares, which makes vocals only" in err
    assert not Path(out).exists()


@pytest.mark.parametrize("command", ["separate", "clean"])
def test_songs_are_never_replaced_by_stems(tmp_path: Path, capsys: pytest.CaptureFixture[str], command: str) -> None:
    first = song(tmp_path / "song.wav", 1.0, 8_000)
    (tmp_path / "song").mkdir()
    (tmp_path / "drums").mkdir()
    second = song(tmp_path / "song" / "drums.wav", 1.0, 8_000, seed=1)
    before = second.read_bytes()
    arguments = (str(first), str(second), "--separator", "hpss", "--overwrite", "--quiet")
    code, _, err = run(capsys, command, *arguments, "-o", str(tmp_path))
    assert code == 1
    assert f"an output that is not an input, got '{second}'" in err
    assert second.read_bytes() == before
    assert (tmp_path / "drums" / "drums.wav").is_file()


def test_it_is_told_when_median_filters_stand_in(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("stemprover.separation.choose.EmbeddedSeparator", lambda: EmbeddedSeparator(tmp_path))
    mix = str(song(tmp_path / "song.wav", 1.0, 8_000))
    code, _, err = run(capsys, "separate", mix, "-o", str(tmp_path / "out"))
    assert code == 0
    assert err.count("\n") == 1
    assert "median filters give drums and other" in err
    assert run(capsys, "separate", mix, "-o", str(tmp_path / "quiet"), "--quiet") == (0, "", "")
