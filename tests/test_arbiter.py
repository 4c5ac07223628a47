"""Arbiters: what they see, what they begin as, and that they learn whom to believe where."""

from __future__ import annotations

import itertools
from pathlib import Path

import numpy as np
import pytest
import torch

from stemprover.errors import ModelError
from stemprover.evaluation import si_sdr
from stemprover.separation.layout import STEMS
from stemprover.separation.mask_unet import MaskUNet
from stemprover.separation.trained import TRAINED_ON
from stemprover.spectral.stft import power, stft
from stemprover.synthesis.arbiter import ARBITER_SPEC, INPUTS, Arbiter, load_arbiter, products, seen_in
from stemprover.training.answers import SIGNALS
from stemprover.training.arbiters import classes_of, find_arbiters
from stemprover.training.arbitration import ArbitrationTask, Cases, gains_db, towards, vary
from stemprover.training.loop import Recipe, fit

RATE = 44_100
SAMPLES = 3 * RATE
CLASSES = classes_of(STEMS)


def noise(*shape: int, seed: int = 1) -> torch.Tensor:
    return 0.1 * torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def spectra_of(*audio: torch.Tensor) -> list[torch.Tensor]:
    return [stft(each, ARBITER_SPEC) for each in audio]


def small(width: int = 8) -> Arbiter:
    torch.manual_seed(0)
    return Arbiter(CLASSES, width=width).eval()


def test_bands_hold_every_bin_once_and_products_are_those_of_the_sums() -> None:
    one, other = noise(2, 2, 20_000), noise(2, 2, 20_000, seed=2)
    first, second = spectra_of(one, other)
    known = products([first, second])
    assert known.shape == (2, 3, ARBITER_SPEC.n_bands, first.shape[-1])
    for place, spectrum in ((0, first), (2, second)):
        torch.testing.assert_close(known[:, place].sum(1), power(spectrum).sum((1, 2)))
    sums = products(spectra_of(one + other))[:, 0]
    torch.testing.assert_close(sums, known[:, 0] + 2 * known[:, 1] + known[:, 2], rtol=1e-3, atol=1e-3)


def test_a_tone_is_in_its_band_and_bands_are_narrow_at_low_frequencies() -> None:
    time = torch.arange(SAMPLES) / RATE
    loudest = []
    for hertz in (100.0, 150.0, 8000.0, 8200.0):
        tone = torch.sin(2 * torch.pi * hertz * time).expand(1, 2, -1)
        loudest.append(int(products(spectra_of(tone))[0, 0].sum(1).argmax()))
    assert loudest[0] < loudest[1] < loudest[2] == loudest[3]


def test_what_it_sees_of_stems_that_are_their_answers() -> None:
    audio = noise(1, 2, 30_000)
    seen = seen_in(products(spectra_of(audio, audio, audio)))[0]
    torch.testing.assert_close(seen[3:5], torch.zeros_like(seen[3:5]), atol=1e-5, rtol=0)  # as loud as each other
    torch.testing.assert_close(seen[5:8], torch.ones_like(seen[5:8]), atol=1e-4, rtol=0)  # they agree
    assert seen[8:].max() < -1.5, "nothing would change, and there are no siblings"
    turned = seen_in(products(spectra_of(audio, -audio, audio)))[0]
    torch.testing.assert_close(turned[5], -torch.ones_like(turned[5]), atol=1e-4, rtol=0)
    assert torch.isfinite(seen_in(torch.zeros(1, INPUTS, 64, 8))).all()


@torch.no_grad()
def test_it_begins_as_half_of_the_answer() -> None:
    stem, answer, mixture = (noise(2, 2, 30_000, seed=k) for k in (1, 2, 3))
    trust, keep = torch.sigmoid(torch.tensor([0.0, 4.0]))
    for name in CLASSES:
        settled = small().settle(stem, answer, mixture, name)
        torch.testing.assert_close(settled, (1 - trust) * keep * stem + trust * answer, atol=1e-5, rtol=1e-4)


@torch.no_grad()
def test_silence_stays_silent_and_loudness_and_channels_do_not_matter() -> None:
    arbiter = small()
    torch.nn.init.normal_(arbiter.head.weight, std=0.5)
    torch.nn.init.normal_(arbiter.place)
    assert not arbiter.settle(*(torch.zeros(1, 2, 30_000),) * 3, "bass").any()
    stem, answer, mixture = (noise(1, 2, 30_000, seed=k) for k in (1, 2, 3))
    once = arbiter.settle(stem, answer, mixture, "bass")
    louder = arbiter.settle(4 * stem, 4 * answer, 4 * mixture, "bass")
    torch.testing.assert_close(louder, 4 * once, atol=1e-4, rtol=1e-3)
    swapped = arbiter.settle(stem.flip(1), answer.flip(1), mixture.flip(1), "bass")
    torch.testing.assert_close(swapped, once.flip(1), atol=1e-5, rtol=1e-3)
    assert not torch.allclose(once, arbiter.settle(stem, answer, mixture, "drums"), atol=1e-4)
    assert not torch.allclose(once, arbiter.settle(stem, answer, answer, "bass"), atol=1e-4)


