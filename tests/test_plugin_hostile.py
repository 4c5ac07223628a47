"""Hostile plugins: the host lists them, works without them and removes them; the docs say what users see.

``STEMPROVER_WRITE_DOCS=1 python -m pytest tests/test_plugin_hostile.py`` writes the table in docs/plugins/security.md.
"""

from __future__ import annotations

import dataclasses
import json
import os
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
from adapter_site import trained_adapter  # noqa: F401 - fixture
from hostile_plugins import IMPORTED, MARKER, Hostile, good_plugins, hostile_plugins
from plugin_wheels import Environment, wheel

from stemprover.plugins import base_identity

ROOT = Path(__file__).parent.parent
PAGE = ROOT / "docs" / "plugins" / "security.md"
STEM = ROOT / "examples" / "detroit-garage" / "kick.flac"
BEGIN, END = "<!-- hostile: begin -->\n", "<!-- hostile: end -->\n"
WEIGHTS = {"pickle", "changed", "nan", "shape", "rank"}
"""Cases that only loading shows."""
LIMIT_S = "6"
"""Plugins that hang do so for so long; what works answers in a fraction of a second."""
SHORT_LIMIT_S = "2"
"""Separators have six times as long."""


@dataclasses.dataclass(frozen=True)
class Seen:
    """What a user sees of all hostile plugins together; ``failures`` is of separators and metrics, by name."""

    environment: Environment
    cases: tuple[Hostile, ...]
    listed: dict[str, dict[str, Any]]
    run: dict[str, Any]
    noise: str
    failures: dict[str, str]
    mends: dict[str, str]
    removed: str
    audio: tuple[np.ndarray, np.ndarray]

    @property
    def faults(self) -> dict[str, str]:
        """Why plugins were left out of the run, by name."""
        return {fault["name"]: fault["reason"] for fault in self.run["faults"]}


@pytest.fixture(scope="module", name="seen")
def everything_at_once(tmp_path_factory: pytest.TempPathFactory, trained: Path) -> Seen:
    """Install all of them, list, run, ask the doctor, remove all of them, list again."""
    folder = tmp_path_factory.mktemp("hostile")
    environment = Environment(folder)
    environment.variables |= {"STEMPROVER_PLUGIN_TIMEOUT": LIMIT_S, MARKER: str(folder / "unpickled")}
    environment.variables[IMPORTED] = str(folder / "imported")
    cases = hostile_plugins(trained)
    good = good_plugins(trained)
    wheels = [wheel(folder / "wheels", case.distribution, case.files) for case in cases]
    wheels += [wheel(folder / "wheels", name, files) for name, files in good.items()]
    environment.pip("install", "--no-deps", *wheels)
    audio, rate = soundfile.read(STEM, frames=2 * 44_100)
    soundfile.write(folder / "kick.wav", audio, rate)
    listed = environment.listed()
    look_without_running(environment, folder / "imported")
    arguments = ("kick.wav", "--auto-detect", "--quality", "fast", "--json", "--report", "none", "-o", "out.wav")
    run = environment.run("enhance", *arguments, cwd=folder)
    assert run.returncode == 0, run.stderr
    failures = failures_at_work(environment, folder, cases)
    assert {"raises", "exits", "loops", "prints"} <= set((folder / "imported").read_text().split())
    (folder / "imported").unlink()
    doctor = environment.run("plugins", "doctor")
    assert doctor.returncode == 2, doctor.stderr
    removed = environment.run("plugins", "uninstall", *(case.distribution for case in cases))
    assert removed.returncode == 0, removed.stderr
    assert set(environment.listed()) == set(good)
    assert not (folder / "imported").exists(), "neither the doctor nor the removal imports anything"
    mends = re.findall(r"(?m)^([\w-]+): .*\n  mend:  (.*)$", doctor.stdout)
    result = soundfile.read(folder / "out.wav")[0]
    return Seen(
        environment,
        cases,
        listed,
        json.loads(run.stdout),
        run.stderr,
        failures,
        dict(mends),
        removed.stdout,
        (audio, result),
    )


def look_without_running(environment: Environment, imported: Path) -> None:
    """Use all commands that only look at plugins or switch them, and see that they import none."""
    for name in ("raises", "loops", "acme-corrupt", "acme-twin-copy", "nan"):
        for command in ("info", "disable", "enable"):
            done = environment.run("plugins", command, name)
            assert done.returncode == 0, f"{command} {name}: {done.stderr}"
    assert environment.run("plugins", "verify").returncode == 2
    assert environment.run("plugins", "lock").returncode == 2, "what is broken is left out, and named"
    assert environment.run("plugins", "search", "bleed").returncode == 0
    assert not imported.exists(), imported.read_text()


def failures_at_work(environment: Environment, folder: Path, cases: tuple[Hostile, ...]) -> dict[str, str]:
    """Use every separator and all metrics; returns what is said of each, empty for one that did its work."""
    environment.variables |= {"STEMPROVER_PLUGIN_TIMEOUT": SHORT_LIMIT_S}
    said: dict[str, str] = {}
    for name in (case.name for case in cases if case.name.startswith("separator-")):
        run = environment.run("separate", "kick.wav", "--separator", name, "-o", f"of-{name}", cwd=folder)
        written = sorted(path.name for path in (folder / f"of-{name}").rglob("*.wav"))
        assert written == ([] if run.returncode else ["drums.wav", "other.wav"]), "all stems or none"
        assert "noise" not in run.stdout
        assert "Traceback" not in run.stderr
        said[name] = run.stderr.strip().removeprefix("stemprover: ") if run.returncode else ""
    environment.variables |= {"STEMPROVER_PLUGIN_TIMEOUT": LIMIT_S}
    run = environment.run("evaluate", "--reference", "kick.wav", "--estimate", "kick.wav", "--json", cwd=folder)
    scores = json.loads(run.stdout)["mean"]
    warned = dict(re.findall(r"(?m)^stemprover: warning: plugin ([\w-]+) was left out: (.*)$", run.stderr))
    for name in (case.name for case in cases if case.name.startswith("metric-")):
        assert (name in scores) is (name not in warned)
        said[name] = warned.get(name, "")
    assert "sdr" in scores
    return said


