"""The contract of detectors."""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar

import numpy as np
import pytest
import torch
from torch import Tensor

from stemprover.analysis import analyse
from stemprover.detection import AnalysisBlock, CellScores, Detector, n_cells
from stemprover.progress import Silent
from stemprover.spectral.spec import SPEC
from stemprover.stems import Stem, StemSet
from stemprover.testing.contract import PluginContract
from stemprover.testing.pairs import AudioPair
from stemprover.testing.signals import in_format, music

__all__ = ["DetectorContract"]

_CELL = SPEC.cell_frames * SPEC.hop
_DECIDED = 0.5


class DetectorContract(PluginContract):
    """A detector scores every cell, holds no state and leaves clean stems alone.

    Attributes
    ----------
    max_clean_share : float
        Largest share of a clean stem's duration in which something may be found.
    min_found_share : float
        Smallest share of the damaged stems of the pairs in which something must be found.
    min_agreement : float
        Share of cells that must be decided alike whether a stem is scored in one piece or in two. A detector that
        looks at the surroundings of a cell may differ near the cut.
    """

    kind: ClassVar[str] = "detector"
    max_clean_share: ClassVar[float] = 0.1
    min_found_share: ClassVar[float] = 0.5
    min_agreement: ClassVar[float] = 0.95

    def detector(self) -> Detector:
        """Return the detector as the host builds it."""
        runner = self.runner()
        found = list(runner.detectors().values())
        assert len(found) == 1, f"one detector of {self.plugin}, got {len(found)}: {runner.faults}"
        assert isinstance(found[0], Detector)
        return found[0]

    def test_it_finds_what_its_manifest_says(self) -> None:
        """Manifest and object name the same artifacts."""
        manifest = self.installed().manifest
        assert manifest is not None
        assert set(self.detector().artifacts) == set(manifest.artifacts)

    @pytest.mark.parametrize("channels", [1, 2])
    @pytest.mark.parametrize("siblings", [False, True], ids=["alone", "with siblings"])
    def test_every_cell_has_a_score(self, channels: int, siblings: bool) -> None:
        """Probability and severity are float32 in [0, 1], one per cell and band, for any length."""
        detector = self.detector()
        for samples in (1_000, 3 * _CELL, 4 * _CELL + 321):
            scores = detector.score(_block(_audio(channels, samples), siblings))
            assert set(scores) <= set(detector.artifacts)
            for name, one in scores.items():
                for values in (one.probability, one.severity):
                    assert values.shape == (n_cells(samples), SPEC.n_cell_bands), name
                    assert values.dtype == np.float32, name
                    assert ((values >= 0) & (values <= 1)).all(), f"{name}: outside [0, 1], or NaN"

    def test_the_audio_is_not_touched(self) -> None:
        """What is scored is also what is repaired: a detector only reads it."""
        block = _block(_audio(2, 3 * _CELL), True)
        before = block.audio.clone(), {name: audio.clone() for name, audio in block.siblings.items()}
        self.detector().score(block)
        assert torch.equal(block.audio, before[0])
        assert all(torch.equal(block.siblings[name], audio) for name, audio in before[1].items())

    def test_it_holds_no_state(self) -> None:
        """A block's scores do not depend on what was scored before."""
        detector, block = self.detector(), _block(_audio(2, 4 * _CELL), False)
        first = detector.score(block)
        detector.score(_block(_audio(1, 2 * _CELL, seed=5), True))
        _assert_equal(first, detector.score(block))

    def test_two_pieces_agree_with_the_whole(self) -> None:
        """Cut as the host cuts long files, with a cell of context, the cells are decided as in one piece."""
        detector, audio = self.detector(), _audio(2, 12 * _CELL)
        whole = detector.score(_block(audio, False))
        left = detector.score(_block(audio[:, : 7 * _CELL].contiguous(), False))
        right = detector.score(_block(audio[:, 5 * _CELL :].contiguous(), False))
        for name, scores in whole.items():
            joined = np.concatenate([left[name].probability[:6], right[name].probability[1:]])
            agreeing = (joined > _DECIDED) == (scores.probability > _DECIDED)
            assert agreeing.mean() >= self.min_agreement, name

    def test_silence_holds_nothing(self) -> None:
        """Nothing is found in silence."""
        silence = np.zeros((2, 6 * _CELL))
        assert self.found_share(silence, AudioPair("silence", silence, silence, None, 44_100, "generic")) == 0.0

    def test_clean_input_passes(self) -> None:
        """In the clean stems of the pairs, or in tones and hits, next to nothing is found."""
        clean = music(4.0)
        for pair in self.audio_pairs() or [AudioPair("music", clean, clean, None, 44_100, "generic")]:
            assert self.found_share(pair.clean, pair) <= self.max_clean_share, pair.name

    def test_it_tells_the_pairs_apart(self, request: pytest.FixtureRequest) -> None:
        """Measure in how many damaged stems something is found, and in how much of the clean ones."""
        pairs = self.audio_pairs()
        if not pairs:
            pytest.skip("no pairs: set `pairs` to a folder of clean and damaged audio to measure what is found")
        found = float(np.mean([self.found_share(pair.degraded, pair) > 0 for pair in pairs]))
        touched = float(np.mean([self.found_share(pair.clean, pair) for pair in pairs]))
        facts: dict[str, float | str] = {"benchmark": f"{len(pairs)} own pairs", "found_share": round(found, 4)}
        self.measured(request, {**facts, "clean_touched_share": round(touched, 4)})
        assert found >= self.min_found_share

    def found_share(self, audio: np.ndarray, pair: AudioPair) -> float:
        """Share of the duration of a pair's stem in which something is found, by the host's own thresholds."""
        stem = Stem.from_array(in_format(audio, "float32"), pair.sample_rate, pair.stem_class)
        mixture = None
        if pair.mixture is not None:
            mixture = Stem.from_array(in_format(pair.mixture, "float32"), pair.sample_rate, "generic", "mixture")
        runner = self.runner()
        detectors = list(runner.detectors().values())
        detections = analyse(StemSet((stem,), mixture), stem, detectors, Silent(), runner).detections
        assert not runner.faults, "it failed within a run"
        edges = sorted((found.start_s, found.end_s) for found in detections)
        covered, reach = 0.0, 0.0
        for start, end in edges:
            covered += max(0.0, end - max(start, reach))
            reach = max(reach, end)
        return float(covered / (audio.shape[-1] / pair.sample_rate))


def _audio(channels: int, samples: int, seed: int = 0) -> Tensor:
    seconds = max(samples / 44_100, 0.5)
    return torch.from_numpy(music(seconds, channels=channels, seed=seed)).float()[:, :samples].contiguous()


def _block(audio: Tensor, siblings: bool) -> AnalysisBlock:
    others = {"drums": _audio(audio.shape[0], audio.shape[1], seed=7)} if siblings else {}
    return AnalysisBlock(audio, others, "vocals")


def _assert_equal(first: Mapping[str, CellScores], second: Mapping[str, CellScores]) -> None:
    assert first.keys() == second.keys()
    for name, scores in first.items():
        assert np.array_equal(scores.probability, second[name].probability), name
        assert np.array_equal(scores.severity, second[name].severity), name
