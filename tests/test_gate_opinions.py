"""Gates of second opinions learn from networks that never heard the music."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import pytest
import torch
from tiny_base import FlagBand, tiny_base, tiny_enhancer

from stemprover.data.pairs import Pair, PairAudio, write_pair
from stemprover.errors import TrainingError
from stemprover.evaluation import si_sdr
from stemprover.separation.layout import KIT_STEMS, STEMS
from stemprover.separation.mask_unet import MaskUNet
from stemprover.separation.trained import TrainedSeparator, load_network
from stemprover.spectral.spec import SPEC
from stemprover.synthesis.arbiter import Arbiter
from stemprover.training.arbiters import TrainedArbiter, classes_of
from stemprover.training.gate_draws import SPOILED, Draw
from stemprover.training.gate_opinions import Opinions

__all__ = ["tiny_base"]

RATE = SPEC.sample_rate
SAMPLES = 3 * RATE
NOISE = np.random.default_rng(3)
VOICE, DRUMS = (0.1 * NOISE.standard_normal((2, 2, SAMPLES))).astype(np.float32)
VOICE[:, : RATE // 2] = 0.0
VOICE[:, -RATE // 2 :] = 0.0
DRUMS *= np.abs(VOICE) > 0
POOR = VOICE + np.float32(0.5) * DRUMS


@pytest.fixture(name="judge")
def tiny_judge(tmp_path: Path) -> TrainedSeparator:
    torch.manual_seed(0)
    MaskUNet(channels=(4, 4)).save_pretrained(tmp_path / "judge")
    return TrainedSeparator("mask-unet", tmp_path / "judge", frozenset({"known"}))


def pair_in(folder: Path, **described: object) -> Pair:
    description = {"song": "song", "stem": "vocals", "separator": "hpss", "split": "train", "has_siblings": True,
                   "sdr_db": 6.0, "severity": 0.8, **described}  # fmt: skip
    return write_pair(folder, 0, PairAudio(VOICE, POOR, VOICE + DRUMS, {}), description)


def test_gates_learn_from_what_separators_say_that_never_heard_the_music(
    base: Path, judge: TrainedSeparator, tmp_path: Path
) -> None:
    opinions = Opinions(tiny_enhancer(base, FlagBand()), [judge])
    pair = pair_in(tmp_path / "pairs", sources=["one", "another"])
    assert pair.sources == ("one", "another")
    assert opinions.fits(Draw(pair))
    assert opinions.fits(Draw(pair, quality=SPOILED))
    assert not any(opinions.fits(draw) for draw in (Draw(pair, alone=True), Draw(pair, quality="best")))
    for field, value in (("song", "known"), ("sources", ("one", "known")), ("stem", "other"), ("has_siblings", False)):
        assert not opinions.fits(Draw(dataclasses.replace(pair, **{field: value}))), field
    outcome = opinions(Draw(pair))
    mixture = torch.from_numpy(VOICE + DRUMS)
    heard = load_network(judge.folder)(mixture[None])[0, STEMS.index("vocals")].numpy()
    gains = outcome.gains_db(torch.ones(len(outcome.seen), SPEC.n_bands))[1]
    assert len(gains) == 1, "one segment"
    inside = slice(RATE // 2, SAMPLES - RATE // 2)
    after, before = (si_sdr(VOICE[:, inside], one[:, inside]) for one in (heard, POOR))
    assert gains[0].item() == pytest.approx(after - before, abs=0.5)
    assert not torch.equal(opinions(Draw(pair, quality=SPOILED)).change, outcome.change)


def test_gates_learn_from_what_arbiters_settle_that_never_heard_the_music(
    base: Path, judge: TrainedSeparator, tmp_path: Path
) -> None:
    torch.manual_seed(0)
    arbiter = Arbiter(classes_of(STEMS), width=8).eval()
    torch.nn.init.normal_(arbiter.head.weight, std=0.5)
    arbiter.save_pretrained(tmp_path / "arbiter")
    settling = TrainedArbiter(tmp_path / "arbiter", frozenset({"one"}), arbiter.classes)
    pair = pair_in(tmp_path / "pairs", sources=["another"])
    enhancer = tiny_enhancer(base, FlagBand())
    opinions = Opinions(enhancer, [judge], [settling])
    assert opinions.made_with.keys() - Opinions(enhancer, [judge]).made_with.keys() == {"arbiter 1"}
    assert opinions.fits(Draw(pair))
    known = dataclasses.replace(pair, sources=("one",))
    assert not opinions.fits(Draw(known)), "the arbiter learned on it"
    assert not opinions.fits(Draw(dataclasses.replace(pair, song="synth", sources=()))), "it may have learned on it"
    another = dataclasses.replace(settling, heard=frozenset({"another"}))
    assert Opinions(enhancer, [judge], [another, settling]).fits(Draw(pair))
    assert Opinions(enhancer, [judge], [settling, another]).fits(Draw(known))
    of_kits = dataclasses.replace(settling, classes=KIT_STEMS)
    assert Opinions(enhancer, [judge], [of_kits]).fits(Draw(known)), "answers on other classes are taken as they are"
    gain = opinions(Draw(pair)).gains_db(torch.ones(1, SPEC.n_bands))[1].item()
    stem, mixture = torch.from_numpy(POOR)[None], torch.from_numpy(VOICE + DRUMS)[None]
    with torch.no_grad():
        answer = load_network(judge.folder)(mixture)[:, STEMS.index("vocals")]
        settled = arbiter.settle(stem, answer, mixture, "vocals")[0].numpy()
    inside = slice(RATE // 2, SAMPLES - RATE // 2)
    after, alone, before = (si_sdr(VOICE[:, inside], one[:, inside]) for one in (settled, answer[0].numpy(), POOR))
    assert gain == pytest.approx(after - before, abs=0.3)
    assert abs(alone - after) > 1.0, "it matters that it is settled"


def test_pieces_of_a_kit_are_judged_by_separators_of_kits(base: Path, judge: TrainedSeparator, tmp_path: Path) -> None:
    torch.manual_seed(0)
    MaskUNet(channels=(4, 4), stems=KIT_STEMS).save_pretrained(tmp_path / "kit_judge")
    kit_judge = TrainedSeparator("mask-unet", tmp_path / "kit_judge", frozenset({"roots"}), KIT_STEMS)
    pair = pair_in(tmp_path / "pairs", stem="snare", sources=["bluebird"])
    enhancer = tiny_enhancer(base, FlagBand())
    both = Opinions(enhancer, [judge, kit_judge])
    assert both.fits(Draw(pair))
    assert both.fits(Draw(dataclasses.replace(pair, stem="vocals", sources=("roots",))))
    assert not both.fits(Draw(dataclasses.replace(pair, sources=("roots",))))
    assert not Opinions(enhancer, [judge]).fits(Draw(pair))
    inside = slice(RATE // 2, SAMPLES - RATE // 2)
    heard = load_network(kit_judge.folder)(torch.from_numpy(VOICE + DRUMS)[None])[0, KIT_STEMS.index("snare")].numpy()
    gain = both(Draw(pair)).gains_db(torch.ones(1, SPEC.n_bands))[1].item()
    after, before = (si_sdr(VOICE[:, inside], one[:, inside]) for one in (heard, POOR))
    assert gain == pytest.approx(after - before, abs=0.5)


def test_what_opinions_depend_on_is_noted(base: Path, judge: TrainedSeparator, tmp_path: Path) -> None:
    enhancer = tiny_enhancer(base, FlagBand())
    before = Opinions(enhancer, [judge]).made_with
    MaskUNet(channels=(4, 8)).save_pretrained(judge.folder)
    after = Opinions(enhancer, [judge]).made_with
    assert [name for name in before if before[name] != after[name]] == ["separator 1"]
    with pytest.raises(
        TrainingError, match=r"expected separators for drums, bass, other, vocals or kick, .*got .* wind"
    ):
        Opinions(enhancer, [dataclasses.replace(judge, stems=("voice", "wind"))])
