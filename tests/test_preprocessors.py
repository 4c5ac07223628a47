"""Preprocessors change what the networks see, never the file; one that fails is left out."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from plugin_site import code_plugin, listed
from plugin_site import plugin_site as plugin_site
from tiny_base import tiny_base as tiny_base
from tiny_base import tiny_enhancer

from stemprover.enhance import Settings
from stemprover.plugins import PluginRunner
from stemprover.restoration.preprocess import Preprocessing
from stemprover.stems import Stem
from stemprover.testing.signals import music

HOOK = """
from stemprover.plugins import ArtifactType, hookimpl

class Step:
    def process(self, audio):
        {body}

class Finder:
    artifacts = ("buzz",)
    def score(self, block):
        return {{}}

@hookimpl
def preprocessors():
    return {{"{name}": Step}}

@hookimpl
def artifact_types():
    return (ArtifactType("buzz/{name}", "A buzz", Finder),)
"""


def runner_of(site: Path, **bodies: str) -> PluginRunner:
    for name, body in bodies.items():
        code_plugin(site, name, "hooks", HOOK.format(body=body, name=name), attribute="")
    return PluginRunner([plugin for name, plugin in listed().items() if name.startswith("acme-")])


def test_they_run_one_after_the_other(site: Path) -> None:
    view = Preprocessing(runner_of(site, first="return audio + 1.0", second="return audio * 2.0"))
    assert torch.equal(view(torch.ones(2, 4)), torch.full((2, 4), 4.0))


@pytest.mark.parametrize(
    "body",
    ["raise ValueError('no')", "return audio[:, 1:]", "return audio.double()", "return audio / 0.0", "return None"],
)
def test_one_that_fails_is_named_and_left_out(site: Path, body: str) -> None:
    runner = runner_of(site, bad=body, good="return audio * 2.0")
    view, audio = Preprocessing(runner), torch.ones(1, 8)
    for _ in range(2):
        assert torch.equal(view(audio), 2.0 * audio)
    assert [fault.name for fault in runner.faults] == ["bad"], "once is enough"


def test_without_preprocessors_the_audio_is_handed_on_as_it_is() -> None:
    audio = torch.ones(1, 8)
    assert Preprocessing(PluginRunner([]))(audio) is audio


def test_an_artifact_type_brings_its_detector(site: Path) -> None:
    runner = runner_of(site, mains="return audio")
    assert [kind.name for kind in runner.artifact_types()] == ["buzz/mains"]
    assert runner.detectors()["buzz/mains"].artifacts == ("buzz",)
    assert runner.faults == []


def test_what_the_networks_add_is_added_to_the_untouched_input(base: Path, site: Path) -> None:
    audio = music(1.5).astype(np.float32)
    audio[:, -20_000:] = 0.0
    results = []
    for body in (None, "return audio * 0.0"):
        enhancer = tiny_enhancer(base)
        if body is not None:
            enhancer.runner = runner_of(site, blind=body)
        done = enhancer.enhance(
            Stem.from_array(audio, 44_100), Settings(auto_detect=True, generic=True, quality="fast")
        )
        assert done.plan.items
        assert done.faults == ()
        results.append(done.native)
    seen, blind = results
    assert seen is not None
    assert blind is not None
    assert not np.array_equal(seen, audio), "the networks do change this stem"
    assert np.array_equal(blind, audio), "what they do not see they cannot change, and hiding it changes nothing"