def test_products_of_smaller_errors_are_those_of_such_signals() -> None:
    stem, answer, mixture, clean = (noise(2, 20_000, seed=k) for k in (1, 2, 3, 4))
    known = products(spectra_of(*(each[None] for each in (stem, answer, mixture, clean))))[0]
    for share in (0.0, 0.3, 1.3):
        other = clean + share * (stem - clean)
        wanted = products(spectra_of(*(each[None] for each in (other, answer, mixture, clean))))[0]
        torch.testing.assert_close(towards(known, "stem", share), wanted, atol=1e-2, rtol=1e-3)
        other = clean + share * (answer - clean)
        wanted = products(spectra_of(*(each[None] for each in (stem, other, mixture, clean))))[0]
        torch.testing.assert_close(towards(known, "answer", share), wanted, atol=1e-2, rtol=1e-3)


def test_cases_vary_but_stay_those_of_signals() -> None:
    """Cauchy-Schwarz holds in every band and frame, whatever is varied; some stems are clean then."""
    known = products(spectra_of(*(noise(1, 2, 20_000, seed=k) for k in (1, 2, 3, 4))))[0]
    rng = np.random.default_rng(0)
    cleaned = 0
    for _ in range(60):
        varied = vary(known, rng, cleaner=True)
        squares = {name: varied[place] for name, place in zip(SIGNALS, (0, 4, 7, 9), strict=True)}
        for place, (one, other) in enumerate(itertools.combinations_with_replacement(SIGNALS, 2)):
            assert (varied[place].square() <= squares[one] * squares[other] * 1.01 + 1e-3).all(), (one, other)
        cleaned += int(torch.allclose(squares["stem"], squares["clean"]))
    assert 0 < cleaned < 20


@torch.no_grad()
def test_gains_are_those_of_the_audio() -> None:
    clean = noise(1, 2, SAMPLES)
    stem, answer = clean + 0.7 * noise(1, 2, SAMPLES, seed=2), 0.8 * clean + 0.5 * noise(1, 2, SAMPLES, seed=3)
    known = products(spectra_of(stem, answer, stem + answer, clean))
    trust, keep = torch.full_like(known[:, 0], 0.4), torch.full_like(known[:, 0], 0.9)
    settled = 0.9 * 0.6 * stem + 0.4 * answer
    sdr, scaled = gains_db(known, trust, keep)[:, 0].tolist()
    assert scaled == pytest.approx(
        si_sdr(clean[0].numpy(), settled[0].numpy()) - si_sdr(clean[0].numpy(), stem[0].numpy()), abs=0.1
    )
    errors = [(each - clean).square().sum() for each in (stem, settled)]
    assert sdr == pytest.approx(10 * torch.log10(errors[0] / errors[1]).item(), abs=0.1)


class _Bands:
    """Stems are right in low bands and answers in high ones; some stems are clean."""

    def batch(self, index: int) -> Cases:
        generator = torch.Generator().manual_seed(index)
        clean, wrong = torch.randn(2, 8, 1, 64, 32, 6, generator=generator)
        low = (torch.arange(64) < 32).float()[:, None, None]
        stem = clean + 0.7 * (1 - low) * wrong * (torch.arange(8) % 4 > 0).float()[:, None, None, None, None]
        answer = clean + 0.7 * low * wrong
        signals = (stem, answer, clean + wrong, clean)
        both = [(one * other).sum((1, 4)) for k, one in enumerate(signals) for other in signals[k:]]
        return Cases(torch.stack(both, 1), torch.zeros(8, dtype=torch.long))


def test_it_learns_whom_to_believe_where_and_writes_what_it_heard(tmp_path: Path) -> None:
    torch.manual_seed(0)
    task = ArbitrationTask(Arbiter(CLASSES, width=8), {"b", "a"})
    before = task.validate(_Bands().batch(999))
    assert before["answer_harmed"] > 0.2, "the answer alone makes clean stems worse"
    folder = fit(task, _Bands(), None, Recipe(steps=120, learning_rate=1e-2, precision="no", ema=0.9), tmp_path)
    with torch.no_grad():
        after = task.validate(_Bands().batch(999))
    assert after["si_gain_db"] > before["si_gain_db"] + 6
    (found,) = find_arbiters(folder)
    assert (found.heard, found.classes) == ({"a", "b"}, CLASSES)
    case = _Bands().batch(998)
    with torch.no_grad():
        trust, keep = load_arbiter(found.folder)(case.products[:, [0, 1, 2, 4, 5, 7]], case.index)
    gains = gains_db(case.products, trust, keep)[1]
    clean = torch.arange(8) % 4 == 0
    assert gains[clean].min() > -0.5, "it leaves clean stems about as they are"
    assert gains[~clean].min() > 10.0
    assert trust[1, 40:].mean() > 0.8
    assert trust[1, :24].mean() < 0.2


def test_folders_that_hold_no_arbiter_say_so(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match=r"expected arbiters, got none below .* train them with `stemprover train arb"):
        find_arbiters(tmp_path)
    with pytest.raises(ModelError, match="expected an arbiter in"):
        load_arbiter(tmp_path)
    small().save_pretrained(tmp_path / "run")
    config = tmp_path / "run" / "config.json"
    config.write_text(config.read_text().replace(ARBITER_SPEC.digest(), "sha256:0"))
    with pytest.raises(ModelError, match="got one of another version"):
        load_arbiter(tmp_path / "run")
    (tmp_path / "run" / TRAINED_ON).write_text("{}")
    with pytest.raises(ModelError, match="delete the folder, or train them"):
        find_arbiters(tmp_path)
    MaskUNet(channels=(4, 4)).save_pretrained(tmp_path / "run" / "judge")
    (tmp_path / "run" / "judge" / TRAINED_ON).write_text('{"heard": []}')
    with pytest.raises(ModelError, match=r"expected arbiters only, got MaskUNet in .* name another folder"):
        find_arbiters(tmp_path / "run" / "judge")
