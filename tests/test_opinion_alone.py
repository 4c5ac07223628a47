"""Opinions on stems that come alone: a separator hears the stem itself; its arbiters and gates are others."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import numpy as np
import pytest
import torch
from click.testing import CliRunner
from safetensors.torch import load_file
from tiny_base import FlagBand, tiny_base, tiny_enhancer

from stemprover.cli.main import cli
from stemprover.data.pairs import Pair, PairAudio, load, write_pair
from stemprover.enhance import Enhancer
from stemprover.enhanced import Enhanced, Settings
from stemprover.errors import ModelError, TrainingError
from stemprover.evaluation import si_sdr
from stemprover.separation.layout import STEMS
from stemprover.separation.mask_unet import MaskUNet
from stemprover.separation.trained import TRAINED_ON, TrainedSeparator, find_separators, load_network
from stemprover.spectral.spec import SPEC
from stemprover.spectral.stft import stft
from stemprover.stems import Stem, StemSet
from stemprover.synthesis.arbiter import ARBITER_SPEC, Arbiter, load_arbiter, products
from stemprover.synthesis.gate import constant_gate, load_gate
from stemprover.synthesis.opinion import Judge, SecondOpinion, take_answer
from stemprover.training.answers import answers_path, make_answers
from stemprover.training.arbiters import TrainedArbiter, classes_of, find_arbiters
from stemprover.training.arbitration import KnownAnswers
from stemprover.training.gate_draws import SPOILED, Draw
from stemprover.training.gate_opinions import Opinions
from stemprover.training.runs import train_gate

__all__ = ["tiny_base"]

RATE = SPEC.sample_rate
SAMPLES = 3 * RATE
SETTINGS = Settings(auto_detect=True, generic=True, quality="fast")
Judges = tuple[SecondOpinion | None, SecondOpinion | None]
"""Beside others, and alone."""
NOISE = np.random.default_rng(3)
VOICE, DRUMS = (0.1 * NOISE.standard_normal((2, 2, SAMPLES))).astype(np.float32)
POOR = VOICE + np.float32(0.5) * DRUMS


def louder(heard: torch.Tensor) -> torch.Tensor:
    """Every stem is what is heard, at other levels."""
    return torch.stack([level * heard for level in (1.0, 1.5, 2.0, 0.5)], 1)


def enhanced(base: Path, judges: Judges, stem_class: str = "vocals", mixture: Stem | None = None) -> Enhanced:
    tiny = tiny_enhancer(base, FlagBand())
    asked = lambda _stem_class, alone: judges[alone]  # noqa: E731
    enhancer = Enhancer(tiny.models, tiny.plugins, [FlagBand()], constant_gate(0.0), asked)
    return enhancer.enhance_set(StemSet((Stem.from_array(POOR, RATE, stem_class),), mixture), SETTINGS)[0]


@pytest.fixture(name="judge")
def tiny_judge(tmp_path: Path) -> TrainedSeparator:
    torch.manual_seed(0)
    MaskUNet(channels=(4, 4)).save_pretrained(tmp_path / "judge")
    (tmp_path / "judge" / TRAINED_ON).write_text(json.dumps({"heard": ["known"]}))
    (judge,) = find_separators(tmp_path / "judge")
    return judge


def pair_in(folder: Path, number: int = 0, **described: object) -> Pair:
    description = {"song": "song", "stem": "vocals", "separator": "hpss", "split": "train", "has_siblings": True,
                   "sdr_db": 6.0, "severity": 0.8, "sources": ["another"], **described}  # fmt: skip
    return write_pair(folder, number, PairAudio(VOICE, POOR, VOICE + DRUMS, {}), description)


def test_a_stem_alone_has_judges_of_its_own(base: Path) -> None:
    alone = Judge(louder, take_answer, constant_gate(1.0))
    silent = Judge(lambda heard: 0.0 * louder(heard), take_answer, constant_gate(1.0))
    judges = (SecondOpinion(STEMS, silent), SecondOpinion(STEMS, alone))
    done = enhanced(base, judges)
    middle = slice(RATE, 2 * RATE)
    np.testing.assert_allclose(done.audio[:, middle], 0.5 * POOR[:, middle], atol=1e-4)
    beside = enhanced(base, judges, mixture=Stem.from_array(VOICE + DRUMS, RATE))
    assert np.abs(beside.audio[:, middle]).max() < 1e-3, "the mixture is known: its judge is asked"
    assert np.array_equal(enhanced(base, (judges[0], None)).audio, POOR), "nobody hears stems alone"
    assert np.array_equal(enhanced(base, judges, "other").audio, POOR), "the rest of what is not known"
    rest = enhanced(base, judges, "other", Stem.from_array(VOICE + DRUMS, RATE))
    assert np.array_equal(rest.audio, POOR), "nor is it with the mixture"
    assert np.array_equal(enhanced(base, judges, "snare").audio, POOR), "the judge knows no snares"


def test_what_is_kept_is_about_the_stem_itself(judge: TrainedSeparator, tmp_path: Path) -> None:
    voice = pair_in(tmp_path / "pairs")
    make_answers([voice], [judge], tmp_path / "kept", alone=True)
    audio = load(voice)
    heard = torch.from_numpy(judge.separate(audio.artifact, []))[STEMS.index("vocals")]
    signals = (torch.from_numpy(audio.artifact), heard, torch.from_numpy(audio.artifact), torch.from_numpy(audio.clean))
    wanted = products([stft(each[None], ARBITER_SPEC) for each in signals])[0]
    kept = load_file(answers_path(tmp_path / "kept", voice))["products"]
    torch.testing.assert_close(kept, wanted, rtol=1e-3, atol=1e-3)
    with pytest.raises(TrainingError, match="others of what separators hear"):
        make_answers([voice], [judge], tmp_path / "kept")
    for cleaner in (False, True):
        drawn = KnownAnswers([voice], tmp_path / "kept", classes_of(STEMS), 64, 0, varied=True, cleaner=cleaner)
        stem, mixture = drawn.batch(0).products[:, [0, 7]].unbind(1)
        differing = ((stem - mixture).abs().amax((1, 2)) > 1e-3 * mixture.amax((1, 2))).float().mean()
        assert (differing > 0.05) == cleaner, "a cleaner stem alone would have another answer"


def test_arbiters_and_gates_are_for_the_one_or_the_other(base: Path, judge: TrainedSeparator, tmp_path: Path) -> None:
    pairs = tmp_path / "pairs"
    trained = pair_in(pairs, has_siblings=False)
    pair_in(pairs, 100, split="validation", has_siblings=False)
    common = ["--pairs", str(pairs), "--opinions", str(judge.folder), "--steps", "2", "--batch-size", "2"]
    done = CliRunner().invoke(cli, ["train", "arbiter", *common, "--alone", "--out", str(tmp_path / "run")])
    assert done.exit_code == 0, done.output
    (arbiter,) = find_arbiters(tmp_path / "run" / "final")
    assert arbiter.alone
    told = CliRunner().invoke(cli, ["train", "arbiter", *common, "--out", str(tmp_path / "no")]).exception
    assert "with siblings" in str(told)
    alone = ["train", "gate", "--pairs", str(pairs), "--alone", "--out", str(tmp_path)]
    assert "expected --alone beside --opinions" in str(CliRunner().invoke(cli, alone).exception)

    enhancer = tiny_enhancer(base, FlagBand())
    with pytest.raises(TrainingError, match=r"for stems beside others, got .* for stems that come alone"):
        Opinions(enhancer, [judge], [arbiter])
    with pytest.raises(TrainingError, match="expected arbiters for stems that come alone"):
        Opinions(enhancer, [judge], [dataclasses.replace(arbiter, alone=False)], alone=True)
    unheard = TrainedArbiter(arbiter.folder, frozenset(), arbiter.classes, alone=True)
    assert Opinions(enhancer, [judge], [unheard], alone=True).fits(Draw(trained))


def test_gates_learn_from_what_is_heard_in_the_stem_itself(base: Path, judge: TrainedSeparator, tmp_path: Path) -> None:
    pair = pair_in(tmp_path / "pairs")
    enhancer = tiny_enhancer(base, FlagBand())
    opinions = Opinions(enhancer, [judge], alone=True)
    assert opinions.made_with.items() > Opinions(enhancer, [judge]).made_with.items()
    assert opinions.fits(Draw(pair))
    assert opinions.fits(Draw(dataclasses.replace(pair, has_siblings=False)))
    assert not opinions.fits(Draw(dataclasses.replace(pair, stem="other"))), "what it is depends on the others"
    assert not opinions.fits(Draw(pair, alone=True)), "the same once more"
    outcome = opinions(Draw(pair))
    heard = load_network(judge.folder)(torch.from_numpy(POOR)[None])[0, STEMS.index("vocals")].numpy()
    gain = outcome.gains_db(torch.ones(len(outcome.seen), SPEC.n_bands))[1].mean().item()
    after, before = (si_sdr(VOICE, one) for one in (heard, POOR))
    assert gain == pytest.approx(after - before, abs=0.5)
    beside = Opinions(enhancer, [judge])(Draw(pair))
    assert not torch.equal(beside.seen, outcome.seen)
    deaf = tiny_enhancer(base, FlagBand(above=2.0))
    assert torch.equal(Opinions(deaf, [judge], alone=True)(Draw(pair)).seen, outcome.seen), "all of it counts as found"
    assert len(Opinions(deaf, [judge])(Draw(pair)).seen) == 0
    spoiled = opinions(Draw(pair, quality=SPOILED))
    assert not torch.equal(spoiled.seen, Opinions(enhancer, [judge])(Draw(pair, quality=SPOILED)).seen)


def test_a_gate_learns_from_stems_alone_that_have_no_siblings(
    base: Path, judge: TrainedSeparator, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    torch.manual_seed(0)
    Arbiter(classes_of(STEMS), width=8, alone=True).save_pretrained(tmp_path / "arbiter")
    (tmp_path / "arbiter" / TRAINED_ON).write_text(json.dumps({"heard": ["known"]}))
    pairs = tmp_path / "pairs"
    pair_in(pairs, has_siblings=False)
    pair_in(pairs, 100, split="validation", has_siblings=False)
    monkeypatch.setattr(Enhancer, "from_pretrained", lambda device: tiny_enhancer(base, FlagBand()))
    told = {"opinions": judge.folder, "arbiters": tmp_path / "arbiter", "overrides": {"steps": 2, "batch_size": 2}}
    gate = load_gate(train_gate(pairs, tmp_path / "run", count=1, alone=True, **told))
    assert gate.deviation.min() > 0
    (kept,) = (tmp_path / "run" / "opinions" / "train").glob("train-000000.safetensors")
    outcome = load_file(kept)
    own, answer = torch.from_numpy(POOR)[None], load_network(judge.folder)(torch.from_numpy(POOR)[None])
    settled = load_arbiter(tmp_path / "arbiter", alone=True).settle(
        own, answer[:, STEMS.index("vocals")], own, "vocals"
    )
    change = (settled[0].numpy() - POOR)[:, RATE : 2 * RATE]
    assert 10 * np.log10(np.square(change).mean() / np.square(POOR).mean()) == pytest.approx(
        10 * np.log10(outcome["change"].sum().item() / outcome["stem"].sum().item()), abs=1.0
    )
    with pytest.raises(TrainingError, match="pairs in which something is found"):
        train_gate(pairs, tmp_path / "beside", count=1, opinions=judge.folder)


def test_an_arbiter_of_the_other_stems_is_refused(tmp_path: Path) -> None:
    Arbiter(classes_of(STEMS), width=8).save_pretrained(tmp_path)
    with pytest.raises(
        ModelError, match=r"expected an arbiter for stems that come alone in .*, got one for stems beside"
    ):
        load_arbiter(tmp_path, alone=True)
