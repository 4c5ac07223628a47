"""Mixture consistency: shares sum to the residue and go where the energy is."""

from __future__ import annotations

import numpy as np
import pytest

from stemprover.spectral.residue import share_residue

RATE = 44_100
TIME = np.arange(RATE) / RATE


def tone(hz: float) -> np.ndarray:
    return 0.3 * np.sin(2 * np.pi * hz * TIME)[None].repeat(2, 0)


def noise(seed: int) -> np.ndarray:
    return 0.1 * np.random.default_rng(seed).standard_normal((2, RATE))


@pytest.mark.parametrize("count", [2, 3, 5])
def test_stems_and_their_shares_sum_to_the_mixture(count: int) -> None:
    stems = [noise(seed) for seed in range(count)]
    mixture = sum(stems) + noise(99)
    shares = share_residue(mixture, stems)
    assert np.abs(sum(stems) + sum(shares) - mixture).max() < 1e-14


def test_a_residue_goes_to_the_stem_that_sounds_there() -> None:
    low, high = tone(200.0), tone(5000.0)
    shares = share_residue(1.2 * low + high, [low, high])
    assert np.square(shares[0] - 0.2 * low).mean() < 1e-4 * np.square(0.2 * low).mean()
    assert np.square(shares[1]).mean() < 1e-4 * np.square(0.2 * low).mean()


def test_no_residue_leaves_stems_bit_identical() -> None:
    stems = [noise(1), noise(2)]
    assert all((share == 0).all() for share in share_residue(stems[0] + stems[1], stems))


def test_silent_stems_share_evenly_and_finitely() -> None:
    silent = np.zeros((2, RATE))
    shares = share_residue(noise(3), [silent, silent])
    assert np.abs(shares[0] - shares[1]).max() < 1e-5
    assert np.isfinite(shares).all()
