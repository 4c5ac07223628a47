"""Refiners: what they begin as, that they learn from a stem and its mixture, and what they may learn from."""

from __future__ import annotations

import json
import shutil
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
import torch
from click.testing import CliRunner

from stemprover.cli.train import train
from stemprover.data.pairs import Pair, PairAudio, write_pair
from stemprover.errors import ModelError, TrainingError
from stemprover.separation.layout import STEMS
from stemprover.separation.mask_unet import MaskUNet
from stemprover.separation.refiner import Refiner, listener
from stemprover.separation.tfc_tdf import TfcTdfUNet
from stemprover.separation.trained import TRAINED_ON, find_network, find_separators, load_network
from stemprover.training.loop import Recipe, fit
from stemprover.training.refining import RefiningTask, Stems, StereoPairs

RATE = 44_100
SAMPLES = 4 * RATE


def small_separator() -> TfcTdfUNet:
    torch.manual_seed(0)
    return TfcTdfUNet(n_fft=1024, hop=256, channels=(8, 8)).eval()


def noise(*shape: int, seed: int = 1) -> torch.Tensor:
    return 0.1 * torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


@torch.no_grad()
def test_it_begins_as_a_little_of_what_the_separator_hears() -> None:
    separator = small_separator()
    refiner = Refiner.of(separator).eval()
    mixture, stem = noise(2, 2, 9000), noise(2, 2, 9000, seed=2)
    heard = separator(mixture)
    trust, keep = torch.sigmoid(torch.tensor([-1.5, 4.0]))
    for index in range(len(STEMS)):
        refined = refiner(stem, mixture, torch.full((2,), index))
        torch.testing.assert_close(refined, (1 - trust) * keep * stem + trust * heard[:, index], atol=1e-5, rtol=1e-4)
    each = refiner(stem, mixture, torch.tensor([0, 3]))
    torch.testing.assert_close(each[1:], refiner(stem, mixture, torch.tensor([3, 3]))[1:], atol=1e-6, rtol=1e-4)


@torch.no_grad()
def test_silence_stays_silent_and_loudness_does_not_matter() -> None:
    refiner = Refiner.of(small_separator()).eval()
    torch.nn.init.normal_(refiner.embed_stem.weight, std=0.2)
    index = torch.tensor([1])
    assert not refiner(torch.zeros(1, 2, 9000), torch.zeros(1, 2, 9000), index).any()
    stem, mixture = noise(1, 2, 9000), noise(1, 2, 9000, seed=2)
    once, louder = refiner(stem, mixture, index), refiner(4 * stem, 4 * mixture, index)
    torch.testing.assert_close(louder, 4 * once, atol=1e-3, rtol=1e-3)
    assert not torch.allclose(refiner(2 * stem, mixture, index), 2 * refiner(stem, mixture, index), atol=1e-3)


@torch.no_grad()
def test_a_listener_gives_a_refiner_the_stem_and_a_separator_the_mixture() -> None:
    separator = small_separator()
    refiner = Refiner.of(separator).eval()
    stem, mixture = noise(2, 2, 9000), noise(2, 2, 9000, seed=2)
    torch.testing.assert_close(listener(separator)(stem, mixture, 3), separator(mixture)[:, 3])
    torch.testing.assert_close(listener(refiner)(stem, mixture, 3), refiner(stem, mixture, torch.tensor([3, 3])))


class _Tones:
    """A low tone is the bass, a high one the rest; stems have lost half of the tone and kept a third of the rest."""

    def batch(self, index: int) -> Stems:
        generator = torch.Generator().manual_seed(index)
        time = torch.arange(8192) / RATE
        low, high = (
            0.1 * torch.sin(2 * torch.pi * (a + (b - a) * torch.rand(4, 1, 1, generator=generator)) * time)
            for a, b in ((60, 200), (2000, 5000))
        )
        clean, rest = low.expand(-1, 2, -1), high.expand(-1, 2, -1)
        return Stems(
            torch.stack([clean, 0.5 * clean + 0.3 * rest, clean + rest]), torch.full((4,), STEMS.index("bass"))
        )


