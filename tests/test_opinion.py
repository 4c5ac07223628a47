"""The second opinion: what another separator hears is applied where its gate says so, and nowhere else."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from tiny_base import FlagBand, tiny_base, tiny_enhancer

from stemprover.batch.fingerprint import weights_fingerprint
from stemprover.enhance import Enhancer
from stemprover.enhanced import Enhanced, Settings
from stemprover.evaluation import si_sdr
from stemprover.models import EMBEDDED_JUDGES, Judged, Models
from stemprover.separation.layout import KIT_STEMS, STEMS
from stemprover.spectral.bands import band_matrix
from stemprover.spectral.phase import band_features
from stemprover.spectral.spec import SPEC
from stemprover.spectral.stft import istft, power, stft
from stemprover.stems import Stem, StemSet
from stemprover.synthesis.arbiter import Arbiter
from stemprover.synthesis.gate import constant_gate, load_gate
from stemprover.synthesis.judged import judged
from stemprover.synthesis.opinion import Judge, SecondOpinion, has_opinion, take_answer
from stemprover.training.arbiters import classes_of

__all__ = ["tiny_base"]

RATE = SPEC.sample_rate
SAMPLES = 3 * RATE
SETTINGS = Settings(auto_detect=True, generic=True, quality="fast")
NOISE = np.random.default_rng(3)
VOICE = (0.1 * NOISE.standard_normal((2, SAMPLES))).astype(np.float32)
VOICE[:, : RATE // 2] = 0.0
VOICE[:, -RATE // 2 :] = 0.0
DRUMS = (0.1 * NOISE.standard_normal((2, SAMPLES))).astype(np.float32) * (np.abs(VOICE) > 0)
POOR = VOICE + 0.5 * DRUMS


def knows_the_truth(mixture: torch.Tensor) -> torch.Tensor:
    """The voice in any stretch of the mixture of ``VOICE`` and ``DRUMS``: it looks up where the stretch begins."""
    song = torch.from_numpy(VOICE + DRUMS)
    voices = []
    for stretch in mixture:
        lags = torch.fft.irfft(
            torch.fft.rfft(song[0], 2 * SAMPLES) * torch.fft.rfft(stretch[0], 2 * SAMPLES).conj(), 2 * SAMPLES
        )
        start = int(lags[:SAMPLES].argmax())
        voice = torch.from_numpy(VOICE)[:, start : start + stretch.shape[-1]]
        voices.append(torch.nn.functional.pad(voice, (0, stretch.shape[-1] - voice.shape[-1])))
    heard = torch.stack(voices)
    return torch.stack([0.0 * heard if name != "vocals" else heard for name in STEMS], 1)


def sees_the_stem(stem: torch.Tensor, answer: torch.Tensor, mixture: torch.Tensor, stem_class: str) -> torch.Tensor:
    """The answer, if it is about the right stem."""
    assert stem_class == "vocals"
    assert (stem - answer).norm() < (mixture - answer).norm(), "the stem itself, not its siblings"
    return answer


def enhanced(
    base: Path, share: float, settings: Settings = SETTINGS, repaired: float = 0.0, alone: bool = False
) -> Enhanced:
    tiny = tiny_enhancer(base, FlagBand())
    opinion = SecondOpinion(STEMS, Judge(knows_the_truth, sees_the_stem, constant_gate(share)))
    gate = constant_gate(repaired)
    enhancer = Enhancer(
        tiny.models, tiny.plugins, [FlagBand()], gate, lambda stem_class, alone: None if alone else opinion
    )
    stem = Stem.from_array(POOR, RATE, "vocals")
    mixture = None if alone else Stem.from_array(VOICE + DRUMS, RATE)
    return enhancer.enhance_set(StemSet((stem,), mixture), settings)[0]


def test_it_is_applied_as_far_as_its_gate_says(base: Path) -> None:
    before, half, whole = (si_sdr(VOICE, enhanced(base, share).audio) for share in (0.0, 0.5, 1.0))
    assert si_sdr(VOICE, POOR) == pytest.approx(before)
    assert half == pytest.approx(before + 6.0, abs=0.5), "half of the error is left"
    assert whole > before + 20.0
    done = enhanced(base, 0.5)
    assert [one.share for one in done.applied] == pytest.approx([0.5] * len(done.segments))
    assert done.to_dict()["applied"][0]["opinion"] == pytest.approx(0.5)
    assert enhanced(base, 0.5, alone=True).to_dict()["applied"][0]["opinion"] is None
    assert done.timings_s["opinion"] > 0.0


def test_repairs_get_what_it_leaves(base: Path) -> None:
    """Both at half: half of the way to the opinion from where the repair led to."""
    audio = {key: enhanced(base, key[0], repaired=key[1]).audio for key in [(0.0, 0.5), (0.5, 0.0), (0.5, 0.5), (1, 1)]}
    repair, opinion = audio[0.0, 0.5] - POOR, audio[0.5, 0.0] - POOR
    assert np.abs(repair).max() > 0.001
    np.testing.assert_allclose(audio[0.5, 0.5] - POOR, opinion + 0.5 * repair, atol=1e-5)
    np.testing.assert_allclose(audio[1, 1], enhanced(base, 1.0).audio, atol=1e-5)
    (both,) = enhanced(base, 0.5, repaired=0.5).applied
    assert (both.share, both.opinion) == pytest.approx((0.75, 0.5), abs=0.01)


def test_it_needs_the_mixture_strength_and_a_region(base: Path) -> None:
    alone = enhanced(base, 1.0, alone=True)
    assert alone.segments
    assert np.array_equal(alone.audio, POOR)
    assert np.array_equal(enhanced(base, 1.0, dataclasses.replace(SETTINGS, second_opinion=False)).audio, POOR)
    assert np.array_equal(enhanced(base, 1.0, dataclasses.replace(SETTINGS, strength=0.0)).audio, POOR)
    done = enhanced(base, 1.0)
    outside = np.ones(SAMPLES, bool)
    for segment in done.segments:
        outside[segment.at(RATE, SAMPLES).start : segment.at(RATE, SAMPLES).stop] = False
    assert outside.any()
    assert np.array_equal(done.audio[:, outside], POOR[:, outside])


def test_there_are_opinions_where_answers_are_about_the_stem() -> None:
    """Pieces of a kit are known among themselves, and a class but once."""
    assert has_opinion("snare", ["snare"])
    assert has_opinion("snare", ["kick", "snare", "toms"])
    assert not has_opinion("snare", ["snare", "vocals"])
    assert has_opinion("vocals", ["vocals", "kick"])
    assert not has_opinion("other", ["drums", "bass", "vocals", "other"])
    assert not has_opinion("vocals", ["vocals", "vocals", "instrumental"]), "lead and backing"
    assert not has_opinion("piano", ["piano"])


@pytest.mark.parametrize("channels", [1, 2])
@pytest.mark.parametrize(("stem_class", "index"), [("drums", 0), ("vocals", 3)])
def test_what_it_hears_of_a_class(channels: int, stem_class: str, index: int) -> None:
    draw = torch.Generator().manual_seed(1)
    mixture, stem = (torch.randn(3, channels, 100 * SPEC.hop, generator=draw) for _ in range(2))
    weights, of_pieces = (0.1, 0.2, 0.3, 0.4), (0.5, 0.6, 0.7, 0.8, 0.9)

    def shares(of_stems: tuple[float, ...]) -> Callable[[torch.Tensor], torch.Tensor]:
        return lambda whole: torch.stack([each * whole for each in of_stems], 1)

    songs = Judge(shares(weights), lambda own, heard, whole, _: heard + 0.5 * own + 0.1 * whole, constant_gate(1.0))
    kits = Judge(shares(of_pieces), take_answer, constant_gate(0.5))
    of_songs, of_kits = SecondOpinion(STEMS, songs), SecondOpinion(KIT_STEMS, kits)
    wanted = {stem_class: (weights[index] + 0.1) * mixture + 0.5 * stem, "instrumental": 0.7 * mixture + 0.5 * stem,
              "snare": 0.6 * mixture, "cymbals": 0.9 * mixture}  # fmt: skip
    for name, heard in wanted.items():
        asked = of_kits if name in KIT_STEMS else of_songs
        found = asked.of(stem, mixture, name)
        assert found is not None
        torch.testing.assert_close(istft(found.spectrum, mixture.shape[-1]), heard.flatten(0, 1))
        assert found.gate is (kits if name in KIT_STEMS else songs).gate
    assert of_songs.of(stem, mixture, "piano") is None
    assert of_songs.of(stem, mixture, "kick") is None
    three = [torch.cat([audio] * 3, dim=1) for audio in (stem, mixture)]
    assert of_songs.of(*three, stem_class) is None


def test_what_a_gate_leaves_is_a_share_of_the_energy_in_each_segment() -> None:
    stem, change = (stft(torch.randn(4, 64 * SPEC.hop, generator=torch.Generator().manual_seed(k))) for k in (1, 2))
    low = (band_matrix().argmax(1) < SPEC.n_bins // 8).float()  # bands in the lowest eighth of the spectrum
    shares, mean = judged(lambda seen: low.expand(len(seen), -1), change, stem, None, band_features(stem, None), 2)
    assert shares.shape == (4, SPEC.n_bins, 1)
    kept = power(change * shares.sqrt()).sum((1, 2)).unflatten(0, (2, 2)).sum(1)
    whole = power(change).sum((1, 2)).unflatten(0, (2, 2)).sum(1)
    torch.testing.assert_close(mean, kept / whole, atol=0.01, rtol=0.05)


def test_the_released_ones_answer_and_their_gates_were_trained() -> None:
    models = Models(None, "cpu", "float32")
    mixture = 0.1 * torch.randn(1, 2, 100 * SPEC.hop, generator=torch.Generator().manual_seed(1))
    for name in (*classes_of(STEMS), *KIT_STEMS):
        opinion = models.load_opinion(name, alone=False)
        assert opinion is not None
        heard = opinion.of(0.5 * mixture, mixture, name)
        assert heard is not None
        assert torch.isfinite(torch.view_as_real(heard.spectrum)).all()
    assert models.load_opinion("piano", alone=False) is None
    for folders in EMBEDDED_JUDGES.values():
        assert load_gate(folders.gate).deviation.min() > 0


def test_a_released_arbiter_settles_what_is_heard(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    torch.manual_seed(0)
    Arbiter(classes_of(STEMS), width=8).save_pretrained(tmp_path)
    folders = EMBEDDED_JUDGES[Judged(STEMS)]
    mixture = 0.1 * torch.randn(1, 2, 100 * SPEC.hop, generator=torch.Generator().manual_seed(1))
    heard = []
    for arbiter in (None, tmp_path):
        monkeypatch.setattr("stemprover.models.EMBEDDED_JUDGES", {Judged(STEMS): folders._replace(arbiter=arbiter)})
        opinion = Models(None, "cpu", "float32").load_opinion("drums", alone=False)
        assert opinion is not None
        found = opinion.of(0.5 * mixture, mixture, "drums")
        assert found is not None
        heard.append(istft(found.spectrum, mixture.shape[-1]))
    # An arbiter that has yet to learn takes half of the answer, and leaves next to nothing of the stem out.
    torch.testing.assert_close(heard[1], 0.5 * heard[0] + 0.491 * 0.5 * mixture[0], atol=2e-4, rtol=0)


def test_a_batch_notices_another_arbiter(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text("{}")
    folders, seen = EMBEDDED_JUDGES[Judged(STEMS)], set()
    for arbiter in (None, tmp_path):
        monkeypatch.setattr("stemprover.models.EMBEDDED_JUDGES", {Judged(STEMS): folders._replace(arbiter=arbiter)})
        seen.add(weights_fingerprint(Enhancer.from_pretrained(device="cpu"), SETTINGS))
    assert len(seen) == 2
