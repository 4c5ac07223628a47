"""Which separator does the work: the light one, or a plugin's."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch
from plugin_site import code_plugin, listed
from plugin_site import plugin_site as plugin_site
from separation_songs import read, song
from test_cli import run

from stemprover.errors import OptionError, PluginError
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


def test_what_a_separator_wraps_and_is_not_there_is_told(site: Path, capsys: pytest.CaptureFixture[str]) -> None:
    package = code_plugin(site, "acme", "separator", "raise SystemExit('a list imports nothing')")
    manifest = json.loads((package / "stemprover.json").read_text())
    manifest |= {
        "stems": ["vocals", "other"],
        "sample_rate": 8000,
        "needs": {"json": "python", "acme_net": "acme[all]"},
    }
    (package / "stemprover.json").write_text(json.dumps(manifest))
    needed = "needs acme_net, which is not installed: pip install 'acme[all]'"
    facts = json.loads(run(capsys, "plugins", "info", "acme", "--json")[1])
    assert (facts["status"], facts["reason"]) == ("ok", needed)
    printed = run(capsys, "plugins", "list")[1]
    assert f"\nacme: {needed}\n" in printed
    row = next(line for line in printed.splitlines() if line.startswith("acme "))
    assert "  ok, needs more  vocals, other  " in row
    one = next(plugin for plugin in json.loads(run(capsys, "plugins", "list", "--json")[1]) if plugin["name"] == "acme")
    assert (one["status"], one["reason"]) == ("ok", needed)
    manifest["needs"] = {"json": "python"}
    (package / "stemprover.json").write_text(json.dumps(manifest))
    assert json.loads(run(capsys, "plugins", "info", "acme", "--json")[1])["reason"] == ""


@pytest.mark.parametrize("command", ["separate", "clean"])
def test_what_a_separator_wraps_is_looked_for_before_the_first_song(
    site: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], command: str
) -> None:
    code = PLUGIN.format(does="pass", stems="('vocals', 'other')")
    installed_plugin(site, code, needs={"acme_net": "acme[all]"})
    songs = [str(song(tmp_path / f"{name}.wav", 1.0, 8_000)) for name in "ab"]
    arguments = (command, *songs, "--separator", "acme", "-o", str(tmp_path / "out"))
    code, out, err = run(capsys, *arguments)
    assert (code, out, err.count("\n")) == (2, "", 1)
    assert "expected separator acme with all that it wraps, got one that needs acme_net, which is not installed" in err
    assert "run: pip install 'acme[all]'" in err
    assert err.count("expected") == 1
    assert not (tmp_path / "out").exists()
    (site / "acme_net.py").touch()
    if command == "separate":
        assert run(capsys, *arguments)[0] == 0


PLUGIN = """
import sys

class entry:
    name, stems, sample_rate = "acme", {stems}, 8000

    def separate(self, audio):
        print("noise")
        {does}
        return {{"vocals": audio, "other": audio}}
"""


def installed_plugin(site: Path, code: str, **changes: object) -> None:
    package = code_plugin(site, "acme", "separator", code)
    manifest = json.loads((package / "stemprover.json").read_text())
    manifest |= {"stems": ["vocals", "other"], "sample_rate": 8000} | changes
    (package / "stemprover.json").write_text(json.dumps(manifest))


def made_by_plugin(site: Path, does: str = "pass", stems: str = "('vocals', 'other')", megabytes: int = 0) -> Separator:
    installed_plugin(site, PLUGIN.format(does=does, stems=stems), download_size_mb=megabytes)
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


@pytest.mark.parametrize(
    ("kind", "expected", "shown"),
    [
        ("PluginError", "ffmpeg for separator acme", "ffmpeg for separator acme"),
        ("AudioError", "a song", "a song for plugin acme"),
    ],
)
def test_what_a_plugin_says_itself_is_told_as_it_is(site: Path, kind: str, expected: str, shown: str) -> None:
    separator = made_by_plugin(
        site, f"from stemprover import errors; raise errors.{kind}('{expected}', 'none', 'get it')"
    )
    with pytest.raises(PluginError) as caught:
        separator.separate(torch.zeros(2, 80))
    assert str(caught.value) == f"expected {shown}, got none; get it"
    for _ in range(2):  # later songs were not looked at: what was wrong with the first need not be with them
        with pytest.raises(PluginError, match="got an earlier failure of plugin acme") as caught:
            separator.separate(torch.zeros(2, 80))
    assert "--separator light" in str(caught.value)


@pytest.mark.parametrize("error", ["PluginError('a licence', 'none', 'buy one')", "ValueError('no')"])
def test_a_separator_that_does_not_start_says_so_once(site: Path, error: str) -> None:
    installed_plugin(site, f"from stemprover.errors import PluginError\ndef entry(): raise {error}")
    with pytest.raises(PluginError) as caught:
        choose_separator("acme", list(listed().values()))
    assert str(caught.value).count("expected") == 1
    assert "acme" in str(caught.value)


def test_an_error_of_a_class_of_the_plugin_s_own_is_a_failure_like_any_other(site: Path) -> None:
    does = "from stemprover import errors; raise type('Odd', (errors.PluginError,), {'__init__': lambda self: None})()"
    separator = made_by_plugin(site, does)
    with pytest.raises(PluginError, match="a failure of plugin acme"):
        separator.separate(torch.zeros(2, 80))


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
    with pytest.raises(PluginError, match=r"(separator|plugin) acme .*plugins? .*acme"):
        made_by_plugin(site, stems=stems)


def test_only_the_first_call_of_a_separator_that_downloads_may_take_very_long(
    site: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("STEMPROVER_PLUGIN_TIMEOUT", "0.2")  # six times that is 1.2 s, 24 times 4.8 s
    separator = made_by_plugin(site, "import time; time.sleep(1.8)", megabytes=1)
    assert set(separator.separate(torch.zeros(2, 80))) == {"vocals", "other"}
    with pytest.raises(PluginError, match=r"no answer within 1\.2 s"):
        separator.separate(torch.zeros(2, 80))
