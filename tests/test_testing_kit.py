"""The conformance kit passes what keeps the promises and catches each that does not."""

from __future__ import annotations

import dataclasses
import json
import subprocess
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
import torch
from plugin_site import code_plugin
from plugin_site import plugin_site as plugin_site
from torch import Tensor

from stemprover.detection import AnalysisBlock, CellScores, n_cells
from stemprover.enhance import Enhanced, Settings
from stemprover.errors import InputError
from stemprover.plugins import PluginRunner, find, read_manifest
from stemprover.routing import Plan
from stemprover.spectral.spec import SPEC
from stemprover.stems import Stem
from stemprover.synthesis.base import VocoderInput
from stemprover.synthesis.reference import InputPhaseVocoder
from stemprover.testing import DetectorContract, SeparatorContract, VocoderContract, read_audio_pairs
from stemprover.testing.metrics import write_metrics
from stemprover.testing.repairs import RepairContract
from stemprover.testing.signals import in_format, music

Answer = Mapping[str, CellScores]


class Sound:
    """A detector that finds nothing, in the right form."""

    artifacts: tuple[str, ...] = ("buzz",)

    def score(self, block: AnalysisBlock) -> Answer:
        return {"buzz": self.scores(block, 0.0)}

    @staticmethod
    def scores(block: AnalysisBlock, value: float) -> CellScores:
        values = np.full((n_cells(block.audio.shape[-1]), SPEC.n_cell_bands), value, np.float32)
        return CellScores(values, values)


class NotANumber(Sound):
    def score(self, block: AnalysisBlock) -> Answer:
        return {"buzz": self.scores(block, float("nan"))}


class TooCertain(Sound):
    def score(self, block: AnalysisBlock) -> Answer:
        return {"buzz": self.scores(block, 1.5)}


class OneCellShort(Sound):
    def score(self, block: AnalysisBlock) -> Answer:
        scores = self.scores(block, 0.0)
        return {"buzz": CellScores(scores.probability[1:], scores.severity)}


class WrongName(Sound):
    def score(self, block: AnalysisBlock) -> Answer:
        return {"hum": self.scores(block, 0.0)}


class Meddler(Sound):
    def score(self, block: AnalysisBlock) -> Answer:
        block.audio.mul_(0.5)
        return super().score(block)


class Counter(Sound):
    calls = 0

    def score(self, block: AnalysisBlock) -> Answer:
        self.calls += 1
        return {"buzz": self.scores(block, min(1.0, 0.1 * self.calls))}


class Everywhere(Sound):
    def score(self, block: AnalysisBlock) -> Answer:
        return {"buzz": self.scores(block, 0.99)}


class FromTheStart(Sound):
    """Decides by the distance from the block's start, which means nothing."""

    def score(self, block: AnalysisBlock) -> Answer:
        scores = self.scores(block, 0.0)
        scores.probability[::2] = 0.9
        scores.probability[:5] = 0.9
        return {"buzz": scores}


def detectors_contract(made: Any) -> DetectorContract:
    class Runner(PluginRunner):
        def detectors(self) -> dict[str, Any]:
            return {"buzz": made}

    class Contract(DetectorContract):
        plugin = "buzz"

        def detector(self) -> Any:
            return made

        def runner(self) -> PluginRunner:
            return Runner([])

    return Contract()


def fails(check: Callable[..., None], *arguments: object) -> bool:
    try:
        check(*arguments)
    except AssertionError:
        return True
    return False


def test_a_detector_that_keeps_its_promises_passes() -> None:
    contract = detectors_contract(Sound())
    contract.test_every_cell_has_a_score(2, True)
    contract.test_the_audio_is_not_touched()
    contract.test_it_holds_no_state()
    contract.test_two_pieces_agree_with_the_whole()
    contract.test_silence_holds_nothing()
    contract.test_clean_input_passes()


@pytest.mark.parametrize(
    ("broken", "check"),
    [
        (NotANumber, lambda c: c.test_every_cell_has_a_score(1, False)),
        (TooCertain, lambda c: c.test_every_cell_has_a_score(1, False)),
        (OneCellShort, lambda c: c.test_every_cell_has_a_score(1, False)),
        (WrongName, lambda c: c.test_every_cell_has_a_score(1, False)),
        (Meddler, lambda c: c.test_the_audio_is_not_touched()),
        (Counter, lambda c: c.test_it_holds_no_state()),
        (FromTheStart, lambda c: c.test_two_pieces_agree_with_the_whole()),
        (Everywhere, lambda c: c.test_clean_input_passes()),
        (NotANumber, lambda c: c.test_clean_input_passes()),
    ],
)
def test_a_detector_that_breaks_a_promise_is_caught(
    broken: type[Sound], check: Callable[[DetectorContract], None]
) -> None:
    assert fails(check, detectors_contract(broken()))