def test_all_are_listed_and_named_by_what_is_wrong(seen: Seen) -> None:
    assert set(seen.listed) == {case.distribution for case in seen.cases} | {"acme-finder", "acme-repairer"}
    status = {name.removeprefix("acme-"): plugin["status"] for name, plugin in seen.listed.items()}
    broken = {name for name, one in status.items() if one == "broken"}
    assert broken == {"corrupt", "huge", "twin-copy", "missing", "bin", "slip", "slip-weights"}
    assert {name for name, one in status.items() if one == "incompatible"} == {"api", "base"}
    assert all(plugin["reason"] for plugin in seen.listed.values() if plugin["status"] != "ok")
    assert all(plugin["reason"].isprintable() for plugin in seen.listed.values())


def test_the_run_names_and_leaves_out_those_that_fail(seen: Seen) -> None:
    assert set(seen.faults) == {
        *("raises", "exits", "loops", "score-raises", "score-hangs", "score-nan", "hook-exits"),
        *WEIGHTS,
    }
    for name in ("loops", "score-hangs"):
        assert "no answer within" in seen.faults[name]


def test_separators_and_metrics_that_fail_are_named(seen: Seen) -> None:
    for kind, printed in (("separator", True), ("metric", False)):
        for way, what in (("raises", "ValueError: 'no idea'"), ("exits", "SystemExit: '1'"), ("hangs", "no answer")):
            said = seen.failures[f"{kind}-{way}"]
            assert what in said
            assert ("--separator light" in said) is printed
        assert seen.failures[f"{kind}-prints"] == ""


def test_the_others_do_their_work(seen: Seen) -> None:
    assert {item["artifact"] for item in seen.run["detections"]} == {"bleed/drums"}
    assert {item["adapter"] for item in seen.run["plan"]} == {"repairer"}
    before, after = seen.audio
    assert before.shape == after.shape
    assert np.isfinite(after).all()
    assert not np.array_equal(before, after)


def test_nothing_was_unpickled_and_noise_stays_off_standard_output(seen: Seen) -> None:
    assert not Path(seen.environment.variables[MARKER]).exists()
    assert "noise" in seen.noise


def test_the_doctor_has_a_command_for_each_that_is_broken(seen: Seen) -> None:
    static = {plugin["name"] for plugin in seen.listed.values() if plugin["status"] in ("broken", "incompatible")}
    assert static | WEIGHTS == set(seen.mends)
    assert all(command.startswith("stemprover plugins ") for command in seen.mends.values())


def test_all_are_removed(seen: Seen) -> None:
    for case in seen.cases:
        assert f"removed ({case.distribution} 1.2)" in seen.removed


def test_the_table_in_the_docs_says_what_users_see(seen: Seen) -> None:
    text = PAGE.read_text(encoding="utf-8")
    before, _, rest = text.partition(BEGIN)
    _, _, after = rest.partition(END)
    page = before + BEGIN + table(seen) + END + after
    if os.environ.get("STEMPROVER_WRITE_DOCS"):
        PAGE.write_text(page, encoding="utf-8")
    assert PAGE.read_text(encoding="utf-8") == page, "run it with STEMPROVER_WRITE_DOCS=1"


def table(seen: Seen) -> str:
    """One row per case: what lists and runs show, and the doctor's command, or the one that switches it off."""
    rows = ["| the plugin | `plugins list` | in a run | what helps |", "|---|---|---|---|"]
    for case in seen.cases:
        plugin = seen.listed[case.distribution]
        state = f"**{plugin['status']}**" + (f": {plugin['reason']}" if plugin["reason"] else "")
        usable = plugin["status"] == "ok"
        fault = (seen.faults | seen.failures).get(plugin["name"]) if usable else None
        runs = "runs; what it prints goes to standard error" if "noise" in str(case.files) else "runs"
        ends = "ends `separate`: " if plugin["kind"] == "separator" else "left out: "
        doing = ends + fault if fault else runs if usable else "not used"
        mend = seen.mends.get(plugin["name"], f"stemprover plugins disable {plugin['name']}") if fault else ""
        mend = mend if usable else seen.mends[plugin["name"]]
        cells = (case.title, state, doing, f"`{mend}`" if mend else "")
        rows.append("| " + " | ".join(_shown(cell, seen) for cell in cells) + " |")
    return "\n".join(rows) + "\n"


def _shown(text: str, seen: Seen) -> str:
    """A cell without what depends on this machine or on the base of the day."""
    text = text.replace(str(seen.environment.site), "site-packages").replace(base_identity().sha256[:12], "\u2026")
    for changing in (r"[0-9a-f]{64}", r"(?<=unet\.)[\w.]+", r"(?<=controlnet\.)[\w.]+", r"(?<=\()\d+(?:, \d+)+(?=\))"):
        text = re.sub(changing, "\u2026", text)
    return text.replace("|", "\\|")
