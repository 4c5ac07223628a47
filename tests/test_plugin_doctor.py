"""What the doctor says: what is broken fails, what a plugin could still use is advice."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import pytest
from plugin_site import code_plugin, lora
from plugin_site import plugin_site as plugin_site
from test_cli import run

WRAPPER = "raise SystemExit('the doctor imports nothing')"


def wrapper(site: Path, name: str, **needs: str) -> Path:
    """Install a plugin that wraps others' modules; returns its manifest."""
    manifest = code_plugin(site, name, "vocoder", WRAPPER) / "stemprover.json"
    manifest.write_text(json.dumps(json.loads(manifest.read_text()) | {"needs": needs}))
    return manifest


def doctor(capsys: pytest.CaptureFixture[str]) -> tuple[int, list[dict[str, Any]]]:
    """Exit code, and what is said of the plugins of the test's own site."""
    code, out, _ = run(capsys, "plugins", "doctor", "--json")
    return code, [one for one in json.loads(out) if one["name"] in {"choir", "solo", "there", "drums"}]


def test_what_plugins_still_need_is_advice_with_a_command_and_no_failure(
    site: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for name in ("choir", "solo"):
        wrapper(site, name, json="python", acme_net="acme[all]")
    wrapper(site, "there", json="python")
    what, command = "needs acme_net, which is not installed", "python -m pip install 'acme[all]'"
    code, out, _ = run(capsys, "plugins", "doctor")
    assert code == 0
    assert out.startswith("nothing is broken\n")
    assert f"\nchoir, solo: {what}\n  advice:  {command}\n" in out, "once for both, since one command brings it"
    advised = [{"name": name, "what": what, "mend": command, "broken": False} for name in ("choir", "solo")]
    assert doctor(capsys) == (0, advised)
    assert not {"acme_choir", "acme_solo"} & set(sys.modules)


def test_one_command_brings_everything_that_one_plugin_needs(site: Path, capsys: pytest.CaptureFixture[str]) -> None:
    wrapper(site, "choir", acme_net="acme[all]", acme_more="acme[all]", acme_rest="rest")
    (advice,) = doctor(capsys)[1]
    assert advice["what"] == "needs acme_net and acme_more and acme_rest, which are not installed"
    assert advice["mend"] == "python -m pip install 'acme[all]' 'rest'"
    printed = run(capsys, "plugins", "list")[1]
    assert f"\nchoir: {advice['what']}: pip install 'acme[all]' 'rest'\n" in printed, "the list says the same"


def test_a_fault_beside_advice_still_fails(site: Path, capsys: pytest.CaptureFixture[str]) -> None:
    wrapper(site, "choir", acme_net="acme[all]")
    lora(site, "drums")  # made for another base than the host's
    code, found = doctor(capsys)
    assert (code, {one["name"]: one["broken"] for one in found}) == (2, {"choir": False, "drums": True})
    code, out, _ = run(capsys, "plugins", "doctor")
    assert code == 2
    assert "nothing is broken" not in out
    assert "\n  mend:  stemprover plugins install --upgrade 'acme-drums'\n" in out
    assert "\n  advice:  python -m pip install 'acme[all]'\n" in out


def test_nothing_is_advised_for_what_is_switched_off_or_broken(site: Path, capsys: pytest.CaptureFixture[str]) -> None:
    wrapper(site, "choir", acme_net="acme[all]")
    manifest = wrapper(site, "solo", acme_net="acme[all]")
    manifest.write_text(json.dumps(json.loads(manifest.read_text()) | {"host": ">=9"}))
    run(capsys, "plugins", "disable", "choir")
    code, found = doctor(capsys)
    assert (code, [(one["name"], one["broken"]) for one in found]) == (2, [("solo", True)])