def test_it_learns_to_mend_stems_and_writes_what_it_heard(tmp_path: Path) -> None:
    task = RefiningTask(Refiner.of(small_separator()), {"b", "a"})
    before = task.validate(_Tones().batch(999))
    folder = fit(task, _Tones(), None, Recipe(steps=100, learning_rate=1e-2, precision="no", ema=0.9), tmp_path)
    with torch.no_grad():
        after = task.validate(_Tones().batch(999))
    assert after["si_gain_db"] > before["si_gain_db"] + 6
    assert after["gain_db"] > before["gain_db"] + 6
    assert after["harmed"] == 0.0
    assert json.loads((folder / TRAINED_ON).read_text()) == {"heard": ["a", "b"]}
    (found,) = find_separators(folder, refiners=True)
    assert (found.architecture, found.heard, found.stems) == ("refiner", {"a", "b"}, STEMS)
    clean, stem, mixture = _Tones().batch(999).audio
    with torch.no_grad():
        refined = listener(load_network(folder))(stem, mixture, STEMS.index("bass"))
    assert (refined - clean).norm() < 0.5 * (stem - clean).norm()
    with pytest.raises(ModelError, match="expected separators, got only refiners below"):
        find_separators(folder)
    with pytest.raises(ModelError, match="which needs nothing but a mixture, got a refiner"):
        found.separate(mixture[0].numpy(), [])
    find_network(folder)
    shutil.copytree(folder, tmp_path / "early")
    with pytest.raises(ModelError, match=r"expected one network in .*, got early, final; name one"):
        find_network(tmp_path)
    assert (torch.tensor([1e-40]) * 0.5).item() > 0, "denormal numbers are what they were for the rest of the process"


def pairs_in(
    folder: Path, *described: tuple[str, Sequence[str]], split: str = "train", song: str = "mixed"
) -> list[Pair]:
    """Pairs of these stem classes and sources; bleed at half its level."""
    written = []
    for number, (stem, sources) in enumerate(described):
        draw = np.random.default_rng(number)
        clean, rest = (0.1 * draw.standard_normal((2, 2, SAMPLES))).astype(np.float32)
        audio = PairAudio(clean, clean + np.float32(0.5) * rest, clean + rest, {})
        facts = {"song": song, "stem": stem, "separator": "hpss", "split": split, "has_siblings": stem != "bass",
                 "sdr_db": 6.0, "severity": 0.8, "sources": list(sources)}  # fmt: skip
        written.append(write_pair(folder, number + (100 if split == "validation" else 0), audio, facts))
    return written


def test_pairs_are_drawn_by_class_and_by_what_they_hold(tmp_path: Path) -> None:
    pairs_in(
        tmp_path, ("vocals", ["lithium", "solo_1"]), ("instrumental", ["neon"]), ("snare", ["roots"]), ("bass", [])
    )
    whole = StereoPairs(tmp_path, "train", STEMS, 16, 0)
    assert {pair.stem for pair in whole.pairs} == {"vocals", "instrumental"}, "no piece of a kit, none without siblings"
    assert whole.music == {"lithium", "solo_1", "neon"}
    assert {pair.stem for pair in StereoPairs(tmp_path, "train", STEMS, 1, 0, without=["solo_1"]).pairs} == {
        "instrumental"
    }
    assert {pair.stem for pair in StereoPairs(tmp_path, "train", ("kick", "snare"), 1, 0).pairs} == {"snare"}
    with pytest.raises(TrainingError, match="expected train pairs of drums, bass, other, vocals"):
        StereoPairs(tmp_path, "train", STEMS, 1, 0, without=["neon", "lithium"])
    drawn, again = whole.batch(3), StereoPairs(tmp_path, "train", STEMS, 16, 0).batch(3)
    assert torch.equal(drawn.audio, again.audio)
    assert drawn.audio.shape == (3, 16, 2, 3 * RATE)
    assert set(drawn.index.tolist()) == {STEMS.index("vocals")}, "of an instrumental the voice is refined"


