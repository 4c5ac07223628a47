"""From nothing to an installed plugin, as strangers do it: project, wheel, clean environment, a real stem, removal."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import soundfile
from clean_env import ROOT, CleanEnv
from clean_env import clean_env as clean_env
from clean_env import host_wheel as host_wheel

from stemprover.authoring import Project, build_wheel, new_project, validate

KINDS = ("lora", "detector", "vocoder", "separator")
NAMES = {kind: f"acme-{kind}" for kind in KINDS}


@pytest.fixture(scope="module", name="projects")
def generated(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    folder = tmp_path_factory.mktemp("projects")
    return {kind: new_project(Project(kind, NAMES[kind]), folder) for kind in KINDS}


@pytest.fixture(scope="module", name="wheels")
def built(projects: dict[str, Path], tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    out = tmp_path_factory.mktemp("wheels")
    sources = {**projects, "drumbleed": ROOT / "plugins" / "stemprover-lora-drumbleed"}
    return {name: build_wheel(source, out) for name, source in sources.items()}


@pytest.fixture(scope="module", name="stem")
def real_stem(clean_env: CleanEnv) -> Path:
    """A second and a half of the bundled kit, with a click in it; ``mix.wav`` lies beside it."""
    for name in ("mix", "snare"):
        audio, rate = soundfile.read(ROOT / "examples" / "east-bay" / f"{name}.flac", dtype="int16", always_2d=True)
        audio = audio[rate : rate + 3 * rate // 2]
        audio[rate // 2] = 20_000
        soundfile.write(clean_env.work / f"{name}.wav", audio, rate)
    return clean_env.work / "snare.wav"


def listed(env: CleanEnv) -> dict[str, dict[str, str]]:
    plugins = json.loads(env.run(env.bin / "stemprover", "plugins", "list", "--json"))
    return {plugin["name"]: plugin for plugin in plugins}


def test_what_is_generated_is_fit_to_be_published(projects: dict[str, Path], wheels: dict[str, Path]) -> None:
    for name, path in (*wheels.items(), *projects.items()):
        found = [finding.text for finding in validate(path)]
        untrained = ["the weights change nothing: train the adapter, then pack it again"]
        assert found == (untrained if name == "lora" else []), path


def test_strangers_plugins_live_beside_the_hosts(
    clean_env: CleanEnv, projects: dict[str, Path], wheels: dict[str, Path], stem: Path
) -> None:
    env, program = clean_env, clean_env.bin / "stemprover"
    assert {plugin["distribution"] for plugin in listed(env).values()} == {"stemprover"}, "it starts clean"
    env.run(program, "plugins", "install", *wheels.values())
    plugins = listed(env)
    assert {name: plugins[name]["status"] for name in (*NAMES.values(), "drumbleed")} == dict.fromkeys(
        (*NAMES.values(), "drumbleed"), "ok"
    )
    env.run(program, "plugins", "verify", *NAMES.values(), "drumbleed")

    options = ("--adapter", "drumbleed:0.5", "--adapter", NAMES["lora"], "--vocoder", NAMES["vocoder"])
    context = ("--mixture", stem.with_name("mix.wav"))  # alone, the gate would keep out what they do
    report = env.run(program, "enhance", stem, *context, *options, "-o", "out.wav", "--quality", "fast", "--json")
    enhanced = json.loads(report)
    assert {item["adapter"] for item in enhanced["plan"]} == {"drumbleed", NAMES["lora"]}
    assert enhanced["faults"] == []
    before, after = (soundfile.read(path, dtype="int16")[0] for path in (stem, env.work / "out.wav"))
    assert before.shape == after.shape
    assert not np.array_equal(before, after)

    found = json.loads(env.run(program, "detect", stem, "--json"))["detections"]
    assert {one["artifact"] for one in found} == {NAMES["detector"]}
    assert any(one["start_s"] <= 0.5 <= one["end_s"] for one in found), "the click is where it was put"

    env.run(program, "separate", stem, "--separator", NAMES["separator"], "-o", "stems")
    stems = sorted(path.stem for path in (env.work / "stems" / "snare").iterdir() if path.suffix == ".wav")
    assert stems == ["other", "vocals"]

    tests = [projects[kind] / "tests" for kind in KINDS]
    outcome = env.run(env.bin / "pytest", "-q", "-p", "no:cacheprovider", "--stemprover-write-metrics", *tests)
    assert "passed" in outcome
    assert "failed" not in outcome
    metrics = json.loads(env.run(program, "plugins", "info", NAMES["separator"], "--json"))["metrics"]
    assert metrics["si_sdr_gain_db"] > 0, "what the kit measured is in the manifest"

    env.run(program, "plugins", "uninstall", *NAMES.values())
    left = listed(env)
    assert not set(NAMES.values()) & left.keys()
    assert left["drumbleed"]["status"] == "ok"
    env.run(program, "enhance", stem, "--adapter", "drumbleed", "-o", "alone.wav", "--quality", "fast", "--quiet")
