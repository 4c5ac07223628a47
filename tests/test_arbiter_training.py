"""On what arbiters may learn: answers of separators that never heard the music, kept and shared."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
import torch
from click.testing import CliRunner
from safetensors.torch import load_file, save_file

from stemprover.cli.main import cli
from stemprover.data.pairs import Pair, PairAudio, load, write_pair
from stemprover.errors import StemProverError, TrainingError
from stemprover.separation.layout import KIT_STEMS, STEMS
from stemprover.separation.mask_unet import MaskUNet
from stemprover.separation.trained import TRAINED_ON, find_separators
from stemprover.spectral.stft import stft
from stemprover.synthesis.arbiter import ARBITER_SPEC, products
from stemprover.training.answers import answers_path, make_answers
from stemprover.training.arbiters import classes_of, find_arbiters
from stemprover.training.arbitration import KnownAnswers

RATE = 44_100
SAMPLES = 3 * RATE
CLASSES = classes_of(STEMS)


def spectra_of(*audio: torch.Tensor) -> list[torch.Tensor]:
    return [stft(each, ARBITER_SPEC) for each in audio]


def pairs_in(folder: Path, *described: tuple[str, Sequence[str]], split: str = "train") -> list[Pair]:
    """Pairs of these stem classes and sources; bleed at half its level."""
    written = []
    for number, (stem, sources) in enumerate(described):
        draw = np.random.default_rng(number)
        clean, rest = (0.1 * draw.standard_normal((2, 2, SAMPLES))).astype(np.float32)
        audio = PairAudio(clean, clean + np.float32(0.5) * rest, clean + rest, {})
        facts = {"song": "mixed", "stem": stem, "separator": "hpss", "split": split, "has_siblings": stem != "bass",
                 "sdr_db": 6.0, "severity": 0.8, "sources": list(sources)}  # fmt: skip
        written.append(write_pair(folder, number + (100 if split == "validation" else 0), audio, facts))
    return written


def separator_in(folder: Path, *heard: str, stems: tuple[str, ...] = STEMS, seed: int = 0) -> None:
    torch.manual_seed(seed)
    MaskUNet(channels=(4, 4), stems=stems).save_pretrained(folder)
    (folder / TRAINED_ON).write_text(json.dumps({"heard": heard}))


def test_what_is_kept_of_answers_is_what_the_separator_says(tmp_path: Path) -> None:
    separator_in(tmp_path / "judge")
    (judge,) = find_separators(tmp_path / "judge")
    voice, rest = pairs_in(tmp_path / "pairs", ("vocals", ["neon"]), ("instrumental", ["neon"]))
    make_answers([voice, rest], [judge], tmp_path / "kept")
    audio = load(voice)
    clean, stem, mixture = (torch.from_numpy(each) for each in (audio.clean, audio.artifact, audio.mixture))
    heard = torch.from_numpy(judge.separate(mixture.numpy(), []))[STEMS.index("vocals")]
    kept = load_file(answers_path(tmp_path / "kept", voice))["products"]
    wanted = products(spectra_of(*(each[None] for each in (stem, heard, mixture, clean))))[0]
    torch.testing.assert_close(kept, wanted, rtol=1e-3, atol=1e-3)
    other = load_file(answers_path(tmp_path / "kept", rest))["products"]
    mixture = torch.from_numpy(load(rest).mixture)
    heard = mixture - torch.from_numpy(judge.separate(mixture.numpy(), []))[STEMS.index("vocals")]
    torch.testing.assert_close(other[4], products(spectra_of(heard[None]))[0, 0], rtol=1e-3, atol=1e-3)
    separator_in(tmp_path / "judge", stems=STEMS)
    MaskUNet(channels=(4, 8)).save_pretrained(tmp_path / "judge")
    with pytest.raises(TrainingError, match="others of separator 1"):
        make_answers([voice], find_separators(tmp_path / "judge"), tmp_path / "kept")


def test_draws_are_repeatable_and_never_silent(tmp_path: Path) -> None:
    separator_in(tmp_path / "judge")
    separators = find_separators(tmp_path / "judge")
    pairs = pairs_in(tmp_path / "pairs", ("vocals", ["neon"]), ("instrumental", ["sodium"]))
    make_answers(pairs, separators, tmp_path / "kept")
    drawn = KnownAnswers(pairs, tmp_path / "kept", CLASSES, 8, 0, varied=True, cleaner=True)
    first, again = (
        drawn.batch(3),
        KnownAnswers(pairs, tmp_path / "kept", CLASSES, 8, 0, varied=True, cleaner=True).batch(3),
    )
    assert torch.equal(first.products, again.products)
    assert first.products.shape == (8, 10, ARBITER_SPEC.n_bands, 128)
    assert set(first.index.tolist()) == {CLASSES.index("vocals"), CLASSES.index("instrumental")}
    assert not torch.equal(first.products, drawn.batch(4).products)
    assert drawn.music == {"neon", "sodium"}
    for pair in pairs:
        kept = load_file(answers_path(tmp_path / "kept", pair))["products"]
        save_file({"products": torch.zeros_like(kept)}, answers_path(tmp_path / "kept", pair))
    with pytest.raises(TrainingError, match="expected pairs that can be heard, got 100 silent ones"):
        drawn.batch(0)


def test_the_command_learns_on_music_that_a_separator_never_heard(tmp_path: Path) -> None:
    separator_in(tmp_path / "judges" / "a", "lithium", "neon")
    separator_in(tmp_path / "judges" / "b", "lithium", "sodium", seed=1)
    pairs = tmp_path / "pairs"
    described = [("vocals", ["neon"]), ("drums", ["sodium"]), ("vocals", ["lithium"]), ("snare", ["roots"])]
    trained = pairs_in(pairs, *described, ("bass", []), ("other", ["brooklyn"]))
    pairs_in(pairs, ("vocals", ["neon"]), split="validation")
    common = ["train", "arbiter", "--pairs", str(pairs), "--opinions", str(tmp_path / "judges"), "--steps", "2",
              "--batch-size", "2", "--kept", str(tmp_path / "kept")]  # fmt: skip
    done = CliRunner().invoke(cli, [*common, "--without", "brook*", "--out", str(tmp_path / "run")])
    assert done.exit_code == 0, done.output
    (found,) = find_arbiters(tmp_path / "run" / "final")
    assert found.heard == {"neon", "sodium"}, "both judges know lithium"
    assert found.classes == CLASSES
    kept = {path: path.stat().st_mtime_ns for path in (tmp_path / "kept").glob("*.safetensors")}
    assert len(kept) == 3
    by_a, by_b = (one for one in find_separators(tmp_path / "judges"))
    for one, asked, other in ((trained[0], by_b, by_a), (trained[1], by_a, by_b)):
        mixture, index = load(one).mixture, STEMS.index(one.stem)
        answers = [torch.from_numpy(each.separate(mixture, []))[None, index] for each in (asked, other)]
        known = load_file(answers_path(tmp_path / "kept", one))["products"][4]
        energies = [products(spectra_of(answer))[0, 0] for answer in answers]
        torch.testing.assert_close(known, energies[0], rtol=1e-3, atol=1e-3)
        assert not torch.allclose(energies[0], energies[1], rtol=0.1), "the one that never heard it"
    rows = [json.loads(line) for line in (tmp_path / "run" / "log.jsonl").read_text().splitlines()]
    assert {"val/si_gain_db", "val/harmed", "val/answer_si_gain_db"} <= set(rows[-1])
    assert {"classes", "width"} <= set(json.loads((found.folder / "config.json").read_text()))

    more = CliRunner().invoke(cli, [*common, "--steps", "3", "--out", str(tmp_path / "run")])
    assert more.exit_code == 0, more.output
    assert find_arbiters(tmp_path / "run" / "final")[0].heard == {"neon", "sodium", "brooklyn"}
    less = CliRunner().invoke(cli, [*common, "--without", "sodium", "--out", str(tmp_path / "run")])
    assert less.exit_code == 0, less.output
    assert find_arbiters(tmp_path / "run" / "final")[0].heard == {"neon", "sodium", "brooklyn"}, "it has heard it"
    assert all(path.stat().st_mtime_ns == when for path, when in kept.items()), "what is known is used"

    def refused(*options: str) -> str:
        told = CliRunner().invoke(cli, [*common, *options, "--out", str(tmp_path / "no")]).exception
        assert isinstance(told, StemProverError)
        return str(told)

    assert "got brookly; correct --without" in refused("--without", "brookly")
    assert "expected train pairs in" in refused("--without", "neon", "--without", "sodium", "--without", "brooklyn")
    told = refused("--without", "neon")
    assert "expected validation pairs in" in told
    assert "never heard, without neon" in told
    separator_in(tmp_path / "judges" / "kit", stems=KIT_STEMS)
    assert "separators that take the same apart, got drums, bass, other, vocals; kick" in refused()


def test_arbiters_settle_opinions_only(tmp_path: Path) -> None:
    pairs_in(tmp_path / "pairs", ("vocals", ["neon"]))
    options = ["--pairs", str(tmp_path / "pairs"), "--arbiters", str(tmp_path), "--out", str(tmp_path / "run")]
    told = CliRunner().invoke(cli, ["train", "gate", *options]).exception
    assert "expected --arbiters beside --opinions, got no --opinions" in str(told)
