"""Plugins that fail within a run: named, left out, and the file is written from what the others did."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pytest
from adapter_site import install, trained_adapter  # noqa: F401 - fixture
from plugin_site import code_plugin
from plugin_site import plugin_site as plugin_site
from safetensors.torch import load_file
from tiny_base import FlagBand
from tiny_base import tiny_base as tiny_base

from stemprover.detection import AnalysisBlock, CellScores
from stemprover.enhance import AdapterChoice, Enhancer, Settings
from stemprover.errors import ModelError, OptionError
from stemprover.models import Models
from stemprover.plugins import EMBEDDED, disable, installed
from stemprover.restoration.lora_file import PREFIX, write_adapter
from stemprover.stems import Stem

RATE = 44_100
SETTINGS = Settings(auto_detect=True, generic=True, quality="fast", vocoder="input-phase")


def stem() -> Stem:
    """Three seconds of a tone, loud enough for :class:`FlagBand`."""
    return Stem.from_array(0.3 * np.sin(np.arange(3 * RATE) * 0.05)[None], RATE, "vocals")


def enhancer(base: Path | None, *detectors: FlagBand) -> Enhancer:
    """The host's own plugins and those of the test."""
    models = Models(base, "cpu", "float32")
    plugins = installed(base=models.identity)
    chosen = [plugin for plugin in plugins if plugin in EMBEDDED or plugin.distribution.startswith("acme-")]
    return Enhancer(models, chosen, detectors=detectors or (FlagBand(),))


def test_without_detectors_it_says_why_there_are_none(site: Path) -> None:
    models = Models(None, "cpu", "float32")
    with pytest.raises(OptionError, match="got none installed; run 'stemprover plugins install detectors'"):
        Enhancer(models, EMBEDDED).load_detectors()
    code_plugin(site, "clicks", "detector", "raise RuntimeError('imported')")
    plugins = [plugin for plugin in installed(safe_mode=True) if plugin.distribution == "acme-clicks"]
    with pytest.raises(OptionError, match="got clicks: safe mode runs no plugins; name adapters"):
        Enhancer(models, plugins).load_detectors()
    disable("clicks")
    plugins = [plugin for plugin in installed() if plugin.distribution == "acme-clicks"]
    with pytest.raises(OptionError, match="got clicks: switched off; 'stemprover plugins enable clicks'"):
        Enhancer(models, plugins).load_detectors()


@dataclasses.dataclass(frozen=True)
class Faulty(FlagBand):
    """Detector that fails in one of several ways."""

    way: str = ""

    def score(self, block: AnalysisBlock) -> Mapping[str, CellScores]:
        scores = super().score(block)[self.artifact]
        if self.way == "raises":
            raise ValueError("no idea")
        if self.way == "exits":
            raise SystemExit(1)
        if self.way == "shape":
            return {"bleed/bass": CellScores(scores.probability[:-1], scores.severity[:-1])}
        if self.way == "name":
            return {"bleed/\x1b[31m": scores}
        return {"bleed/bass": CellScores(scores.probability * np.nan, scores.severity)}

    def rules(self, alone: bool) -> Mapping[str, object]:
        return {"bleed": "strict"} if self.way == "rules" else {}


@pytest.mark.parametrize("way", ["raises", "exits", "shape", "name", "nan", "rules"])
def test_detector_that_fails_is_left_out(base: Path, way: str) -> None:
    both = enhancer(base, Faulty(way=way), FlagBand())
    done, alone = both.enhance(stem(), SETTINGS), enhancer(base, FlagBand()).enhance(stem(), SETTINGS)
    assert [fault.name for fault in done.faults] == ["Faulty"]
    assert done.faults[0].reason.isprintable()
    assert done.detections == alone.detections != ()
    assert np.array_equal(done.audio, alone.audio)
    again = both.enhance(stem(), SETTINGS)  # it is not asked again, and not reported twice
    assert again.faults == done.faults
    assert both.enhance(stem(), SETTINGS, plan_only=True).faults == done.faults


def test_without_any_answer_nothing_is_written(base: Path, tmp_path: Path) -> None:
    with pytest.raises(OptionError, match="Faulty: ValueError: 'no idea'"):
        enhancer(base, Faulty(way="raises")).enhance(stem(), SETTINGS, output=tmp_path / "out.wav")
    assert list(tmp_path.glob("*.wav")) == []


VOCODER = """
import torch

class entry:
    name = "shouter"
    calls = 0

    def synthesise(self, request):
        {}
"""


@pytest.mark.parametrize(
    ("answer", "reason"),
    [
        ("raise RuntimeError('hoarse')", "RuntimeError: 'hoarse'"),
        ("return torch.zeros(1, 7)", "a spectrum of shape"),
        ("return torch.full(request.degraded.shape[:1] + (request.n_samples,), float('nan'))", "NaN or infinity"),
    ],
)
def test_the_hosts_vocoder_takes_over_from_one_that_fails(site: Path, base: Path, answer: str, reason: str) -> None:
    code_plugin(site, "shouter", "vocoder", VOCODER.format(answer))
    done = enhancer(base).enhance(stem(), dataclasses.replace(SETTINGS, vocoder="shouter"))
    own = enhancer(base).enhance(stem(), dataclasses.replace(SETTINGS, vocoder="embedded"))
    assert [fault.name for fault in done.faults] == ["shouter"]
    assert reason in done.faults[0].reason
    assert np.array_equal(done.audio, own.audio)


def test_vocoder_that_works_is_used(site: Path, base: Path) -> None:
    answer = "return 0.2 * torch.ones(request.degraded.shape[0], request.n_samples)"
    code_plugin(site, "shouter", "vocoder", VOCODER.format(answer))
    done = enhancer(base).enhance(stem(), dataclasses.replace(SETTINGS, vocoder="shouter"))
    own = enhancer(base).enhance(stem(), SETTINGS)
    assert done.faults == ()
    assert not np.array_equal(done.audio, own.audio)


def test_vocoder_that_cannot_start_is_an_error_before_anything_is_written(
    site: Path, base: Path, tmp_path: Path
) -> None:
    code_plugin(site, "shouter", "vocoder", "raise RuntimeError('no voice')")
    settings = dataclasses.replace(SETTINGS, vocoder="shouter")
    with pytest.raises(ModelError, match="no voice"):
        enhancer(base).enhance(stem(), settings, output=tmp_path / "out.wav")
    assert list(tmp_path.glob("*.wav")) == []


def test_adapter_whose_answer_is_not_finite_leaves_its_segments(site: Path, tmp_path: Path, trained: Path) -> None:
    weights = load_file(trained / "adapter_model.safetensors")
    loud = {key.removeprefix(PREFIX): 1e18 * value for key, value in weights.items()}
    config = json.loads((trained / "adapter_config.json").read_text())
    write_adapter(tmp_path / "loud", config, loud, {})
    install(site, "overflow", tmp_path / "loud")
    settings = Settings(adapters=(AdapterChoice("overflow"),), quality="fast")
    done = enhancer(None).enhance(stem(), settings)
    assert done.plan.items
    assert [fault.name for fault in done.faults] == ["overflow"]
    assert np.isfinite(done.audio).all()
