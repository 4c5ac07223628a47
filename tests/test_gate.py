"""The gate: evidence that is measured right, shares that follow it, training on repairs whose truth is known."""

from __future__ import annotations

import dataclasses
import itertools
from pathlib import Path

import numpy as np
import pytest
import torch
from promise_audio import RATE, SETTINGS, burst
from tiny_base import FlagBand, tiny_enhancer
from tiny_base import tiny_base as tiny_base
from torchmetrics.functional.audio import scale_invariant_signal_distortion_ratio, signal_noise_ratio

from stemprover.enhance import Enhancer
from stemprover.errors import ModelError
from stemprover.models import EMBEDDED_GATE
from stemprover.spectral.bands import band_matrix, to_bins
from stemprover.spectral.phase import band_features
from stemprover.spectral.spec import SPEC
from stemprover.spectral.stft import istft, power, stft
from stemprover.stems import Stem
from stemprover.synthesis.evidence import EVIDENCE, evidence
from stemprover.synthesis.gate import RepairGate, constant_gate, load_gate
from stemprover.training.gate import GateTask, Outcome, Outcomes

FRAMES = 64
SAMPLES = (FRAMES - 1) * SPEC.hop


def noise(seed: int, batch: int = 2) -> torch.Tensor:
    return torch.randn(batch, SAMPLES, generator=torch.Generator().manual_seed(seed))


def tones(*hertz: float) -> torch.Tensor:
    time = torch.arange(SAMPLES) / SPEC.sample_rate
    return torch.stack([sum((torch.sin(2 * torch.pi * f * time) for f in hertz), torch.zeros(SAMPLES))] * 2)


def cues(stem: torch.Tensor, siblings: torch.Tensor | None, change: torch.Tensor) -> dict[str, float]:
    """Evidence of the first item, by name."""
    one, others = stft(stem), None if siblings is None else stft(siblings)
    seen = evidence(one, others, stft(change), band_features(one, others))
    assert seen.shape == (len(stem), len(EVIDENCE))
    assert torch.isfinite(seen).all()
    return dict(zip(EVIDENCE, seen[0].tolist(), strict=True))


def test_levels_and_directions_are_what_they_are_called() -> None:
    voice, drums = noise(1), noise(2)
    found = cues(voice + 0.3 * drums, drums, -0.3 * drums)
    assert found["all/change_with_siblings"] == pytest.approx(-1.0, abs=0.01)
    assert found["all/change_level"] == pytest.approx(np.log10(0.09 / 1.09), abs=0.02)
    assert found["all/sibling_level"] == pytest.approx(-np.log10(1.09), abs=0.02)
    assert found["all/change_with_stem"] == pytest.approx(-0.3 / np.sqrt(1.09), abs=0.02)
    assert found["all/stem_with_siblings"] == pytest.approx(0.3 / np.sqrt(1.09), abs=0.05)
    assert found["all/gain"] == pytest.approx(-0.09 / 1.09, abs=0.02)
    assert found["all/stem_flatness"] > -0.4
    assert cues(tones(440.0), drums, 0.1 * tones(440.0))["all/stem_flatness"] < -1.5


def test_parts_of_the_spectrum_are_told_apart() -> None:
    low, high = tones(200.0), tones(9000.0)
    found = cues(low + high, noise(3), -high)
    shares = [found[f"{part}/change_share"] for part in range(4)]
    assert int(np.argmax(shares)) == 3
    assert shares[3] == pytest.approx(0.0, abs=0.02)
    assert found["3/gain"] == pytest.approx(-1.0, abs=0.02)
    assert found["0/gain"] == pytest.approx(0.0, abs=0.02)


def test_loudness_says_nothing() -> None:
    audio = [noise(1) + 0.3 * noise(2), noise(2), -0.2 * noise(2)]
    loud, soft = cues(*audio), cues(*(0.01 * part for part in audio))
    for name in EVIDENCE:
        assert soft[name] == pytest.approx(loud[name], abs=5e-3), name


def test_silence_and_no_siblings_are_measured_too() -> None:
    silence = torch.zeros(2, SAMPLES)
    cues(silence, silence, silence)
    alone = cues(noise(1), None, -0.1 * noise(1))
    assert alone["all/sibling_level"] == -6.0
    assert alone == cues(noise(1), silence, -0.1 * noise(1))


def test_channels_of_a_segment_are_summed_up_together() -> None:
    """In any order and polarity, and for each segment of a batch as if it were alone."""
    parts = [(noise(10 + k) + 0.3 * noise(20 + k), noise(20 + k), -0.2 * noise(30 + k)) for k in range(3)]

    def seen(turn: float = 1.0, flip: bool = False) -> torch.Tensor:
        stem, siblings, change = (
            stft(torch.cat([turn * (part[k].flip(0) if flip else part[k]) for part in parts])) for k in range(3)
        )
        return evidence(stem, siblings, change, band_features(stem, siblings), 2)

    together = seen()
    assert together.shape == (3, len(EVIDENCE))
    torch.testing.assert_close(seen(-1.0), together, atol=1e-4, rtol=1e-4)
    torch.testing.assert_close(seen(flip=True), together, atol=1e-4, rtol=1e-4)
    for row, part in zip(together, parts, strict=True):
        stem, siblings, change = map(stft, part)
        alone = evidence(stem, siblings, change, band_features(stem, siblings), 2)[0]
        torch.testing.assert_close(row, alone, atol=1e-4, rtol=1e-4)


