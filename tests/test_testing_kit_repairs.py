"""The conformance kit passes a repair that keeps its promises and catches each that does not."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
from plugin_site import plugin_site as plugin_site
from testing_kit import fails

from stemprover.enhance import Enhanced, Settings
from stemprover.routing import Plan
from stemprover.stems import Stem
from stemprover.testing.repairs import RepairContract


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