class Halves:
    """A separator whose stems are the mixture at two levels."""

    name = "halves"
    stems = ("vocals", "other")
    sample_rate = 44_100

    def separate(self, audio: Tensor) -> dict[str, Tensor]:
        return {"vocals": 0.25 * audio, "other": 0.75 * audio}


class Late(Halves):
    def separate(self, audio: Tensor) -> dict[str, Tensor]:
        return {"vocals": audio[:, 1:], "other": audio}


class Loud(Halves):
    def separate(self, audio: Tensor) -> dict[str, Tensor]:
        return {"vocals": 3.0 * audio, "other": audio}


class Forgetful(Halves):
    def separate(self, audio: Tensor) -> dict[str, Tensor]:
        return {"vocals": audio}


class Noisy(Halves):
    def separate(self, audio: Tensor) -> dict[str, Tensor]:
        return {"vocals": audio + 1e-3 * torch.randn_like(audio), "other": audio}


class Levelled(Halves):
    """Brings every piece to its own level, so that pieces do not fit together."""

    def separate(self, audio: Tensor) -> dict[str, Tensor]:
        ramp = torch.linspace(0.0, 1.0, audio.shape[-1])
        return {"vocals": audio * ramp, "other": audio}


class InPlace(Halves):
    def separate(self, audio: Tensor) -> dict[str, Tensor]:
        return {"vocals": audio.mul_(0.5), "other": audio}


def separators_contract(made: Halves) -> SeparatorContract:
    class Contract(SeparatorContract):
        plugin = "halves"

        def separator(self) -> Any:
            return made

    return Contract()


def test_a_separator_that_keeps_its_promises_passes() -> None:
    contract = separators_contract(Halves())
    contract.test_stems_fit_the_mixture_to_the_sample(4_001)
    contract.test_silence_stays_silent()
    contract.test_it_holds_no_state()
    contract.test_pieces_agree_with_the_whole()


@pytest.mark.parametrize(
    ("broken", "check"),
    [
        (Late, lambda c: c.test_stems_fit_the_mixture_to_the_sample(4_001)),
        (Loud, lambda c: c.test_stems_fit_the_mixture_to_the_sample(4_001)),
        (Forgetful, lambda c: c.test_stems_fit_the_mixture_to_the_sample(4_001)),
        (InPlace, lambda c: c.test_stems_fit_the_mixture_to_the_sample(4_001)),
        (Noisy, lambda c: c.test_silence_stays_silent()),
        (Noisy, lambda c: c.test_it_holds_no_state()),
        (Levelled, lambda c: c.test_pieces_agree_with_the_whole()),
    ],
)
def test_a_separator_that_breaks_a_promise_is_caught(
    broken: type[Halves], check: Callable[[SeparatorContract], None]
) -> None:
    assert fails(check, separators_contract(broken()))


@dataclasses.dataclass
class Broken:
    """A vocoder with a fault."""

    fault: Callable[[Tensor], Tensor]
    name: str = "broken"

    def synthesise(self, request: VocoderInput) -> Tensor:
        return self.fault(InputPhaseVocoder().synthesise(request))


def vocoders_contract(made: Any) -> VocoderContract:
    class Contract(VocoderContract):
        plugin = "broken"

        def vocoder(self) -> Any:
            return made

    return Contract()


def test_a_vocoder_that_keeps_its_promises_passes() -> None:
    contract = vocoders_contract(InputPhaseVocoder())
    contract.test_output_fits_the_input_to_the_sample()
    contract.test_silence_gives_silence()
    contract.test_repeated_it_gives_the_same()
    contract.test_alone_and_in_a_batch_it_does_the_same()
    contract.test_an_unchanged_magnitude_keeps_its_level()


@pytest.mark.parametrize(
    ("fault", "check"),
    [
        (lambda audio: audio[:, 1:], lambda c: c.test_output_fits_the_input_to_the_sample()),
        (lambda audio: audio.double(), lambda c: c.test_output_fits_the_input_to_the_sample()),
        (lambda audio: audio / 0.0, lambda c: c.test_output_fits_the_input_to_the_sample()),
        (lambda audio: audio + 1e-4, lambda c: c.test_silence_gives_silence()),
        (lambda audio: audio + torch.rand_like(audio), lambda c: c.test_repeated_it_gives_the_same()),
        (lambda audio: audio - audio.mean(0), lambda c: c.test_alone_and_in_a_batch_it_does_the_same()),
        (lambda audio: 2.0 * audio, lambda c: c.test_an_unchanged_magnitude_keeps_its_level()),
    ],
    ids=["short", "wide", "infinite", "noisy", "random", "mixed up", "loud"],
)
def test_a_vocoder_that_breaks_a_promise_is_caught(
    fault: Callable[[Tensor], Tensor], check: Callable[[VocoderContract], None]
) -> None:
    assert fails(check, vocoders_contract(Broken(fault)))


