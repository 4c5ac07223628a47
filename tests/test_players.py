"""The players of both pages, in a browser: one is heard at a time, and the position carries over.

What is asked is asked within one task of the page, or after an event of it, and while it plays time stands still:
nothing here depends on speed.
"""

from __future__ import annotations

import html
import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
from browser import open_in_browser
from report_inputs import report_input

from stemprover.report import write_html
from stemprover.report.comparing import compare_files

pytestmark = pytest.mark.browser

RATE = 8000
PIXEL_S = 0.2
"""More than a pixel of the narrowest picture: clicks hit whole pixels."""

_START = """<script>
(async () => {
  const root = document.documentElement;
  const players = [...document.querySelectorAll("audio")];
  const play = document.querySelector(".play");
  const named = (wanted) => players.filter(wanted).map((audio) => audio.dataset.track);
  const seen = {};
  const note = (step) => { seen[step] = {
    heard: named((audio) => !audio.muted), running: named((audio) => !audio.paused),
    at: players.map((audio) => audio.currentTime), chosen: document.querySelector('[name="track"]:checked').value,
    clock: document.querySelector(".time").textContent, button: play.getAttribute("aria-label"),
  }; };
  const choose = (name) => document.querySelector(`input[value="${name}"]`).click();
  const press = (key) => document.body.dispatchEvent(new KeyboardEvent("keydown", { key, bubbles: true }));
  const click = (box, share) => {
    const area = box.getBoundingClientRect();
    box.dispatchEvent(new MouseEvent("click", { clientX: area.left + share * area.width, bubbles: true }));
  };
  const once = (audio, event) => new Promise((go) => audio.addEventListener(event, go, { once: true }));
  const all = (event) => Promise.all(players.map((audio) => once(audio, event)));
  const seek = (at) => {
    const done = all("seeked"), slider = document.querySelector(".seek");
    slider.value = at;
    slider.dispatchEvent(new Event("input"));
    return done;
  };
  const enabled = (go) => new MutationObserver(go).observe(play, { attributeFilter: ["disabled"] });
  if (play.disabled) await new Promise(enabled);
  players.forEach((audio) => { audio.playbackRate = 0; });  // they run, and nobody has to wait for how far
"""
_END = """
  root.dataset.seen = JSON.stringify(seen);
})();
</script>"""


def seen_in_browser(page: Path, steps: str, folder: Path) -> dict[str, dict[str, Any]]:
    """What the page's players were like at each ``note`` of a script."""
    opening = open_in_browser(page, folder, f"{_START}{steps}{_END}", ("ready", "seen"))
    found = re.search(r'data-seen="([^"]*)"', opening)
    assert found is not None, opening
    assert "data-error" not in opening
    seen: dict[str, dict[str, Any]] = json.loads(html.unescape(found[1]))
    return seen


_REPORT = """
  note("opened");
  await seek(1.5);
  note("moved");
  choose("after");
  note("chosen");
  press("3");
  note("by key");
  click(document.querySelector('.before[data-hear="before"]'), 0.25);
  note("clicked");
  choose("after");
  note("chosen while it runs");
  play.click();
  note("paused");
  const begun = all("playing");
  press(" ");
  await begun;
  note("by space");
  players[0].currentTime = 2.0;
  choose("before");
  note("one ran ahead");
  players[1].dispatchEvent(new Event("ended"));
  note("another ended");
  players[0].dispatchEvent(new Event("ended"));
  note("ended");
"""


def test_a_report_plays_one_of_its_three_at_one_position(tmp_path: Path) -> None:
    write_html(tmp_path / "page.html", report_input())
    seen = seen_in_browser(tmp_path / "page.html", _REPORT, tmp_path / "browser")
    everyone = ["before", "after", "difference"]
    for step, heard, runs, at in (
        ("opened", "before", False, 0.0),
        ("moved", "before", False, 1.5),
        ("chosen", "after", False, 1.5),
        ("by key", "difference", False, 1.5),
        ("clicked", "before", True, 1.0),
        ("chosen while it runs", "after", True, 1.0),
        ("paused", "after", False, 1.0),
        ("by space", "after", True, 1.0),
        ("one ran ahead", "before", True, 1.0),
        ("another ended", "before", True, 1.0),
        ("ended", "before", False, 0.0),
    ):
        now = seen[step]
        assert (now["heard"], now["chosen"]) == ([heard], heard), step
        assert now["running"] == (everyone if runs else []), step
        assert now["button"] == ("Pause" if runs else "Play"), step
        assert now["at"] == pytest.approx([at] * 3, abs=PIXEL_S), step
        assert len(set(now["at"])) == 1, step
        assert now["clock"] == f"0:0{now['at'][0]:.1f}", step


_COMPARISON = """
  note("opened");
  await seek(5.0);
  choose("B");
  note("chosen");
  const spectrogram = document.querySelector('.spectrogram[data-hear="A"]');
  click(spectrogram, 0.1);
  note("before the excerpt");
  click(spectrogram, 0.75);
  note("inside it");
  play.click();
  click(document.querySelector('.wave[data-hear="B \u2212 A"]'), 0.5);
  note("on a difference");
"""


def test_a_comparison_is_heard_where_a_picture_is_clicked(tmp_path: Path) -> None:
    """Of 40 s the loud last 30 can be heard, so that seconds of the page and of the players differ by ten."""
    noise = 0.1 * np.random.default_rng(0).standard_normal((40 * RATE, 1))
    noise[: 10 * RATE] *= 0.01
    for name, gain in (("a", 1.0), ("b", 0.5)):
        soundfile.write(tmp_path / f"{name}.wav", gain * noise, RATE)
    compare_files([tmp_path / "a.wav", tmp_path / "b.wav"], tmp_path / "page.html")
    seen = seen_in_browser(tmp_path / "page.html", _COMPARISON, tmp_path / "browser")
    everyone = ["A", "B", "B \u2212 A"]
    for step, heard, runs, at in (
        ("opened", "A", False, 0.0),
        ("chosen", "B", False, 5.0),
        ("before the excerpt", "B", False, 5.0),
        ("inside it", "A", True, 20.0),
        ("on a difference", "B \u2212 A", True, 10.0),
    ):
        now = seen[step]
        assert (now["heard"], now["chosen"]) == ([heard], heard), step
        assert now["running"] == (everyone if runs else []), step
        assert now["at"] == pytest.approx([at] * 3, abs=PIXEL_S), step
        assert len(set(now["at"])) == 1, step
