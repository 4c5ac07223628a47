"""Detection: cell features on signals with known answers, adaptive thresholds, regions."""

from __future__ import annotations

import dataclasses
import subprocess
import sys

import numpy as np
import pytest
import torch

from stemprover.detection import (
    AnalysisBlock,
    block_levels,
    cell_features,
    feature_digest,
    feature_names,
    n_cells,
    source_of,
)
from stemprover.spectral.bands import cell_band_edges_hz
from stemprover.spectral.spec import SPEC
from stemprover.spectral.stft import istft, stft

CELL = SPEC.cell_frames * SPEC.hop
BANDS = SPEC.n_cell_bands


def noise(cells: int, channels: int = 2, seed: int = 0) -> torch.Tensor:
    return 0.1 * torch.randn(channels, cells * CELL, generator=torch.Generator().manual_seed(seed))


def tone(hertz: float, cells: int, channels: int = 1) -> torch.Tensor:
    time = torch.arange(cells * CELL, dtype=torch.float64) / SPEC.sample_rate
    return (0.5 * torch.sin(2 * torch.pi * hertz * time)).float().expand(channels, -1)


def bursts(cells: int, seed: int) -> torch.Tensor:
    """Noise hits at irregular times, like a hi-hat."""
    rng = np.random.default_rng(seed)
    envelope = np.zeros(cells * CELL)
    for start in rng.integers(0, cells * CELL - 4000, 4 * cells):
        envelope[start : start + 4000] += np.exp(-np.arange(4000) / 800)
    return noise(cells, seed=seed) * torch.from_numpy(envelope).float()


def band_of(hertz: float) -> int:
    return int(np.searchsorted(cell_band_edges_hz(), hertz)) - 1


def feature(block: AnalysisBlock, name: str) -> np.ndarray:
    return cell_features(block).values[..., feature_names().index(name)]


def alone(audio: torch.Tensor) -> AnalysisBlock:
    return AnalysisBlock(audio, {}, "vocals")


def test_import_needs_no_torch() -> None:
    code = "import sys, stemprover.detection; assert 'torch' not in sys.modules and 'scipy' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True)


def test_full_scale_sine_reads_0_db_in_its_band() -> None:
    hertz = 120 * SPEC.sample_rate / SPEC.n_fft
    levels = block_levels(alone(2 * tone(hertz, 3)))
    assert levels.shape == (3, BANDS)
    assert levels[1, band_of(hertz)] == pytest.approx(0.0, abs=0.05)
    assert levels[1, BANDS - 1] < -80


def test_levels_of_blocks_join_to_those_of_the_whole() -> None:
    audio = noise(6)
    whole = block_levels(alone(audio))
    parts = [block_levels(alone(audio[:, start : start + 2 * CELL])) for start in range(0, 6 * CELL, 2 * CELL)]
    np.testing.assert_allclose(np.concatenate(parts), whole, atol=1.5)  # noise: ends of blocks see mirrored audio


@pytest.mark.parametrize("samples", [1, 2000, CELL, CELL + 1, 3 * CELL])
@pytest.mark.parametrize("channels", [1, 2, 6])
def test_features_are_finite_for_any_shape(samples: int, channels: int) -> None:
    audio = noise(3, channels)[:, :samples]
    for siblings in ({}, {"residual": audio.flip(1)}, {"drums": audio[:1], "piano": audio}):
        values = cell_features(AnalysisBlock(audio, siblings, "bass")).values
        assert values.shape == (n_cells(samples), BANDS, len(feature_names()))
        assert np.isfinite(values).all()


def test_features_of_silence_and_of_opposite_channels_are_finite() -> None:
    left = noise(2, 1)
    for audio in (torch.zeros(2, 2 * CELL), torch.cat([left, -left])):
        block = AnalysisBlock(audio, {"residual": torch.zeros(2, 2 * CELL)}, "generic")
        assert np.isfinite(cell_features(block).values).all()


def test_features_do_not_depend_on_level() -> None:
    audio, other = noise(4), noise(4, seed=1)
    values = [
        cell_features(AnalysisBlock(gain * audio, {"residual": gain * other}, "drums")).values for gain in (1, 0.01)
    ]
    np.testing.assert_allclose(values[0], values[1], atol=0.02, rtol=0.02)


def test_mono_gives_the_features_of_two_equal_channels() -> None:
    mono = noise(3, 1)
    kept = [number for number, name in enumerate(feature_names()) if name != "is_stereo"]
    one, two = (cell_features(alone(audio)).values[..., kept] for audio in (mono, mono.expand(2, -1)))
    np.testing.assert_allclose(one, two, atol=1e-3)
    assert (feature(alone(mono), "stereo_coherence") > 0.999).all()


