"""The contract of separators."""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar

import numpy as np
import pytest
import torch
from torch import Tensor

from stemprover.evaluation import si_sdr
from stemprover.separation.base import Separator
from stemprover.stems import resample
from stemprover.testing.contract import PluginContract
from stemprover.testing.signals import music

__all__ = ["SeparatorContract"]


class SeparatorContract(PluginContract):
    """A separator returns its stems, aligned with the mixture, and holds no state.

    Of a pair, the mixture is separated and ``clean`` is what the stem of the pair's class should be.

    Attributes
    ----------
    context_s : float
        How much audio on both sides of a cut it needs to make the same of a piece as of the whole.
    chunk_sdr_db : float
        How close, in dB, pieces must come to the whole.
    max_peak : float
        Highest peak of a stem, as a multiple of the mixture's: a stem may exceed its mixture where another one
        cancels it, but not by much.
    min_gain_db : float
        Mean gain of SI-SDR over the mixture below which it fails.
    """

    kind: ClassVar[str] = "separator"
    context_s: ClassVar[float] = 1.0
    chunk_sdr_db: ClassVar[float] = 20.0
    max_peak: ClassVar[float] = 2.0
    min_gain_db: ClassVar[float] = 0.0

    def separator(self) -> Separator:
        """Return the separator as the host builds it."""
        runner = self.runner()
        found = list(runner.separators().values())
        assert len(found) == 1, f"one separator of {self.plugin}, got {len(found)}: {runner.faults}"
        assert isinstance(found[0], Separator)
        return found[0]

    def test_it_is_what_its_manifest_says(self) -> None:
        """Manifest and object name the same stems and rate, and users' name for it."""
        manifest, separator = self.installed().manifest, self.separator()
        assert manifest is not None
        assert separator.name == manifest.name
        assert tuple(separator.stems) == manifest.stems
        assert separator.sample_rate == manifest.sample_rate

    @pytest.mark.parametrize("samples", [4_001, 44_100])
    def test_stems_fit_the_mixture_to_the_sample(self, samples: int) -> None:
        """Exactly the named stems, float32, as long as the mixture, finite and not louder than it could be."""
        separator = self.separator()
        mixture = _mixture(separator)[:, :samples].contiguous()
        before = mixture.clone()
        stems = separator.separate(mixture)
        assert torch.equal(mixture, before), "the mixture is only read"
        assert set(stems) == set(separator.stems)
        for name, audio in stems.items():
            assert audio.shape == mixture.shape, name
            assert audio.dtype == torch.float32, name
            assert audio.isfinite().all(), name
            assert audio.abs().max() <= self.max_peak * mixture.abs().max(), name

    def test_silence_stays_silent(self) -> None:
        """Nothing comes out of nothing."""
        separator = self.separator()
        for name, audio in separator.separate(torch.zeros(2, separator.sample_rate)).items():
            assert not audio.any(), name

    def test_it_holds_no_state(self) -> None:
        """What it makes of a mixture does not depend on what it separated before, nor on chance."""
        separator = self.separator()
        mixture = _mixture(separator)[:, : separator.sample_rate]
        first = separator.separate(mixture)
        separator.separate(mixture.flip(-1).contiguous())
        again = separator.separate(mixture)
        assert all(torch.equal(first[name], again[name]) for name in first)

    def test_pieces_agree_with_the_whole(self) -> None:
        """Cut with enough context, as the host cuts long songs, the pieces are those of the whole."""
        separator = self.separator()
        mixture = _mixture(separator, 2.0 + 2.0 * self.context_s)
        middle, around = mixture.shape[-1] // 2, round(self.context_s * separator.sample_rate)
        whole = separator.separate(mixture)
        left = separator.separate(mixture[:, : middle + around].contiguous())
        right = separator.separate(mixture[:, middle - around :].contiguous())
        for name, audio in whole.items():
            joined = torch.cat([left[name][:, :middle], right[name][:, around:]], -1)
            assert _sdr_db(audio, joined) >= self.chunk_sdr_db, name

    def test_gain_on_the_pairs(self, request: pytest.FixtureRequest) -> None:
        """Measure by how much each stem is closer to the truth than the mixture is."""
        separator = self.separator()
        pairs = [pair for pair in self.audio_pairs() if pair.mixture is not None and pair.stem_class in separator.stems]
        if not pairs:
            pytest.skip("no pairs with a mixture and a stem that it makes: set `pairs` to a folder with mixture/")
        gains: dict[str, list[float]] = {}
        for pair in pairs:
            assert pair.mixture is not None
            stems = _separated(separator, pair.mixture, pair.sample_rate)
            made = stems[pair.stem_class][: len(pair.clean)]
            gain = si_sdr(pair.clean, made) - si_sdr(pair.clean, pair.mixture)
            gains.setdefault(pair.stem_class, []).append(gain)
        mean = float(np.mean([gain for some in gains.values() for gain in some]))
        by_stem = {f"{name}_si_sdr_gain_db": round(float(np.mean(some)), 3) for name, some in gains.items()}
        facts: dict[str, float | str] = {"benchmark": f"{len(pairs)} own pairs", **by_stem}
        self.measured(request, {**facts, "si_sdr_gain_db": round(mean, 3)})
        assert mean >= self.min_gain_db, gains


def _mixture(separator: Separator, seconds: float = 1.5) -> Tensor:
    return torch.from_numpy(music(seconds, separator.sample_rate)).float()


def _sdr_db(truth: Tensor, audio: Tensor) -> float:
    error = float((truth - audio).square().sum())
    return 10.0 * float(np.log10((float(truth.square().sum()) + 1e-12) / (error + 1e-12)))


def _separated(separator: Separator, mixture: np.ndarray, rate: int) -> Mapping[str, np.ndarray]:
    """Stems at the mixture's own rate and length."""
    stereo = mixture if len(mixture) == 2 else np.repeat(mixture.mean(0, keepdims=True), 2, 0)
    there = resample(stereo, rate, separator.sample_rate) if rate != separator.sample_rate else stereo
    made = separator.separate(torch.from_numpy(np.ascontiguousarray(there, np.float32)))
    back = {name: audio.double().numpy() for name, audio in made.items()}
    if rate != separator.sample_rate:
        back = {name: resample(audio, separator.sample_rate, rate) for name, audio in back.items()}
    samples = mixture.shape[-1]
    return {
        name: np.pad(audio, ((0, 0), (0, max(0, samples - audio.shape[-1]))))[:, :samples]
        for name, audio in back.items()
    }
