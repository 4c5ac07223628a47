"""Spatial features against a filter written the long way, and on signals whose answer is known."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from stemprover.spectral.bands import band_matrix
from stemprover.spectral.phase import band_features
from stemprover.spectral.spatial import SpatialFeatures, spatial_features, swapped
from stemprover.spectral.spec import SPEC
from stemprover.spectral.stft import stft

SAMPLES = 31 * SPEC.hop


def noise(seed: int, channels: int = 2) -> Tensor:
    return 0.1 * torch.randn(channels, SAMPLES, generator=torch.Generator().manual_seed(seed))


def features(stem: Tensor, siblings: Tensor | None) -> SpatialFeatures:
    """Of both channels of stereo audio ``[2, samples]``."""
    spectra = [None if audio is None else stft(audio) for audio in (stem, siblings)]
    assert spectra[0] is not None
    return spatial_features(spectra[0], spectra[1], *map(swapped, spectra), band_features(spectra[0], spectra[1]))


def panned(audio: Tensor, degrees: float) -> Tensor:
    angle = np.deg2rad(degrees)
    return torch.stack([np.cos(angle) * audio, np.sin(angle) * audio])


def test_the_gain_is_that_of_a_wiener_filter_with_full_covariances() -> None:
    common = noise(1, 1)[0]
    stem, siblings = noise(2) + panned(common, 20.0), 0.5 * noise(3) + panned(common.roll(40), 70.0)
    spectra = [stft(audio).numpy().astype(np.complex128) for audio in (stem, siblings)]
    powers = [np.mean(np.abs(one) ** 2, 0) for one in spectra]
    covariances = [
        np.einsum("aft,bft->fab", one, one.conj()) / power.sum(1)[:, None, None]
        for one, power in zip(spectra, powers, strict=True)
    ]
    own, rest = (p[..., None, None] * c[:, None] for p, c in zip(powers, covariances, strict=True))
    loading = 1e-3 * np.trace(own + rest, axis1=-2, axis2=-1).real[..., None, None] / 2 * np.eye(2)
    kept = np.einsum("ftab,bft->aft", own @ np.linalg.inv(own + rest + loading), spectra[0] + spectra[1])
    bands = band_matrix().double().numpy()
    along = bands @ (kept * spectra[0].conj()).real
    expected = np.clip(along / (bands @ np.abs(spectra[0]) ** 2) - 1.0, -1.0, 1.0)
    assert np.abs(features(stem, siblings).gain.numpy() - expected).max() < 1e-3


def test_what_sits_at_the_siblings_place_does_not_belong_to_the_stem() -> None:
    """A stem on the left, silent in the second half; a sibling on the right, three tenths of which leaked into it."""
    half = SAMPLES // 2
    own, foreign = panned(noise(12, 1)[0], 15.0), panned(noise(13, 1)[0], 75.0)
    own[:, half:] = 0.0
    gain = features(own + 0.3 * foreign, 0.7 * foreign).gain.mean((0, 1))
    assert gain[4:12].mean() > -0.2
    assert gain[20:28].mean() < -0.7  # the powers alone, 0.09 to 0.49, would say -0.48


def test_channels_that_are_alike_opposite_or_strange_to_each_other() -> None:
    mono = noise(4, 1)
    for audio, expected in ((mono.expand(2, -1), 1.0), (torch.cat([mono, -mono]), -1.0)):
        found = features(audio.contiguous(), None)
        assert torch.allclose(found.coherence, torch.full_like(found.coherence, expected), atol=1e-3)
        assert found.difference.abs().max() < 1e-4
    assert features(noise(5), None).coherence.mean().abs() < 0.1


def test_a_mono_stem_is_two_equal_channels() -> None:
    stem, siblings = stft(noise(6, 1)), stft(noise(7, 1))
    seen = band_features(stem, siblings)
    alone, doubled = (spatial_features(stem, siblings, *others, seen) for others in ((None, None), (stem, siblings)))
    for name in ("difference", "coherence", "gain"):
        assert torch.equal(getattr(alone, name), getattr(doubled, name))


def test_a_lone_stem_has_no_spatial_gain_and_silence_has_nothing() -> None:
    assert not features(noise(8), None).gain.any()
    assert not features(noise(8), torch.zeros(2, SAMPLES)).gain.any()
    silent = features(torch.zeros(2, SAMPLES), noise(9))
    for name in ("difference", "coherence", "gain"):
        assert not getattr(silent, name).any()


def test_channels_change_places_within_their_pair() -> None:
    left, right, second_left, second_right = pairs = torch.randn(4, 3, 2)
    other = swapped(pairs)
    assert other is not None
    assert torch.equal(other, torch.stack([right, left, second_right, second_left]))
    assert swapped(None) is None


def test_neither_level_nor_what_else_is_in_the_batch_matters() -> None:
    one, two = noise(10), noise(11)
    usual, quiet = features(one, two), features(1e-3 * one, 1e-3 * two)
    assert torch.allclose(usual.gain, quiet.gain, atol=1e-3)
    assert torch.allclose(usual.coherence, quiet.coherence, atol=1e-3)
    spectra = stft(torch.cat([one, two])), stft(torch.cat([two, one]))
    seen = band_features(*spectra)
    both = spatial_features(*spectra, *(one[[1, 0, 3, 2]] for one in spectra), seen)
    assert torch.allclose(both.gain[:2], usual.gain, atol=1e-5)