def repairs_contract(change: Callable[[np.ndarray, Settings], np.ndarray]) -> RepairContract:
    """A repair that does to the samples what ``change`` says."""

    class Contract(RepairContract):
        plugin = "x"

        def settings(self, strength: float = 1.0, seed: int = 0) -> Settings:
            return Settings(auto_detect=True, strength=strength, seed=seed)

        def enhance(self, audio: np.ndarray, sample_rate: int, settings: Settings | None = None) -> Enhanced:
            stem = Stem.from_array(audio, sample_rate)
            chosen = settings or self.settings()
            native = change(stem.read_native(0, stem.format.samples), chosen)
            return Enhanced(stem, chosen, Plan(), (), {}, (), {}, native=native)

    return Contract()


def test_a_repair_that_does_nothing_passes() -> None:
    contract = repairs_contract(lambda native, settings: native)
    contract.test_length_channels_rate_and_sample_type_are_kept("16-bit stereo at 44.1 kHz")
    contract.test_silence_stays_silent()
    contract.test_nothing_clips_and_all_is_finite()
    contract.test_strength_zero_is_the_identity()
    contract.test_same_seed_same_samples()
    contract.test_clean_input_passes()


_calls = iter(range(1000))


@pytest.mark.parametrize(
    ("change", "check"),
    [
        (
            lambda native, settings: native[:, 1:],
            lambda c: c.test_length_channels_rate_and_sample_type_are_kept("16-bit stereo at 44.1 kHz"),
        ),
        (
            lambda native, settings: native + 1,
            lambda c: c.test_length_channels_rate_and_sample_type_are_kept("16-bit stereo at 44.1 kHz"),
        ),
        (lambda native, settings: native + np.float32(1e-6), lambda c: c.test_silence_stays_silent()),
        (lambda native, settings: 3 * native, lambda c: c.test_nothing_clips_and_all_is_finite()),
        (lambda native, settings: native * np.float32("nan"), lambda c: c.test_nothing_clips_and_all_is_finite()),
        (lambda native, settings: native // 2, lambda c: c.test_strength_zero_is_the_identity()),
        (lambda native, settings: native * np.float32(next(_calls)), lambda c: c.test_same_seed_same_samples()),
        (lambda native, settings: native[::-1], lambda c: c.test_clean_input_passes()),
    ],
    ids=["short", "wrong steps", "hiss", "clipping", "not a number", "strength", "random", "harm"],
)
def test_a_repair_that_breaks_a_promise_is_caught(
    change: Callable[[np.ndarray, Settings], np.ndarray], check: Callable[[RepairContract], None]
) -> None:
    assert fails(check, repairs_contract(change))


def test_what_is_measured_goes_into_manifest_and_card(site: Path) -> None:
    folder = code_plugin(site, "clicks", "detector", "entry = 1\n")
    card = folder.parent / "README.md"
    card.write_text("# Card\n<!-- metrics -->\nNot measured yet.\n<!-- /metrics -->\n")
    write_metrics("clicks", {"found_share": 0.9, "benchmark": "3 own pairs"})
    write_metrics("clicks", {"found_share": 1.0})
    assert read_manifest(folder).metrics == {"found_share": 1.0, "benchmark": "3 own pairs"}
    assert "| `found_share` | 1 |" in card.read_text()
    assert find("clicks").status == "ok"


def test_pairs_are_read_from_folders_of_equal_names(tmp_path: Path) -> None:
    audio = in_format(music(0.2), "int16").T
    for role in ("clean", "artifact", "mixture"):
        (tmp_path / role).mkdir()
        soundfile.write(tmp_path / role / "song-vocals.wav", audio, 44_100)
    (pair,) = read_audio_pairs(tmp_path)
    assert (pair.name, pair.stem_class, pair.sample_rate) == ("song-vocals", "vocals", 44_100)
    assert pair.mixture is not None
    soundfile.write(tmp_path / "artifact" / "song-vocals.wav", audio[:-5], 44_100)
    with pytest.raises(InputError, match="as long as its clean file"):
        read_audio_pairs(tmp_path)
    (tmp_path / "artifact" / "song-vocals.wav").unlink()
    with pytest.raises(InputError, match="name both files alike"):
        read_audio_pairs(tmp_path)
    with pytest.raises(InputError, match="make them first"):
        read_audio_pairs(tmp_path / "nowhere")


def test_the_pytest_plugin_is_light_and_changes_no_other_suite(tmp_path: Path) -> None:
    (tmp_path / "test_it.py").write_text("def test_it():\n    assert True\n")
    code = "import sys, pytest; pytest.main(['-q', '-p', 'no:cacheprovider']); "
    code += "heavy = {'torch', 'numpy', 'diffusers'} & set(sys.modules); "
    code += "import json; print(json.dumps([sorted(heavy), 'stemprover.testing.plugin' in sys.modules]))"
    done = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, check=True)
    assert "1 passed" in done.stdout
    assert json.loads(done.stdout.splitlines()[-1]) == [[], True]