def test_a_gate_answers_with_a_share_per_band() -> None:
    torch.manual_seed(0)
    gate = RepairGate().eval()
    seen = torch.randn(5, len(EVIDENCE))
    gate.measure(seen)
    strange = (1000.0 * seen).clamp(-6.0, 6.0)
    strange[:, EVIDENCE.index("all/change_level")] = 6.0
    shares = gate(strange)
    assert shares.shape == (5, SPEC.n_bands)
    assert ((shares > 0) & (shares < 1)).all()
    assert shares.diff(dim=1).abs().max() < 0.02, "no steps between the parts"


def answering(*shares: float) -> RepairGate:
    """A gate that gives the four parts of the spectrum these shares, whatever it sees."""
    gate = RepairGate().eval()
    for member in gate.perceptrons:
        torch.nn.init.zeros_(member[-1].weight)
        with torch.no_grad():
            member[-1].bias.copy_(torch.logit(torch.tensor(shares)))
    return gate


def test_members_that_disagree_let_less_through() -> None:
    gate, cues = answering(0.6, 0.6, 0.6, 0.6), torch.zeros(1, len(EVIDENCE))
    torch.testing.assert_close(gate(cues), torch.full((1, SPEC.n_bands), 0.6))
    with torch.no_grad():
        for member, share in zip(gate.perceptrons, itertools.cycle((0.5, 0.7)), strict=False):
            member[-1].bias.copy_(torch.logit(torch.tensor(share)).expand(4))
    torch.testing.assert_close(gate(cues), torch.full((1, SPEC.n_bands), 0.6 - 1.5 * 0.1))
    with torch.no_grad():
        for member, share in zip(gate.perceptrons, itertools.cycle((0.01, 0.99)), strict=False):
            member[-1].bias.copy_(torch.logit(torch.tensor(share)).expand(4))
    assert (gate(cues) == 0).all()


def test_in_training_each_member_answers_for_its_own_part() -> None:
    gate = answering(0.5, 0.5, 0.5, 0.5).train()
    with torch.no_grad():
        for number, member in enumerate(gate.perceptrons, 1):
            member[-1].bias.copy_(torch.logit(torch.tensor(number / 10)).expand(4))
    shares = gate(torch.zeros(16, len(EVIDENCE)))
    torch.testing.assert_close(shares[:, 0], torch.arange(1, 9).repeat_interleave(2) / 10)


@pytest.mark.parametrize("shares", [(0.5, 0.5, 0.5, 0.5), (0.001, 0.9, 0.9, 0.2)])
@pytest.mark.parametrize("place", ["everywhere", "high", "between"])
@pytest.mark.parametrize("full", [True, False])
def test_trifles_are_left_out_whole(shares: tuple[float, ...], place: str, full: bool) -> None:
    """What would remain of a repair decides: 45 dB below the stem, wherever in the spectrum both of them are.

    Where shares differ within a part, it is what might remain at most: nothing louder than a trifle is left out.
    """
    gate = answering(*shares)
    stem = noise(40) if full else tones(60.0, 90.0)
    change = {"everywhere": noise(41), "high": tones(9000.0), "between": tones(430.0, 470.0)}[place]
    if place == "everywhere" and not full:
        change = stem
    spectrum = stft(stem)

    def seen(scale: float) -> torch.Tensor:
        return evidence(spectrum, None, stft(scale * change), band_features(spectrum, None))

    applied = gate.train()(seen(1.0)).detach()
    remaining = power(stft(change) * to_bins(applied.unsqueeze(-1))).sum((1, 2)) / power(spectrum).sum((1, 2))
    level = 10 * torch.log10(remaining[0]).item()
    for db, kept in ((-46.0 if len({*shares}) == 1 else -100.0, False), (-44.0, True)):
        cues = seen(10 ** ((db - level) / 20))
        assert (gate.eval()(cues) > 0).all().item() is kept
        assert kept or (gate(cues) == 0).all()
        assert (gate.train()(cues) > 0).all(), "training learns from all of them"


def test_the_shipped_gate_was_trained_and_answers_differently_to_different_evidence() -> None:
    gate = load_gate(EMBEDDED_GATE)
    assert gate.deviation.unique().numel() > len(EVIDENCE) // 2
    noises = torch.randn(1000, len(EVIDENCE), generator=torch.Generator().manual_seed(9))
    shares = gate(gate.mean + gate.deviation * noises).mean(1)
    shares = shares[shares > 0]  # without trifles
    assert len(shares) > 50
    assert shares.min() < 0.1
    assert shares.max() > 0.9


