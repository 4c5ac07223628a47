"""Promises of whatever takes part in a repair, tried through the host's whole way: adapters and vocoders."""

from __future__ import annotations

import functools
from pathlib import Path
from typing import ClassVar

import numpy as np
import pytest

from stemprover.enhance import Enhanced, Enhancer, Settings
from stemprover.evaluation import si_sdr
from stemprover.models import Models
from stemprover.plugins import Plugin
from stemprover.stems import Stem, StemSet
from stemprover.testing.contract import PluginContract
from stemprover.testing.pairs import AudioPair
from stemprover.testing.signals import in_format, music

__all__ = ["RepairContract", "models_of"]

_FORMATS = {
    "16-bit stereo at 44.1 kHz": (44_100, 2, "int16"),
    "32-bit mono at 22.05 kHz": (22_050, 1, "int32"),
    "float with 3 channels at 48 kHz": (48_000, 3, "float32"),
}


@functools.lru_cache(maxsize=2)
def models_of(base: Path | None) -> Models:
    """Return the networks of a base on the CPU, loaded once for all contracts of a run."""
    return Models(base, "cpu", "float32")


class RepairContract(PluginContract):
    """A repair keeps the format, leaves silence and strength 0 alone, adds no fault of its own and is repeatable.

    Attributes
    ----------
    base : Path, optional
        Folder of the base that an adapter is for; the embedded one by default.
    min_gain_db : float
        Mean gain of SI-SDR on the pairs below which the plugin fails. By default it may do next to no harm.
    min_clean_sdr_db : float
        How close to the input a clean stem must stay when it is repaired from start to end, in dB. In use it is hardly
        ever touched at all, because nothing is detected in it.
    """

    base: ClassVar[Path | None] = None
    min_gain_db: ClassVar[float] = -0.1
    min_clean_sdr_db: ClassVar[float] = 10.0

    def settings(self, strength: float = 1.0, seed: int = 0) -> Settings:
        """Return settings that repair a whole file with this plugin."""
        raise NotImplementedError

    def also(self) -> list[Plugin]:
        """Return other plugins that a repair needs."""
        return []

    def enhance(self, audio: np.ndarray, sample_rate: int, settings: Settings | None = None) -> Enhanced:
        """Repair an array of samples from start to end, with this plugin alone."""
        with Stem.from_array(audio, sample_rate) as stem:
            done = self.enhancer().enhance(stem, self.settings() if settings is None else settings)
        assert not done.faults, "it failed within a run, and the host went on without it"
        return done

    def enhancer(self) -> Enhancer:
        """Return an enhancer that knows this plugin only."""
        models = models_of(self.base)
        return Enhancer(models, [*self.plugins(), *self.also()], detectors=())

    @pytest.mark.parametrize("form", _FORMATS)
    def test_length_channels_rate_and_sample_type_are_kept(self, form: str) -> None:
        """An odd length, several rates and sample types come out as they went in."""
        rate, channels, dtype = _FORMATS[form]
        audio = in_format(music(0.5, rate, channels)[:, :-7], dtype)
        done = self.enhance(audio, rate)
        assert done.native is not None
        assert done.native.shape == audio.shape
        assert done.sample_rate == rate
        assert str(done.native.dtype) == done.stem.format.native_dtype
        if dtype == "int16":
            assert not (done.native % 65_536).any(), "16-bit samples are multiples of 65536 in 32 bits"

    def test_silence_stays_silent(self) -> None:
        """Digital silence comes back as digital silence."""
        done = self.enhance(np.zeros((2, 30_001), np.float32), 44_100)
        assert done.native is not None
        assert not done.native.any()

    def test_nothing_clips_and_all_is_finite(self) -> None:
        """Audio at full scale stays within it: no sample beyond the input's peak that was not there before."""
        audio = 2.0 * music(0.6)
        done = self.enhance(in_format(audio, "float32"), 44_100)
        assert np.isfinite(done.audio).all()
        assert np.abs(done.audio).max() <= max(1.0, float(np.abs(audio).max()) + 1e-6)

    def test_strength_zero_is_the_identity(self) -> None:
        """At strength 0 every sample is the input's."""
        audio = in_format(music(0.5), "int16")
        done = self.enhance(audio, 44_100, self.settings(strength=0.0))
        assert done.native is not None
        assert np.array_equal(done.native >> 16, audio)

    def test_same_seed_same_samples(self) -> None:
        """Two runs agree to the last bit, whatever ran in between."""
        audio = in_format(music(0.5), "float32")
        first = self.enhance(audio, 44_100)
        self.enhance(in_format(music(0.4, seed=3), "float32"), 44_100, self.settings(seed=9))
        assert np.array_equal(first.audio, self.enhance(audio, 44_100).audio)

    def test_clean_input_passes(self) -> None:
        """A clean stem that is repaired from start to end stays close to what it was."""
        audios = [(pair.clean, pair.sample_rate) for pair in self.audio_pairs()] or [(music(1.5), 44_100)]
        for audio, rate in audios:
            done = self.enhance(in_format(audio, "float32"), rate)
            assert si_sdr(audio, done.audio) >= self.min_clean_sdr_db

    def test_gain_on_the_pairs(self, request: pytest.FixtureRequest) -> None:
        """Measure the gain of SI-SDR on the pairs, and what the same repair costs clean stems."""
        pairs = self.audio_pairs()
        if not pairs:
            pytest.skip("no pairs: set `pairs` to a folder of clean and damaged audio to measure a gain")
        gains = [self.gain_db(pair) for pair in pairs]
        mean = float(np.mean(gains))
        facts: dict[str, float | str] = {
            "benchmark": f"{len(pairs)} own pairs",
            "improved_share": float(np.mean(np.asarray(gains) > 0)),
        }
        self.measured(request, {**facts, "si_sdr_gain_db": round(mean, 3)})
        assert mean >= self.min_gain_db, f"gains in dB: {np.round(gains, 2)}"

    def gain_db(self, pair: AudioPair) -> float:
        """Gain of SI-SDR of one pair, repaired from start to end, with the mixture if there is one."""
        stem = Stem.from_array(in_format(pair.degraded, "float32"), pair.sample_rate, pair.stem_class)
        mixture = None
        if pair.mixture is not None:
            mixture = Stem.from_array(in_format(pair.mixture, "float32"), pair.sample_rate, "generic", "mixture")
        done = self.enhancer().enhance_set(StemSet((stem,), mixture), self.settings())[0]
        assert not done.faults
        return si_sdr(pair.clean, done.audio) - si_sdr(pair.clean, pair.degraded)
