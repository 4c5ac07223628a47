"""The image codec: lossless patches, compression that reads back, gains that are ratios."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from stemprover.spectral.codec import (
    band_gain,
    decode,
    encode,
    from_image,
    patchify,
    reference_level,
    to_image,
    unpatchify,
)
from stemprover.spectral.spec import SPEC


def random(*shape: int) -> torch.Tensor:
    return torch.rand(*shape, generator=torch.Generator().manual_seed(1))


@given(batch=st.integers(1, 3), channels=st.integers(1, 4), height=st.integers(1, 4), width=st.integers(1, 4))
def test_patches_are_lossless(batch: int, channels: int, height: int, width: int) -> None:
    image = random(batch, channels, height * SPEC.patch, width * SPEC.patch)
    latents = patchify(image)
    assert latents.shape == (batch, channels * SPEC.patch**2, height, width)
    assert torch.equal(unpatchify(latents), image)


def test_a_patch_holds_neighbours_in_time_and_band() -> None:
    image = torch.zeros(1, 1, 8, 8)
    image[0, 0, 5, 6] = 1.0
    latents = patchify(image)
    assert latents[0, (5 % 4) * 4 + 6 % 4, 1, 1] == 1.0
    assert latents.sum() == 1.0


def test_latents_decode_to_the_image_and_are_centred() -> None:
    image = random(2, 1, 16, 8)
    assert torch.allclose(decode(encode(image)), image, atol=1e-6)
    assert encode(torch.full((1, 1, 4, 4), SPEC.image_shift)).abs().max() == 0.0


def test_magnitude_reads_back_and_zero_stays_zero() -> None:
    magnitude = 10.0 ** (-4.0 * random(2, 16, 8))
    magnitude[0, 0] = 0.0
    level = reference_level(magnitude)
    image = to_image(magnitude, level)
    assert image.amax((-2, -1)).tolist() == pytest.approx([1.0, 1.0])
    assert (image[0, 0] == 0).all()
    assert torch.allclose(from_image(image, level), magnitude, rtol=1e-4)
    assert (from_image(-image, level) == 0).all()


def test_silence_has_a_level_to_divide_by() -> None:
    silent = torch.zeros(1, 16, 8)
    assert torch.isfinite(to_image(silent, reference_level(silent))).all()
    assert (to_image(silent, reference_level(silent)) == 0).all()


def test_loud_siblings_raise_the_level_of_a_quiet_stem_only() -> None:
    quiet, loud = torch.full((1, 4, 4), 0.001), torch.ones(1, 4, 4)
    assert reference_level(quiet, loud).item() == pytest.approx(0.1)
    assert reference_level(loud, quiet).item() == pytest.approx(1.0)


@pytest.mark.parametrize("gain", [0.0625, 0.5, 1.0, 2.0])
def test_gain_of_images_is_the_gain_of_magnitudes(gain: float) -> None:
    magnitude = 0.1 + random(1, 16, 8)
    level = reference_level(2.0 * magnitude)
    found = band_gain(to_image(magnitude, level), to_image(gain * magnitude, level))
    # A hundredth is added to both sides of the ratio, so deep cuts come out up to an eighth shallower.
    assert torch.allclose(found, torch.full_like(found, gain), rtol=0.125)


def test_gain_is_exactly_one_where_nothing_changed_and_bounded_elsewhere() -> None:
    image = random(1, 16, 8)
    image[0, 0] = 0.0
    assert torch.equal(band_gain(image, image), torch.ones_like(image))
    assert band_gain(torch.zeros_like(image), torch.ones_like(image)).max() == pytest.approx(4.0)
    assert band_gain(image, -torch.ones_like(image)).min() >= 0.0
