"""How far a stem is led towards another network's answer: where something was found, and in the other bands then."""

from __future__ import annotations

import pytest
import torch

from stemprover.spectral.bands import to_bins
from stemprover.spectral.phase import band_features
from stemprover.spectral.spec import SPEC
from stemprover.spectral.stft import power, stft
from stemprover.synthesis.blend import change_of
from stemprover.synthesis.evidence import EVIDENCE
from stemprover.synthesis.gate import Gate, constant_gate
from stemprover.synthesis.judged import led_towards

FRAMES = 65
LOW = SPEC.n_bands // 4  # bands in which something was found
BEGIN, END = 20, 40  # frames in which it was


def _noise(seed: int) -> torch.Tensor:
    return stft(torch.randn(2, (FRAMES - 1) * SPEC.hop, generator=torch.Generator().manual_seed(seed)))


STEM, ANSWER, NOTHING = _noise(1), _noise(2), torch.zeros_like(_noise(1))
WET = torch.zeros(2, SPEC.n_bands, FRAMES)
WET[:, :LOW, BEGIN:END] = 1.0


def _gate(in_some_bands: float, in_all_bands: float) -> Gate:
    """Answers by whether the highest part of the spectrum would change."""
    cue = EVIDENCE.index("3/change_share")

    def answer(seen: torch.Tensor) -> torch.Tensor:
        shares = torch.where(seen[:, cue] < -3.0, in_some_bands, in_all_bands)
        return shares[:, None].expand(-1, SPEC.n_bands)

    return answer


def _led(gate: Gate, change: torch.Tensor = NOTHING) -> tuple[torch.Tensor, torch.Tensor]:
    return led_towards(change, ANSWER, WET, gate, STEM, None, band_features(STEM, None), 2)


@pytest.mark.parametrize(("some", "every", "found", "beside"), [(0.8, 0.3, 0.8, 0.3), (0.2, 0.6, 0.6, 0.6)])
def test_what_was_found_gets_the_larger_share_and_other_bands_that_of_all(
    some: float, every: float, found: float, beside: float
) -> None:
    change, taken = _led(_gate(some, every))
    inside = to_bins(WET)[..., BEGIN:END]
    expected = (found * inside + beside * (1.0 - inside)) * (ANSWER - STEM)[..., BEGIN:END]
    torch.testing.assert_close(change[..., BEGIN:END], expected, atol=1e-4, rtol=1e-4)
    assert not change[..., :BEGIN].any()
    assert not change[..., END:].any()
    assert taken.shape == (1,), "two channels are one segment"
    assert min(found, beside) - 1e-6 <= taken.item() <= max(found, beside) + 1e-6


def test_a_constant_gate_says_its_share_and_leads_all_the_way_at_one() -> None:
    assert _led(constant_gate(0.25))[1].item() == pytest.approx(0.25)
    change, taken = _led(constant_gate(1.0), change=0.5 * change_of(STEM, _noise(3), WET))
    torch.testing.assert_close((STEM + change)[..., BEGIN:END], ANSWER[..., BEGIN:END], atol=1e-3, rtol=1e-3)
    assert taken.item() == pytest.approx(1.0)


def test_a_gate_that_believes_nothing_leaves_the_repair_as_it_is() -> None:
    repair = change_of(STEM, _noise(3), WET)
    change, taken = _led(constant_gate(0.0), repair)
    assert torch.equal(change, repair)
    assert taken.item() == 0.0


def test_silence_is_led_nowhere() -> None:
    change, taken = led_towards(
        NOTHING, NOTHING, WET, constant_gate(1.0), NOTHING, None, band_features(NOTHING, None), 2
    )
    assert power(change).sum() == 0.0
    assert taken.item() == 0.0