def test_a_song_is_heard_though_the_manifest_names_no_sources(tmp_path: Path) -> None:
    pairs_in(tmp_path, ("vocals", []), song="lithium")
    assert StereoPairs(tmp_path, "train", STEMS, 1, 0).music == {"lithium"}
    with pytest.raises(TrainingError, match="got none with siblings and without lithium"):
        StereoPairs(tmp_path, "train", STEMS, 1, 0, without=["lithium"])
    pairs_in(tmp_path / "made", ("vocals", []), song="synth")
    assert not StereoPairs(tmp_path / "made", "train", STEMS, 1, 0).music


def test_what_comes_alone_is_its_own_mixture_and_no_instrumental_does(tmp_path: Path) -> None:
    pairs_in(tmp_path, ("vocals", ["lithium"]))
    _, stem, mixture = StereoPairs(tmp_path, "train", STEMS, 8, 0, alone_share=1.0, varied_share=1.0).batch(0).audio
    assert torch.equal(stem, mixture)
    pairs_in(tmp_path / "rest", ("instrumental", ["lithium"]))
    _, stem, mixture = StereoPairs(tmp_path / "rest", "train", STEMS, 8, 0, alone_share=1.0).batch(0).audio
    assert not torch.isclose(stem, mixture).flatten(1).all(1).any()


def test_of_an_instrumental_the_voice_is_refined(tmp_path: Path) -> None:
    """What an instrumental holds of the voice is what the voice lacks: here half of it, or less where errors shrink."""
    pairs_in(tmp_path, ("instrumental", ["neon"]))
    clean, stem, mixture = StereoPairs(tmp_path, "train", STEMS, 8, 0).batch(0).audio
    share = (stem * clean).sum((1, 2)) / clean.square().sum((1, 2))
    torch.testing.assert_close(stem, share[:, None, None] * clean, atol=1e-3, rtol=1e-3)
    assert torch.isclose(share, torch.tensor(0.5), atol=1e-3).sum() >= 5
    assert share.min() > 0.49
    assert (mixture * clean).sum() / clean.square().sum() == pytest.approx(1.0, abs=0.1)


def test_the_command_trains_from_a_separator_and_refuses_one_that_heard_too_much(tmp_path: Path) -> None:
    begun = tmp_path / "separator"
    small_separator().save_pretrained(begun)
    (begun / TRAINED_ON).write_text('{"heard": ["lithium"]}')
    pairs = tmp_path / "pairs"
    pairs_in(pairs, ("vocals", ["neon"]), ("vocals", ["sodium"]))
    pairs_in(pairs, ("vocals", ["neon"]), split="validation")
    common = ["refiner", "--pairs", str(pairs), "--start", str(begun), "--steps", "2", "--batch-size", "2"]
    done = CliRunner().invoke(train, [*common, "--without", "sod*", "--out", str(tmp_path / "run")])
    assert done.exit_code == 0, done.output
    (found,) = find_separators(tmp_path / "run" / "final", refiners=True)
    assert found.heard == {"lithium", "neon"}
    rows = [json.loads(line) for line in (tmp_path / "run" / "log.jsonl").read_text().splitlines()]
    assert {"val/gain_db", "val/si_gain_db", "val/harmed"} <= set(rows[-1])
    refused = CliRunner().invoke(train, [*common, "--without", "lithium", "--out", str(tmp_path / "no")])
    assert isinstance(refused.exception, TrainingError)
    assert "which heard lithium" in str(refused.exception)
    refused = CliRunner().invoke(train, [*common, "--without", "sodum", "--out", str(tmp_path / "no")])
    assert "a song, kit or solo out of lithium, neon, sodium, got sodum; correct --without" in str(refused.exception)
    torch.manual_seed(0)
    MaskUNet(channels=(4, 4)).save_pretrained(tmp_path / "mask")
    (tmp_path / "mask" / TRAINED_ON).write_text('{"heard": []}')
    common[4] = str(tmp_path / "mask")
    refused = CliRunner().invoke(train, [*common, "--out", str(tmp_path / "no")])
    assert "expected a tfc-tdf separator or a refiner to begin with, got mask-unet" in str(refused.exception)