def test_weights_that_are_missing_or_of_another_spectrum_are_named(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="repair gate weights"):
        load_gate(tmp_path / "none")
    RepairGate(spectral_spec="sha256:other").save_pretrained(tmp_path / "other")
    with pytest.raises(ModelError, match="sha256:other"):
        load_gate(tmp_path / "other")
    RepairGate(members=2).save_pretrained(tmp_path / "fewer")
    config = tmp_path / "fewer" / "config.json"
    config.write_text(config.read_text().replace('"members": 2', '"members": 3'))
    with pytest.raises(ModelError, match="of another version"):
        load_gate(tmp_path / "fewer")


def test_what_a_gate_lets_through_is_applied_and_told(base: Path) -> None:
    """No more and no less, for each segment by itself: half of what all would change, and nothing at all."""
    enhancer = tiny_enhancer(base, FlagBand())
    stem, done = Stem.from_array(burst(peak=0.2), RATE), {}  # far from what the limiter looks after
    for share in (0.0, 0.5, 1.0):
        gated = Enhancer(enhancer.models, enhancer.plugins, [FlagBand()], constant_gate(share))
        done[share] = gated.enhance(stem, SETTINGS)
        told = done[share].to_dict()["applied"]
        assert [part["share"] for part in told] == pytest.approx([share] * len(done[share].segments))
        assert [part["start_s"] for part in told] == pytest.approx([part.start_s for part in done[share].segments])
        assert [part["end_s"] for part in told] == pytest.approx([part.stop_s for part in done[share].segments])
    assert done[0.0].repaired_s == 0.0
    assert done[0.5].repaired_s == done[1.0].repaired_s > 0.0
    nothing, half, whole = (one.audio for one in done.values())
    assert np.array_equal(nothing, stem.read(0, stem.format.samples))
    assert np.abs(whole - nothing).max() > 0.001
    np.testing.assert_allclose(half - nothing, 0.5 * (whole - nothing), atol=1e-6)


def outcome(items: int = 3) -> tuple[Outcome, torch.Tensor, torch.Tensor, torch.Tensor]:
    clean, error = noise(5, items), 0.4 * noise(6, items)
    stem, change = clean + error, -0.5 * error + 0.1 * noise(7, items)
    c, s, d = stft(clean), stft(stem), stft(change)
    bands = band_matrix()

    def product(one: torch.Tensor, other: torch.Tensor) -> torch.Tensor:
        return (one * other.conj()).real.sum(-1)

    return (
        Outcome(
            torch.randn(items, len(EVIDENCE), generator=torch.Generator().manual_seed(8)),
            power(c).sum((1, 2)),
            power(s).sum((1, 2)),
            product(s, c).sum(1),
            power(d).sum(-1) @ bands.T,
            product(d, c) @ bands.T,
            product(d, s) @ bands.T,
        ),
        clean,
        stem,
        change,
    )


@pytest.mark.parametrize("share", [0.0, 0.4, 1.0])
def test_gains_are_those_of_the_audio(share: float) -> None:
    known, clean, stem, change = outcome()
    found = known.gains_db(torch.full((3, SPEC.n_bands), share))
    repaired = istft(stft(stem) + stft(change) * to_bins(torch.full((SPEC.n_bands, 1), share)), SAMPLES)
    wanted = signal_noise_ratio(repaired, clean) - signal_noise_ratio(stem, clean)
    torch.testing.assert_close(found[0], wanted, atol=0.1, rtol=0.05)  # spectra overlap at the ends, and the floor
    ratios = [scale_invariant_signal_distortion_ratio(audio, clean) for audio in (repaired, stem)]
    torch.testing.assert_close(found[1], ratios[0] - ratios[1], atol=0.1, rtol=0.05)


def test_it_learns_to_keep_from_what_harms() -> None:
    """One cue tells good changes from bad ones: after some steps the gate follows it."""
    known = outcome(64)[0]
    bad = torch.arange(64) % 2 == 0
    signs = torch.where(bad, -1.0, 1.0)[:, None]
    seen = torch.zeros_like(known.seen)
    seen[:, 3] = signs[:, 0]
    turned = dataclasses.replace(
        known,
        seen=seen,
        with_clean=known.with_clean * signs,
        with_stem=known.with_stem * signs,
    )
    torch.manual_seed(0)
    gate = RepairGate()
    gate.measure(seen)
    task = GateTask(gate, 4.0, lambda _: None)
    optimiser = torch.optim.Adam(gate.parameters(), 5e-3)
    batches = Outcomes(turned, 64, 0)
    for step in range(120):
        loss, _ = task.loss(batches.batch(step), torch.Generator())
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
    shares = gate.eval()(seen).mean(1)
    assert shares[bad].max() < 0.1
    assert shares[~bad].min() > 0.7
    figures = task.validate(turned)
    assert figures["harmed"] == 0.0
    assert figures["half_harmed"] == 0.5
    assert figures["si_gain_db"] > figures["half_si_gain_db"]