def test_independent_channels_are_incoherent() -> None:
    assert feature(alone(noise(3)), "stereo_coherence").mean() < 0.3


def test_frequency_deviation_of_a_tone_is_its_distance_from_the_bin() -> None:
    exact = 100 * SPEC.sample_rate / SPEC.n_fft
    shift = 0.3  # bins: the phase runs ahead by 0.3 * 2 pi * hop / n_fft per frame
    band = band_of(exact)
    on, off = (feature(alone(tone(exact * (1 + s / 100), 3)), "frequency_jitter")[1, band] for s in (0, shift))
    random = feature(alone(noise(3)), "frequency_jitter")[1, band]
    assert max(on, off) < 0.35 * random


def test_group_delay_of_a_click_in_the_middle_of_a_frame_does_not_deviate() -> None:
    click = torch.zeros(1, 2 * CELL)
    click[0, 40 * SPEC.hop] = 1.0
    jitter = feature(alone(click), "delay_jitter")[1]
    assert jitter.max() < 0.2 < feature(alone(noise(2)), "delay_jitter")[1].min()


def test_holes_are_counted() -> None:
    audio = noise(4)
    spectrum = stft(audio)
    mask = torch.rand(spectrum.shape[1:], generator=torch.Generator().manual_seed(5)) > 0.2
    holed = istft(spectrum * mask, audio.shape[1])
    before, after = (feature(alone(item), "fine_spread").mean() for item in (audio, holed))
    assert after > before
    assert feature(alone(holed), "hole_depth").mean() > feature(alone(audio), "hole_depth").mean()


def test_a_cut_off_shows_where_the_spectrum_ends() -> None:
    audio = noise(4)
    spectrum = stft(audio)
    spectrum[:, 512:] = 0
    cut = istft(spectrum, audio.shape[1])
    ends = feature(alone(cut), "ends_above")[1]
    assert ends[band_of(9000)] > 0 > ends[band_of(14000)]
    assert feature(alone(audio), "ends_above")[1, band_of(14000)] > 0


def test_bleed_resembles_its_source() -> None:
    hats = bursts(6, seed=3)
    stem = tone(440, 6, 2) + 0.1 * hats
    siblings = {"hihat": hats, "bass": noise(6, seed=9)}
    high = band_of(8000)
    with_bleed = feature(AnalysisBlock(stem, {"residual": hats}, "vocals"), "sibling_envelope_correlation")
    without = feature(AnalysisBlock(noise(6, seed=4), {"residual": hats}, "vocals"), "sibling_envelope_correlation")
    assert with_bleed[:, high].mean() > 0.8 > 0.4 > without[:, high].mean()
    affinity = cell_features(AnalysisBlock(stem, siblings, "vocals")).affinity
    assert set(affinity) == {"drums", "bass"}
    assert (affinity["drums"][:, high] > affinity["bass"][:, high]).all()


def test_a_mask_locks_the_phase_of_stem_and_residual() -> None:
    mixture = noise(4, 1)
    gain = torch.rand(SPEC.n_bins, 1, generator=torch.Generator().manual_seed(1))
    stem = istft(stft(mixture) * gain, mixture.shape[1])
    masked = feature(AnalysisBlock(stem, {"residual": mixture - stem}, "other"), "phase_lock")
    independent = feature(AnalysisBlock(stem, {"residual": noise(4, 1, seed=8)}, "other"), "phase_lock")
    assert masked[1:-1].min() > 0.7
    assert np.abs(independent).mean() < 0.1


def test_siblings_are_summed_whatever_they_are_called() -> None:
    parts = {"drums": noise(2, seed=1), "bass": noise(2, seed=2)}
    stem = noise(2)
    separate = cell_features(AnalysisBlock(stem, parts, "vocals")).values
    together = cell_features(AnalysisBlock(stem, {"residual": sum(parts.values())}, "vocals")).values
    np.testing.assert_allclose(separate, together, atol=1e-3)


def test_parts_of_the_kit_are_drums() -> None:
    assert [source_of(name) for name in ("kick", "cymbals", "vocals", "piano")] == ["drums", "drums", "vocals", "other"]


def test_digest_is_stable_and_names_are_unique() -> None:
    assert len(set(feature_names())) == len(feature_names())
    assert feature_digest() == feature_digest()
    assert feature_digest() != feature_digest(dataclasses.replace(SPEC, hop=256))
